#include "data/build/shard_inputs.h"

#include <filesystem>

#include "base/check.h"
#include "base/hash.h"
#include "base/status.h"
#include "base/strings.h"
#include "data/shard/shard_reader.h"
#include "data/shard/token_corpus.h"
#include "data/text/line_reader.h"

namespace choir {
namespace {

namespace fs = std::filesystem;

// Opens each index and each tokenizer once.
class ShardFinder {
 public:
  absl::StatusOr<ShardInput> Find(const TextFile& file) {
    ShardInput shard;
    RETURN_IF_ERROR(FindIndex(file, shard));
    const ShardInfo& info = shard.index->shards[shard.number];
    if (file.split == Split::kTrain && info.split == Split::kHeldout) {
      return absl::InvalidArgumentError(
          StrCat(file.path,
                 ": holds held-out documents, and its input is training text; name it "
                 "in an entry of corpus.inputs with `split: heldout`"));
    }
    ASSIGN_OR_RETURN(shard.tokenizer, TokenizerOf(file, shard));
    return shard;
  }

 private:
  absl::Status FindIndex(const TextFile& file, ShardInput& shard) {
    const fs::path path = fs::absolute(file.path).lexically_normal();
    const fs::path folder = path.parent_path();
    for (const fs::path& directory : {folder, folder.parent_path()}) {
      ASSIGN_OR_RETURN(shard.index, IndexIn(directory.string()));
      if (shard.index == nullptr) continue;
      shard.directory = directory.string();
      const std::string name = path.lexically_relative(directory).string();
      const std::vector<ShardInfo>& shards = shard.index->shards;
      for (; shard.number < shards.size(); ++shard.number) {
        if (shards[shard.number].file == name) return absl::OkStatus();
      }
      return absl::InvalidArgumentError(StrCat(file.path, ": is not one of the shards that ",
                                               shard.directory, "/", kCorpusIndexFile,
                                               " lists; name only those"));
    }
    return absl::NotFoundError(
        StrCat(file.path, ": no ", kCorpusIndexFile, " in its folder or the one above, without ",
               "which shards cannot be read; keep shards in the folder they were published in"));
  }

  // Null if there is none.
  absl::StatusOr<std::shared_ptr<const CorpusIndex>> IndexIn(const std::string& directory) {
    const auto known = indices_.find(directory);
    if (known != indices_.end()) return known->second;
    std::error_code ignored;
    std::shared_ptr<const CorpusIndex> index;
    if (fs::exists(directory + "/" + kCorpusIndexFile, ignored)) {
      ASSIGN_OR_RETURN(CorpusIndex read, ReadCorpusIndex(directory));
      index = std::make_shared<const CorpusIndex>(std::move(read));
    }
    return indices_[directory] = index;
  }

  absl::StatusOr<std::shared_ptr<const Tokenizer>> TokenizerOf(const TextFile& file,
                                                               const ShardInput& shard) {
    const TokenizerInfo& info = shard.index->tokenizer;
    const std::string kept = StrCat(shard.directory, "/", info.file);
    const std::string& path = file.tokenizer.empty() ? kept : file.tokenizer;
    std::shared_ptr<const Tokenizer>& tokenizer = tokenizers_[path];
    const std::string advice =
        StrCat("; set `tokenizer` in its entry of corpus.inputs to the one of fingerprint ",
               info.fingerprint);
    if (tokenizer == nullptr) {
      absl::StatusOr<std::unique_ptr<Tokenizer>> opened = OpenTokenizer(path);
      if (absl::IsNotFound(opened.status())) {
        return absl::NotFoundError(
            StrCat(file.path, ": its tokenizer ", path, " is not there", advice));
      }
      RETURN_IF_ERROR(opened.status());
      tokenizer = *std::move(opened);
    }
    if (tokenizer->fingerprint() == info.fingerprint) return tokenizer;
    return absl::InvalidArgumentError(StrCat(file.path, ": was not made by the tokenizer ", path,
                                             " (fingerprint ", tokenizer->fingerprint(), ")",
                                             advice));
  }

  std::map<std::string, std::shared_ptr<const CorpusIndex>> indices_;   // by directory
  std::map<std::string, std::shared_ptr<const Tokenizer>> tokenizers_;  // by path
};

class ShardTextReader : public DocumentReader {
 public:
  ShardTextReader(TextFile file, ShardInput shard, std::unique_ptr<ShardReader> reader)
      : file_(std::move(file)), shard_(std::move(shard)), reader_(std::move(reader)) {}

