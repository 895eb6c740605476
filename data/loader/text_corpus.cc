#include "data/loader/text_corpus.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/config_dump.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/status.h"
#include "base/strings.h"
#include "data/shard/token_corpus.h"

namespace choir {
namespace {

constexpr int kTextFormat = 1;         // changes with what is done to documents
constexpr int64_t kEstimateFrom = 16;  // documents of each language
constexpr int64_t kBytesPerLabel = 4;  // where all of those are left out

absl::Status CheckSettings(const DataBuildConfig& build, const std::string& name) {
  if (build.clean.dedup.mode != DedupMode::kOff) {
    return absl::InvalidArgumentError(StrCat(
        name, ": clean.dedup needs the whole corpus before its first document; turn it off, ",
        "or make shards with `choir data build` and name them in data.path"));
  }
  if (build.shards.max_bytes_per_language > 0) {
    return absl::InvalidArgumentError(
        StrCat(name, ": shards.max_bytes_per_language is of shards; leave it out to train on the ",
               "text itself"));
  }
  return absl::OkStatus();
}

}  // namespace

size_t TextCorpus::KeyHash::operator()(const Key& key) const {
  const int64_t numbers[] = {key.split, key.language, key.number};
  return HashOf64(std::string_view(reinterpret_cast<const char*>(numbers), sizeof numbers));
}

absl::StatusOr<std::shared_ptr<const TextCorpus>> TextCorpus::Open(const DataBuildConfig& build,
                                                                   const std::string& name,
                                                                   const RawTextConfig& config) {
  RETURN_IF_ERROR(CheckSettings(build, name));
  std::shared_ptr<TextCorpus> corpus(new TextCorpus);
  corpus->name_ = name;
  corpus->cache_bytes_ = static_cast<size_t>(config.memory_mib) << 20;
  RETURN_IF_ERROR(MakeDirectories(config.cache));
  RETURN_IF_ERROR(CopyTokenizer(build.tokenizer.model, config.cache));
  ASSIGN_OR_RETURN(const std::string tokenizer_path, FindTokenizer(config.cache));
  ASSIGN_OR_RETURN(corpus->tokenizer_, OpenTokenizer(tokenizer_path));
  ASSIGN_OR_RETURN(corpus->cleaner_, Cleaner::Make(build.clean));
  ASSIGN_OR_RETURN(corpus->index_, TextIndex::Open(build.corpus, config.cache));
  const Tokenizer& tokenizer = *corpus->tokenizer_;
  corpus->info_ = {tokenizer_path,     tokenizer.fingerprint(), tokenizer.vocab_size(),
                   tokenizer.bos_id(), tokenizer.eos_id(),      tokenizer.pad_id()};
  Hasher128 hasher;
  hasher.Update(StrCat("text ", kTextFormat, " ", corpus->index_->fingerprint(), " ",
                       tokenizer.fingerprint(), "\n", ConfigDump(build.clean)));
  corpus->fingerprint_ = ToHex(hasher.Digest());
  for (const std::string& source : corpus->index_->sources()) {
    corpus->source_numbers_.emplace(source, static_cast<int32_t>(corpus->source_numbers_.size()));
  }
  RETURN_IF_ERROR(corpus->FindHeldoutGroups());
  RETURN_IF_ERROR(corpus->EstimateLabels());
  return std::shared_ptr<const TextCorpus>(std::move(corpus));
}

absl::Status TextCorpus::FindHeldoutGroups() {
  TextDocument document;
  for (int32_t l = 0; l < static_cast<int32_t>(languages().size()); ++l) {
    const int64_t n = index_->NumDocuments(Split::kHeldout, l);
    for (int64_t i = 0; i < n; ++i) {
      RETURN_IF_ERROR(index_->Read(Split::kHeldout, l, i, document));
      heldout_groups_.insert(HashOfName(document.group));
    }
  }
  return absl::OkStatus();
}

absl::Status TextCorpus::EstimateLabels() {
  for (int32_t l = 0; l < static_cast<int32_t>(languages().size()); ++l) {
    const int64_t n = index_->NumDocuments(Split::kTrain, l);
    int64_t labels = 0, bytes = 0;
    for (int64_t i = 0; i < std::min(n, kEstimateFrom); ++i) {
      const int64_t at = i * (n / std::min(n, kEstimateFrom));
      ASSIGN_OR_RETURN(const TokenDocument document,
                       Make({static_cast<int>(Split::kTrain), l, at}));
      labels += std::max<int64_t>(0, document.length - 1);
      bytes += index_->TextBytes(Split::kTrain, l, at);
    }
    labels_per_byte_.push_back(labels > 0 ? static_cast<double>(labels) / static_cast<double>(bytes)
                                          : 1.0 / kBytesPerLabel);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<DocumentStream>> TextCorpus::Streams(Split split, bool by_source) const {
  if (by_source) {
    return absl::InvalidArgumentError(
        "data.mixture.by_source needs shards (data.path), which know the source of each document "
        "without reading it; data.text does not");
  }
  std::vector<DocumentStream> streams;
  for (int32_t l = 0; l < static_cast<int32_t>(languages().size()); ++l) {
    const double bytes = static_cast<double>(index_->NumBytes(split, l));
    streams.push_back({l, kAllSources, languages()[l], index_->NumDocuments(split, l),
                       static_cast<int64_t>(bytes * labels_per_byte_[l])});
  }
  return streams;
}

absl::StatusOr<TokenDocument> TextCorpus::Make(const Key& key) const {
  TextDocument text;
  RETURN_IF_ERROR(index_->Read(static_cast<Split>(key.split), key.language, key.number, text));
  TokenDocument document;
  document.id = HashOfName(text.id);
  document.group = HashOfName(text.group);
  document.source = source_numbers_.at(text.source);
  if (static_cast<Split>(key.split) == Split::kTrain && heldout_groups_.contains(document.group)) {
    return document;
  }
  // The stream is of the language that the text was filed under.
  if (cleaner_->Clean(text).reason != nullptr || text.text.empty() ||
      text.language != languages()[key.language]) {
    return document;
  }
  auto ids = std::make_shared<std::vector<int32_t>>();
  ids->push_back(info_.bos_id);
  tokenizer_->Encode(text.text, *ids);
  ids->push_back(info_.eos_id);
  ids->shrink_to_fit();
  document.tokens = ids->data();
  document.wide = true;
  document.length = static_cast<int64_t>(ids->size());
  document.bytes = static_cast<int64_t>(text.text.size());
  document.keep = std::move(ids);
  return document;
}

void TextCorpus::Keep(const Key& key, const TokenDocument& document) const {
  const size_t bytes = sizeof(Entry) + static_cast<size_t>(document.length) * sizeof(int32_t);
  const std::lock_guard lock(mutex_);
  if (entries_.contains(key)) return;  // another thread was faster
  recent_.push_front({key, document, bytes});
  entries_[key] = recent_.begin();
  bytes_ += bytes;
  while (bytes_ > cache_bytes_ && recent_.size() > 1) {
    bytes_ -= recent_.back().bytes;
    entries_.erase(recent_.back().key);
    recent_.pop_back();
  }
}

absl::StatusOr<TokenDocument> TextCorpus::Get(const Key& key) const {
  {
    const std::lock_guard lock(mutex_);
    const auto it = entries_.find(key);
    if (it != entries_.end()) {
      recent_.splice(recent_.begin(), recent_, it->second);
      return it->second->document;
    }
  }
  ASSIGN_OR_RETURN(const TokenDocument document, Make(key));
  Keep(key, document);
  return document;
}

absl::StatusOr<DocumentHead> TextCorpus::Head(Split split, const DocumentStream& stream,
                                              int64_t i) const {
  ASSIGN_OR_RETURN(const TokenDocument document, Read(split, stream, i));
  return DocumentHead{document.length, document.id, document.source};
}

absl::StatusOr<TokenDocument> TextCorpus::Read(Split split, const DocumentStream& stream,
                                               int64_t i) const {
  return Get({static_cast<int>(split), stream.language, i});
}

absl::StatusOr<std::shared_ptr<const Corpus>> OpenCorpus(const DataConfig& config) {
  if (config.text.build.empty()) {
    ASSIGN_OR_RETURN(std::shared_ptr<const TokenCorpus> shards, TokenCorpus::Open(config.path));
    return shards;
  }
  ASSIGN_OR_RETURN(const ConfigTree tree, ConfigTree::ParseFile(config.text.build));
  ASSIGN_OR_RETURN(const DataBuildConfig build, LoadConfig<DataBuildConfig>(tree));
  ASSIGN_OR_RETURN(std::shared_ptr<const TextCorpus> text,
                   TextCorpus::Open(build, config.text.build, config.text));
  return text;
}

}  // namespace choir
