#include "data/build/encode_spool.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "absl/strings/str_format.h"
#include "base/check.h"
#include "base/file.h"
#include "base/status.h"
#include "base/strings.h"
#include "data/build/in_order.h"
#include "data/shard/hdf5_shard.h"
#include "data/shard/verify.h"
#include "data/text/threads.h"
#include "data/tokenizer/fertility.h"

namespace choir {
namespace {

constexpr const char* kCountsFile = "encoded.json";

// A block of one language, some of whose documents are kept.
struct BlockRef {
  Split split;
  int32_t language;  // of the index
  const SpoolFile* file;
  const SpoolBlock* block;
  const Fate* fates;
};

// The kept documents of a block.
struct EncodedBlock {
  struct Document {
    SpoolDocument spooled;
    size_t end;  // in tokens
    int64_t words;
  };
  std::vector<Document> documents;
  std::vector<int32_t> tokens;  // each as beginning, text, end
};

class SpoolEncoder {
 public:
  SpoolEncoder(const EncodeJob& job, CorpusIndex& index, BuildReport& report, StageClock& clock)
      : job_(job), index_(index), report_(report), clock_(clock) {
    for (const Split split : kAllSplits) writers_.emplace_back(split, index.tokenizer);
    for (size_t s = 0; s < index.sources.size(); ++s) {
      source_ids_[index.sources[s]] = static_cast<int32_t>(s);
    }
  }

  absl::Status Run() {
    Resume();
    const std::vector<BlockRef> blocks = Blocks();
    RETURN_IF_ERROR(RunInOrder<EncodedBlock>(
        static_cast<int64_t>(blocks.size()), NumThreads(job_.config.shards.threads),
        [&](int64_t i) { return Encode(blocks[i]); },
        [&](int64_t i, EncodedBlock encoded) { return Write(blocks[i], encoded); }));
    for (const Split split : {Split::kHeldout, Split::kTrain}) RETURN_IF_ERROR(FinishShard(split));
    CHECK(skip_ == 0) << skip_ << " documents of an interrupted build did not come again";
    report_.Merge(encoded_);
    return absl::OkStatus();
  }

 private:
  std::vector<BlockRef> Blocks();
  absl::StatusOr<EncodedBlock> Encode(const BlockRef& ref) const;
  absl::Status Write(const BlockRef& ref, const EncodedBlock& encoded);
  absl::Status FinishShard(Split split);
  absl::Status NoteProgress() const;
  void Resume();
  ShardWriter& WriterOf(Split split) { return writers_[static_cast<size_t>(split)]; }

