// BuildShards of data/build/commands.h.
#include <atomic>
#include <chrono>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <thread>
#include <unordered_set>

#include "absl/strings/str_format.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/status.h"
#include "base/strings.h"
#include "data/build/build_inputs.h"
#include "data/build/commands.h"
#include "data/build/data_report.h"
#include "data/shard/hdf5_shard.h"
#include "data/shard/verify.h"
#include "data/text/documents.h"
#include "data/tokenizer/tokenizer.h"

namespace choir {
namespace {

namespace fs = std::filesystem;

constexpr int kBuildFormat = 1;            // changes with what the build does to documents
constexpr size_t kBlockBytes = 8'000'000;  // of text that is encoded together
constexpr const char* kFolderPrefix = "shards-";

// One build, from files to shards: held-out files first, so that training documents of a held-out
// group can be refused.
class ShardBuild {
 public:
  ShardBuild(const DataBuildConfig& config, const Tokenizer& tokenizer, CorpusIndex& index,
             std::string folder)
      : config_(config),
        tokenizer_(tokenizer),
        index_(index),
        folder_(std::move(folder)),
        malformed_(config.corpus.max_malformed) {
    threads_ = config.shards.threads > 0
                   ? config.shards.threads
                   : std::max<int64_t>(1, std::thread::hardware_concurrency());
  }

  absl::Status Run(const std::vector<TextFile>& files);

 private:
  absl::Status ReadFileInto(const TextFile& file, ShardWriter& writer);
  // Why a document is not kept; null if it is.
  const char* DropReason(const TextFile& file, const DocumentSample* sample,
                         const TextDocument& document);
  absl::Status EncodeBlock(const std::vector<TextDocument>& block, int32_t language,
                           ShardWriter& writer, LanguageReport& report);
  absl::Status FinishShard(ShardWriter& writer);
  int32_t SourceId(const std::string& source);

