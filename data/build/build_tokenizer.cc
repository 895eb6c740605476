// BuildTokenizer of data/build/commands.h.
#include <algorithm>
#include <chrono>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>

#include "absl/strings/str_format.h"
#include "base/config_dump.h"
#include "base/config_field.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/status.h"
#include "base/strings.h"
#include "data/build/build_inputs.h"
#include "data/build/commands.h"
#include "data/build/shard_inputs.h"
#include "data/clean/cleaner.h"
#include "data/text/documents.h"
#include "data/text/utf8.h"
#include "data/text_table.h"
#include "data/tokenizer/bpe_trainer.h"
#include "data/tokenizer/sentencepiece_tokenizer.h"

namespace choir {
namespace {

constexpr int kSampleFormat = 1;       // changes with what the sample or the trainer's settings are
constexpr size_t kMaxSentence = 4000;  // bytes; bounds the trainer's quadratic cost by sentence

// The lines of a text; longer ones are cut, at a space if there is one, never inside a character.
void AddSentences(std::string_view text, std::vector<std::string>& sentences) {
  while (!text.empty()) {
    const size_t line = std::min(text.find('\n'), text.size());
    size_t cut = line;
    if (line > kMaxSentence) {
      cut = text.substr(0, kMaxSentence).rfind(' ');
      if (cut == text.npos || cut == 0) {
        cut = kMaxSentence;
        while ((static_cast<unsigned char>(text[cut]) & 0xC0) == 0x80) --cut;
      }
    }
    if (cut > 0) sentences.emplace_back(text.substr(0, cut));
    text.remove_prefix(std::min(text.size(), cut == line ? line + 1 : cut));
  }
}

// Then the languages of documents are those that the cleaning finds.
bool IdentifiesLanguage(const DataBuildConfig& config) {
  return config.clean.language_id.action == LanguageAction::kAssign;
}

struct Sample {
  std::vector<std::string> sentences;    // whole documents for bpe, which is trained as it encodes
  std::map<std::string, int64_t> bytes;  // by language
};

struct SampleFrom {
  const DataBuildConfig& config;
  const ShardInputs& shards;
  const Cleaner* cleaner;  // says which documents there are, and in which language; or null
};

// Documents up to the budget of each language; of a file in several languages the first ones. The
// share by hash is of the file's size, which is JSON; so the cap, not the share, makes the budgets
// equal, and the share is taken a bit larger.
absl::Status SampleFile(const TextFile& file, const SampleFrom& from, Sample& sample,
                        MalformedCounter& malformed) {
  const DataBuildConfig& config = from.config;
  const int64_t budget = config.tokenizer.sample_bytes_per_language;
  const bool one_language = !file.language.empty() && from.cleaner == nullptr;
  const DocumentSample share(budget + budget / 2, one_language ? file.bytes : 0,
                             config.tokenizer.seed);
  const std::vector<std::string>& wanted = config.corpus.languages;
  ASSIGN_OR_RETURN(const std::unique_ptr<DocumentReader> reader, from.shards.Open(file));
  TextDocument document;
  while (!one_language || sample.bytes[file.language] < budget) {
    const absl::StatusOr<bool> more = reader->Next(document);
    if (!more.ok()) {
      RETURN_IF_ERROR(malformed.Add(more.status()));
      continue;
    }
    if (!*more) break;
    if (from.cleaner != nullptr && from.cleaner->Clean(document).reason != nullptr) continue;
    const bool asked_for = wanted.empty() || std::find(wanted.begin(), wanted.end(),
                                                       document.language) != wanted.end();
    if (!asked_for) continue;
    int64_t& bytes = sample.bytes[document.language];
    if (bytes >= budget) continue;
    if (!share.Contains(document)) continue;
    if (config.tokenizer.kind == TokenizerKind::kBpe) {
      sample.sentences.push_back(document.text);
    } else {
      AddSentences(document.text, sample.sentences);
    }
    bytes += static_cast<int64_t>(document.text.size());
  }
  return absl::OkStatus();
}

// Trains, and writes the model and what belongs beside it.
absl::Status Train(const std::vector<std::string>& sentences, const TokenizerConfig& config) {
  const std::filesystem::path folder = std::filesystem::path(config.model).parent_path();
  if (!folder.empty()) RETURN_IF_ERROR(MakeDirectories(folder.string()));
  std::string model;
  if (config.kind == TokenizerKind::kBpe) {
    const int threads = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
    ASSIGN_OR_RETURN(model, TrainBpe(sentences, config, threads));
    RETURN_IF_ERROR(
        WriteFileAtomic((folder / "tokenizer_config.json").string(), TrainedBpeConfig()));
  } else {
    ASSIGN_OR_RETURN(model, TrainSentencePiece(sentences, config));
  }
  return WriteFileAtomic(config.model, model);
}

// Hash of all that the model is a function of.
absl::StatusOr<std::string> InputsOf(const DataBuildConfig& config,
                                     const std::vector<TextFile>& files) {
  const TokenizerConfig& tokenizer = config.tokenizer;
  Hasher128 hasher;
  hasher.Update(StrCat("tokenizer ", kSampleFormat, " ", tokenizer.vocab_size, " ",
                       tokenizer.sample_bytes_per_language, " ",
                       ShortestDouble(tokenizer.character_coverage), " ", tokenizer.seed));
  if (tokenizer.kind == TokenizerKind::kBpe) {
    hasher.Update(StrCat(" bpe ", tokenizer.pattern, " ", tokenizer.min_frequency));
  }
  if (IdentifiesLanguage(config)) {
    hasher.Update(" " + ConfigHash(config.clean));
    const std::string& model = config.clean.language_id.model;
    if (!model.empty()) {
      ASSIGN_OR_RETURN(const std::string bytes, ReadFile(model));
      hasher.Update(bytes);
    }
  }
  hasher.Update("\n");
  for (const TextFile& file : files) {
    if (file.split == Split::kTrain) RETURN_IF_ERROR(HashTextFile(file, hasher));
  }
  return ToHex(hasher.Digest());
}

// True if the model at `path` was made from these inputs and is still what it was.
bool IsUpToDate(const std::string& path, const std::string& inputs) {
  const absl::StatusOr<std::string> note = ReadFile(path + ".json");
  if (!note.ok()) return false;
  const nlohmann::json json = nlohmann::json::parse(*note, nullptr, false);
  if (!json.is_object() || json.value("inputs", nlohmann::json()) != inputs) return false;
  const auto tokenizer = OpenTokenizer(path);
  return tokenizer.ok() &&
         json.value("fingerprint", nlohmann::json()) == (*tokenizer)->fingerprint();
}

}  // namespace

absl::Status BuildTokenizer(const DataBuildConfig& config, std::ostream& out) {
  const auto start = std::chrono::steady_clock::now();
  const std::string& path = config.tokenizer.model;
  const bool identifies = IdentifiesLanguage(config);
  ASSIGN_OR_RETURN(const std::vector<TextFile> files, FollowTextFiles(config.corpus, !identifies));
  ASSIGN_OR_RETURN(const std::string inputs, InputsOf(config, files));
  if (IsUpToDate(path, inputs)) {
    out << path << " is made from this text and these settings already: nothing to do\n";
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const ShardInputs shards, ShardInputs::Find(files));
  Sample sample;
  MalformedCounter malformed(config.corpus.max_malformed);
  std::unique_ptr<Cleaner> cleaner;
  if (identifies) {
    ASSIGN_OR_RETURN(cleaner, Cleaner::Make(config.clean));
  }
  for (const TextFile& file : files) {
    if (file.split != Split::kTrain) continue;
    RETURN_IF_ERROR(SampleFile(file, {config, shards, cleaner.get()}, sample, malformed));
  }
  int64_t total = 0;
  for (const auto& [language, bytes] : sample.bytes) total += bytes;
  out << "training a tokenizer of " << config.tokenizer.vocab_size << " ids on "
      << WithCommas(total) << " bytes in " << sample.bytes.size() << " languages\n";
  for (const auto& [language, bytes] : sample.bytes) {
    if (bytes < config.tokenizer.sample_bytes_per_language) {
      out << "  " << language << " has only " << WithCommas(bytes) << " bytes of the "
          << WithCommas(config.tokenizer.sample_bytes_per_language) << " asked for\n";
    }
  }
  RETURN_IF_ERROR(Train(sample.sentences, config.tokenizer));
  ASSIGN_OR_RETURN(const auto tokenizer, OpenTokenizer(path));
  nlohmann::json note = {{"inputs", inputs}, {"fingerprint", tokenizer->fingerprint()}};
  for (const auto& [language, bytes] : sample.bytes) note["sample_bytes"][language] = bytes;
  RETURN_IF_ERROR(WriteFileAtomic(path + ".json", note.dump(1) + "\n"));
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  out << path << ": " << tokenizer->vocab_size() << " ids, fingerprint " << tokenizer->fingerprint()
      << ", " << absl::StrFormat("%.1f", seconds.count()) << " s\n";
  return absl::OkStatus();
}

}  // namespace choir