  const EncodeJob& job_;
  CorpusIndex& index_;
  BuildReport& report_;
  StageClock& clock_;
  std::vector<ShardWriter> writers_;  // by split; only one holds documents at a time
  std::map<std::string, int32_t> source_ids_;
  BuildReport encoded_;  // tokens and histograms so far
  int64_t skip_ = 0;     // documents that an interrupted build wrote
};

// Those that an interrupted build has not written.
std::vector<BlockRef> SpoolEncoder::Blocks() {
  std::vector<BlockRef> blocks;
  for (size_t p = 0; p < job_.spooled.parts.size(); ++p) {
    const SpoolPart& part = job_.spooled.parts[p];
    for (const SpoolBlock& block : part.file->blocks()) {
      const Fate* const fates = job_.fates[p].data() + block.first;
      if (std::count(fates, fates + block.count, Fate::kKept) == 0) continue;
      const std::string& name = part.file->languages()[block.language];
      const auto it = std::find(index_.languages.begin(), index_.languages.end(), name);
      CHECK(it != index_.languages.end()) << name;
      blocks.push_back({part.split, static_cast<int32_t>(it - index_.languages.begin()),
                        part.file.get(), &block, fates});
    }
  }
  std::stable_sort(blocks.begin(), blocks.end(), [](const BlockRef& a, const BlockRef& b) {
    const auto rank = [](const BlockRef& ref) {
      return std::pair(ref.split == Split::kTrain, ref.language);
    };
    return rank(a) < rank(b);
  });
  size_t done = 0;
  for (; done < blocks.size(); ++done) {
    const BlockRef& ref = blocks[done];
    const auto kept = std::count(ref.fates, ref.fates + ref.block->count, Fate::kKept);
    if (kept > skip_) break;
    skip_ -= kept;
  }
  blocks.erase(blocks.begin(), blocks.begin() + static_cast<int64_t>(done));
  return blocks;
}

absl::StatusOr<EncodedBlock> SpoolEncoder::Encode(const BlockRef& ref) const {
  StageTimer timer(clock_, Stage::kTokenize);
  ASSIGN_OR_RETURN(const std::vector<SpoolDocument> table, ref.file->ReadTable(*ref.block));
  ASSIGN_OR_RETURN(const std::string texts, ref.file->ReadTexts(*ref.block));
  EncodedBlock encoded;
  std::string_view rest = texts;
  for (size_t d = 0; d < table.size(); ++d) {
    const std::string_view text = rest.substr(0, table[d].bytes);
    rest.remove_prefix(table[d].bytes);
    if (ref.fates[d] != Fate::kKept) continue;
    encoded.tokens.push_back(job_.tokenizer.bos_id());
    job_.tokenizer.Encode(text, encoded.tokens);
    encoded.tokens.push_back(job_.tokenizer.eos_id());
    encoded.documents.push_back({table[d], encoded.tokens.size(), CountText(text).words});
  }
  timer.Stop(ref.block->raw);
  return encoded;
}

absl::Status SpoolEncoder::Write(const BlockRef& ref, const EncodedBlock& encoded) {
  StageTimer timer(clock_, Stage::kWrite);
  // Shards never mix splits.
  if (ref.split == Split::kTrain) RETURN_IF_ERROR(FinishShard(Split::kHeldout));
  ShardWriter& writer = WriterOf(ref.split);
  const std::string& language = index_.languages[ref.language];
  LanguageHistograms& histograms = encoded_.languages[language];
  size_t begin = 0;
  for (const EncodedBlock::Document& document : encoded.documents) {
    const std::span<const int32_t> tokens(encoded.tokens.data() + begin, document.end - begin);
    begin = document.end;
    if (skip_ > 0) {
      --skip_;
      continue;
    }
    const auto length = static_cast<int64_t>(tokens.size());
    if (writer.documents() > 0 &&
        writer.tokens() + length > job_.config.shards.max_tokens_per_shard) {
      RETURN_IF_ERROR(FinishShard(ref.split));
    }
    const SpoolDocument& spooled = document.spooled;
    const std::string& source = ref.file->sources()[spooled.source];
    writer.Add({ref.language, source_ids_.at(source), spooled.bytes, spooled.id, spooled.group},
               tokens);
    SourceReport& counts = encoded_.At(ref.split, language, source);
    counts.tokens += length - 2;
    counts.characters += spooled.characters;
    counts.words += document.words;
    histograms.characters[LogBucket(spooled.characters)] += 1;
    histograms.tokens[LogBucket(static_cast<uint64_t>(length - 2))] += 1;
  }
  timer.Stop(ref.block->raw);
  return absl::OkStatus();
}

absl::Status SpoolEncoder::FinishShard(Split split) {
  ShardWriter& writer = WriterOf(split);
  if (writer.documents() == 0) return absl::OkStatus();
  const auto number = std::count_if(index_.shards.begin(), index_.shards.end(),
                                    [&](const ShardInfo& shard) { return shard.split == split; });
  const std::string file =
      absl::StrFormat("%s/%s-%05d.h5", job_.folder, SplitName(split), static_cast<int>(number));
  ASSIGN_OR_RETURN(ShardInfo info, writer.Finish(job_.config.shards.path, file, index_));
  index_.shards.push_back(std::move(info));
  return NoteProgress();
}

// The index of what is written, and beside it the counts that belong to it.
absl::Status SpoolEncoder::NoteProgress() const {
  RETURN_IF_ERROR(WriteFileAtomic(job_.work + "/" + kCountsFile, ToJson(encoded_).dump()));
  CorpusIndex index = index_;
  for (auto& report : index.report) report.assign(index.languages.size(), {});
  return WriteCorpusIndex(job_.work, index);
}

// Goes on behind the shards of an interrupted build, if they are whole and of the same inputs.
void SpoolEncoder::Resume() {
  const absl::StatusOr<CorpusIndex> old = ReadCorpusIndex(job_.work);
  if (!old.ok() || old->inputs != index_.inputs || !(old->tokenizer == index_.tokenizer) ||
      old->languages != index_.languages || old->sources != index_.sources) {
    return;
  }
  const auto verified = VerifyShards(job_.config.shards.path, *old, job_.config.shards.threads);
  if (!verified.ok() || !verified->damage.empty()) return;
  int64_t documents = 0, tokens = 0;
  for (const ShardInfo& shard : old->shards) {
    documents += shard.documents;
    tokens += shard.tokens;
  }
  const absl::StatusOr<std::string> text = ReadFile(job_.work + "/" + kCountsFile);
  if (!text.ok()) return;
  try {
    BuildReport counts = BuildReportFrom(nlohmann::json::parse(*text));
    int64_t counted = 2 * documents;  // beginning and end
    for (const auto& [key, source] : counts.sources) counted += source.tokens;
    if (counted != tokens) return;
    encoded_ = std::move(counts);
  } catch (const nlohmann::json::exception&) {
    return;  // cut off or of another version: what it counts is encoded again
  }
  index_.shards = old->shards;
  skip_ = documents;
}

}  // namespace

absl::Status EncodeSpool(const EncodeJob& job, CorpusIndex& index, BuildReport& report,
                         StageClock& clock) {
  return SpoolEncoder(job, index, report, clock).Run();
}

}  // namespace choir