  const DataBuildConfig& config_;
  const Tokenizer& tokenizer_;
  CorpusIndex& index_;
  const std::string folder_;  // inside config.shards.path
  MalformedCounter malformed_;
  int64_t threads_ = 1;
  Split split_ = Split::kTrain;
  std::map<std::string, int32_t> source_ids_;
  std::unordered_set<uint64_t> heldout_groups_;
  std::unordered_set<uint64_t> ids_;
};

absl::Status ShardBuild::Run(const std::vector<TextFile>& files) {
  for (const Split split : {Split::kHeldout, Split::kTrain}) {
    split_ = split;
    ShardWriter writer(split, index_.tokenizer);
    for (const TextFile& file : files) {
      if (file.split == split) RETURN_IF_ERROR(ReadFileInto(file, writer));
    }
    if (writer.documents() > 0) RETURN_IF_ERROR(FinishShard(writer));
  }
  return absl::OkStatus();
}

absl::Status ShardBuild::FinishShard(ShardWriter& writer) {
  int64_t number = 0;
  for (const ShardInfo& shard : index_.shards) number += shard.split == split_;
  const std::string file =
      absl::StrFormat("%s/%s-%05d.h5", folder_, SplitName(split_), static_cast<int>(number));
  ASSIGN_OR_RETURN(ShardInfo info, writer.Finish(config_.shards.path, file, index_));
  index_.shards.push_back(std::move(info));
  return absl::OkStatus();
}

int32_t ShardBuild::SourceId(const std::string& source) {
  const auto [it, fresh] =
      source_ids_.try_emplace(source, static_cast<int32_t>(index_.sources.size()));
  if (fresh) index_.sources.push_back(source);
  return it->second;
}

const char* ShardBuild::DropReason(const TextFile& file, const DocumentSample* sample,
                                   const TextDocument& document) {
  if (document.text.empty()) return "empty";
  if (document.text.size() >= uint64_t{1} << 32) return "over 4 GiB";
  const uint64_t group = HashOf64(document.group);
  if (file.split == Split::kHeldout) {
    heldout_groups_.insert(group);
  } else if (heldout_groups_.contains(group)) {
    return "group is held out";
  }
  if (sample != nullptr && !sample->Contains(document)) return "over max_bytes_per_language";
  if (!ids_.insert(HashOf64(document.id)).second) return "id seen before";
  return nullptr;
}

absl::Status ShardBuild::ReadFileInto(const TextFile& file, ShardWriter& writer) {
  const auto it = std::find(index_.languages.begin(), index_.languages.end(), file.language);
  const auto language = static_cast<int32_t>(it - index_.languages.begin());
  LanguageReport& report = index_.report[static_cast<int>(file.split)].at(language);
  std::optional<DocumentSample> sample;
  if (file.split == Split::kTrain && config_.shards.max_bytes_per_language > 0) {
    sample.emplace(config_.shards.max_bytes_per_language, file.bytes, config_.tokenizer.seed);
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<DocumentReader> reader, DocumentReader::Open(file));
  std::vector<TextDocument> block;
  size_t block_bytes = 0;
  const auto drop = [&](const char* reason, int64_t bytes) {
    report.dropped_documents[reason] += 1;
    report.dropped_bytes[reason] += bytes;
  };
  while (true) {
    TextDocument document;
    const absl::StatusOr<bool> more = reader->Next(document);
    if (more.ok() && !*more) break;
    report.documents_in += 1;
    if (!more.ok()) {
      RETURN_IF_ERROR(malformed_.Add(more.status()));
      report.bytes_in += reader->line_bytes();  // there is no text to measure
      drop("malformed", reader->line_bytes());
      continue;
    }
    const auto bytes = static_cast<int64_t>(document.text.size());
    report.bytes_in += bytes;
    const char* const reason = DropReason(file, sample ? &*sample : nullptr, document);
    if (reason != nullptr) {
      drop(reason, bytes);
      continue;
    }
    block_bytes += document.text.size();
    block.push_back(std::move(document));
    if (block_bytes >= kBlockBytes) {
      RETURN_IF_ERROR(EncodeBlock(block, language, writer, report));
      block.clear();
      block_bytes = 0;
    }
  }
  return EncodeBlock(block, language, writer, report);
}

absl::Status ShardBuild::EncodeBlock(const std::vector<TextDocument>& block, int32_t language,
                                     ShardWriter& writer, LanguageReport& report) {
  std::vector<std::vector<int32_t>> tokens(block.size());
  std::atomic<size_t> next = 0;
  const auto encode = [&] {
    for (size_t i; (i = next.fetch_add(1)) < block.size();) {
      tokens[i].push_back(tokenizer_.bos_id());
      tokenizer_.Encode(block[i].text, tokens[i]);
      tokens[i].push_back(tokenizer_.eos_id());
    }
  };
  std::vector<std::thread> helpers;
  for (int64_t t = 1; t < threads_; ++t) helpers.emplace_back(encode);
  encode();
  for (std::thread& helper : helpers) helper.join();
  for (size_t i = 0; i < block.size(); ++i) {
    const auto length = static_cast<int64_t>(tokens[i].size());
    if (writer.documents() > 0 && writer.tokens() + length > config_.shards.max_tokens_per_shard) {
      RETURN_IF_ERROR(FinishShard(writer));
    }
    const auto bytes = static_cast<int64_t>(block[i].text.size());
    writer.Add({language, SourceId(block[i].source), bytes, HashOf64(block[i].id),
                HashOf64(block[i].group)},
               tokens[i]);
    report.documents += 1;
    report.bytes += bytes;
    report.tokens += length - 2;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> InputsOf(const DataBuildConfig& config, const Tokenizer& tokenizer,
                                     const std::vector<TextFile>& files) {
  Hasher128 hasher;
  hasher.Update(StrCat("shards ", kBuildFormat, " ", kCorpusFormat, " ", tokenizer.fingerprint(),
                       " ", config.shards.max_tokens_per_shard, " ",
                       config.shards.max_bytes_per_language, " ", config.tokenizer.seed, "\n"));
  for (const TextFile& file : files) RETURN_IF_ERROR(HashTextFile(file, hasher));
  return ToHex(hasher.Digest());
}

// Removes folders of shards that the published index does not refer to.
void RemoveOthers(const std::string& path, const std::string& keep) {
  std::error_code ignored;  // what is left over costs space only, and the next build tries again
  for (const auto& entry : fs::directory_iterator(path, ignored)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(kFolderPrefix) && name != keep) fs::remove_all(entry.path(), ignored);
  }
}

bool IsWhole(const std::string& path, const CorpusIndex& index, int64_t threads) {
  const absl::StatusOr<VerifyReport> report = VerifyShards(path, index, threads);
  return report.ok() && report->damage.empty();
}

absl::StatusOr<std::unique_ptr<Tokenizer>> OpenTrained(const std::string& path) {
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = OpenTokenizer(path);
  if (absl::IsNotFound(tokenizer.status())) {
    return absl::NotFoundError(
        StrCat(path, ": not there; `choir tokenizer train CONFIG` makes it (tokenizer.model)"));
  }
  return tokenizer;
}

}  // namespace

absl::Status BuildShards(const DataBuildConfig& config, std::ostream& out) {
  const auto start = std::chrono::steady_clock::now();
  const std::string& path = config.shards.path;
  ASSIGN_OR_RETURN(const std::vector<TextFile> files, ListTextFiles(config.corpus));
  ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer, OpenTrained(config.tokenizer.model));
  CorpusIndex index;
  ASSIGN_OR_RETURN(index.inputs, InputsOf(config, *tokenizer, files));
  const absl::StatusOr<CorpusIndex> old = ReadCorpusIndex(path);
  if (old.ok() && old->inputs == index.inputs && IsWhole(path, *old, config.shards.threads)) {
    out << path << " is made from this text and these settings already: nothing to do\n";
    PrintDataReport(*old, out);
    return absl::OkStatus();
  }
  const std::string folder = kFolderPrefix + index.inputs.substr(0, 12);
  index.tokenizer = {folder + "/tokenizer.model", tokenizer->fingerprint(), tokenizer->vocab_size(),
                     tokenizer->bos_id(),         tokenizer->eos_id(),      tokenizer->pad_id()};
  std::set<std::string> languages;
  for (const TextFile& file : files) languages.insert(file.language);
  index.languages.assign(languages.begin(), languages.end());
  for (auto& report : index.report) report.resize(index.languages.size());
  RETURN_IF_ERROR(MakeDirectories(StrCat(path, "/", folder)));
  ASSIGN_OR_RETURN(const std::string model, ReadFile(config.tokenizer.model));
  RETURN_IF_ERROR(WriteFileAtomic(StrCat(path, "/", index.tokenizer.file), model));
  ShardBuild build(config, *tokenizer, index, folder);
  RETURN_IF_ERROR(build.Run(files));
  RETURN_IF_ERROR(WriteCorpusIndex(path, index));
  RemoveOthers(path, folder);
  PrintDataReport(index, out);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  out << path << ": published, " << absl::StrFormat("%.1f", seconds.count()) << " s\n";
  return absl::OkStatus();
}

}  // namespace choir