  absl::StatusOr<bool> Next(TextDocument& document) override {
    if (next_ == reader_->documents()) return false;
    const int64_t number = next_++;
    ASSIGN_OR_RETURN(const TokenDocument tokens, ReadShardDocument(*reader_, number));
    RETURN_IF_ERROR(reader_->Check(ShardArray::kLanguage, number, 1));
    const auto language = reader_->Get<uint16_t>(ShardArray::kLanguage, number);
    const CorpusIndex& index = *shard_.index;
    if (language >= index.languages.size() ||
        tokens.source >= static_cast<int32_t>(index.sources.size())) {
      return Broken("a language or source that is not in the tables");
    }
    bytes_ = tokens.bytes;
    document.language = index.languages[language];
    document.source = index.sources[static_cast<size_t>(tokens.source)];
    document.id = StrCat("#", ToHex(tokens.id));
    document.group = StrCat("#", ToHex(tokens.group));
    if (!file_.language.empty() && document.language != file_.language) {
      return Malformed(
          StrCat("language '", document.language, "' in a file of '", file_.language, "'"));
    }
    RETURN_IF_ERROR(Decode(tokens, document.text));
    return true;
  }
  int64_t line() const override { return next_; }
  int64_t line_bytes() const override { return bytes_; }

 private:
  absl::Status Broken(const std::string& why) const {
    return absl::DataLossError(StrCat(file_.path, ":", next_, ": ", why));
  }
  absl::Status Malformed(const std::string& why) const {
    return absl::InvalidArgumentError(StrCat(file_.path, ":", next_, ": ", why));
  }

  absl::Status Decode(const TokenDocument& tokens, std::string& text) const {
    constexpr auto kMaxBytes = static_cast<int64_t>(LineReader::kMaxLineBytes);
    const Tokenizer& tokenizer = *shard_.tokenizer;
    if (tokens.bytes > kMaxBytes) {
      return Malformed(
          StrCat("a document of ", tokens.bytes, " bytes, at most ", kMaxBytes, " are read"));
    }
    if (tokens.token(0) != tokenizer.bos_id() ||
        tokens.token(tokens.length - 1) != tokenizer.eos_id()) {
      return Broken("does not stand between the tokens for beginning and end");
    }
    text.clear();
    for (int64_t i = 1; i < tokens.length - 1; ++i) {
      const int32_t id = tokens.token(i);
      if (id < 0 || id >= tokenizer.vocab_size()) {
        return Broken(StrCat("token ", id, " of a vocabulary of ", tokenizer.vocab_size()));
      }
      const std::string_view bytes = tokenizer.Bytes(id);
      if (bytes.empty()) return Malformed(StrCat("the special token ", id, " is no text"));
      text += bytes;
    }
    if (!tokenizer.lossless() || static_cast<int64_t>(text.size()) == tokens.bytes) {
      return absl::OkStatus();
    }
    return Malformed(
        StrCat("decodes to ", text.size(), " bytes of text, made from ", tokens.bytes));
  }

  const TextFile file_;
  const ShardInput shard_;
  const std::unique_ptr<ShardReader> reader_;
  int64_t next_ = 0;
  int64_t bytes_ = 0;
};

}  // namespace

absl::StatusOr<ShardInputs> ShardInputs::Find(const std::vector<TextFile>& files) {
  ShardInputs inputs;
  ShardFinder finder;
  for (const TextFile& file : files) {
    if (file.format != TextFormat::kShards) continue;
    ASSIGN_OR_RETURN(inputs.shards_[file.path], finder.Find(file));
  }
  return inputs;
}

absl::StatusOr<std::unique_ptr<DocumentReader>> ShardInputs::Open(const TextFile& file) const {
  if (file.format != TextFormat::kShards) return DocumentReader::Open(file);
  const auto shard = shards_.find(file.path);
  CHECK(shard != shards_.end()) << file.path << " was not among the files of Find";
  const ShardInfo& info = shard->second.index->shards[shard->second.number];
  ASSIGN_OR_RETURN(std::unique_ptr<ShardReader> reader,
                   ShardReader::Open(shard->second.directory, info));
  return std::make_unique<ShardTextReader>(file, shard->second, std::move(reader));
}

}  // namespace choir
