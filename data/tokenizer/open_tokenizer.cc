// The functions about files of data/tokenizer/tokenizer.h.
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/file.h"
#include "base/status.h"
#include "base/strings.h"
#include "data/tokenizer/hugging_face.h"
#include "data/tokenizer/rank_file.h"
#include "data/tokenizer/sentencepiece_tokenizer.h"
#include "data/tokenizer/tokenizer.h"

namespace choir {
namespace {

constexpr const char* kConfigFile = "tokenizer_config.json";
constexpr const char* kMapFile = "special_tokens_map.json";

enum class Kind { kSentencePiece, kHuggingFace, kRanks };

Kind KindOf(const std::string& content) {
  const size_t first = content.find_first_not_of(" \t\r\n");
  if (first != content.npos && content[first] == '{') return Kind::kHuggingFace;
  return LooksLikeRanks(content) ? Kind::kRanks : Kind::kSentencePiece;
}

const char* NameOf(Kind kind) {
  if (kind == Kind::kSentencePiece) return "tokenizer.model";
  return kind == Kind::kHuggingFace ? "tokenizer.json" : "tokenizer.tiktoken";
}

std::string Beside(const std::string& path, const char* name) {
  return (std::filesystem::path(path).parent_path() / name).string();
}

// A file that may be missing.
absl::StatusOr<std::optional<std::string>> ReadIfThere(const std::string& path) {
  absl::StatusOr<std::string> content = ReadFile(path);
  if (absl::IsNotFound(content.status())) return std::nullopt;
  RETURN_IF_ERROR(content.status());
  return *std::move(content);
}

// All that a tokenizer is made of.
struct Source {
  std::string content;
  Kind kind;
  std::vector<SpecialNames> special;  // the most important first
  RankSettings ranks;
};

absl::StatusOr<Source> ReadSource(const std::string& path) {
  Source source;
  ASSIGN_OR_RETURN(source.content, ReadFile(path));
  source.kind = KindOf(source.content);
  if (source.kind == Kind::kSentencePiece) return source;
  const std::string config_path = Beside(path, kConfigFile), map_path = Beside(path, kMapFile);
  ASSIGN_OR_RETURN(const std::optional<std::string> config, ReadIfThere(config_path));
  ASSIGN_OR_RETURN(const std::optional<std::string> map, ReadIfThere(map_path));
  if (config) {
    ASSIGN_OR_RETURN(source.special.emplace_back(), ReadSpecialNames(*config, config_path));
  }
  if (map) {
    ASSIGN_OR_RETURN(source.special.emplace_back(), ReadSpecialNames(*map, map_path));
  }
  if (source.kind != Kind::kRanks) return source;
  if (config) {
    ASSIGN_OR_RETURN(source.ranks, ReadRankSettings(*config, config_path));
  }
  if (source.ranks.pattern.empty()) {
    ASSIGN_OR_RETURN(source.ranks, RankSettingsOfName(path));
  }
  return source;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> OpenTokenizer(const std::string& path) {
  ASSIGN_OR_RETURN(Source source, ReadSource(path));
  if (source.kind == Kind::kSentencePiece) {
    return SentencePieceTokenizer::FromModel(std::move(source.content), path);
  }
  BpeSpec spec;
  if (source.kind == Kind::kHuggingFace) {
    ASSIGN_OR_RETURN(spec, ReadHuggingFace(source.content, path));
  } else {
    ASSIGN_OR_RETURN(spec, ReadRanks(source.content, source.ranks, path));
  }
  return BpeTokenizer::Make(std::move(spec), source.special);
}

absl::StatusOr<std::string> TokenizerFileName(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string content, ReadFile(path));
  return std::string(NameOf(KindOf(content)));
}

absl::Status CopyTokenizer(const std::string& path, const std::string& folder) {
  ASSIGN_OR_RETURN(const Source source, ReadSource(path));
  const std::string name = NameOf(source.kind);
  if (source.kind != Kind::kSentencePiece) {
    // The names that count, and what a rank file does not say itself.
    nlohmann::json config = nlohmann::json::object();
    for (auto names = source.special.rbegin(); names != source.special.rend(); ++names) {
      if (!names->bos.empty()) config["bos_token"] = names->bos;
      if (!names->eos.empty()) config["eos_token"] = names->eos;
      if (!names->pad.empty()) config["pad_token"] = names->pad;
    }
    if (source.kind == Kind::kRanks) {
      config["pattern"] = source.ranks.pattern;
      config["special_tokens"] = source.ranks.special_tokens;
    } else {
      config["tokenizer_class"] = "PreTrainedTokenizerFast";
    }
    RETURN_IF_ERROR(WriteFileAtomic(StrCat(folder, "/", kConfigFile), config.dump(1) + "\n"));
  }
  return WriteFileAtomic(StrCat(folder, "/", name), source.content);
}

absl::StatusOr<std::string> FindTokenizer(const std::string& folder) {
  for (const Kind kind : {Kind::kSentencePiece, Kind::kHuggingFace, Kind::kRanks}) {
    const std::string path = StrCat(folder, "/", NameOf(kind));
    if (std::filesystem::exists(path)) return path;
  }
  return absl::NotFoundError(StrCat(
      folder, ": no tokenizer in it (tokenizer.model, tokenizer.json or tokenizer.tiktoken)"));
}

}  // namespace choir
