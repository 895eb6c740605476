// `corpus.json`: what a folder of token shards holds. It is written last and replaced atomically,
// so that a corpus is there whole or not at all; it is sealed by its own checksum.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "data/shard/shard_layout.h"

namespace choir {

inline constexpr int kCorpusFormat = 2;
inline constexpr const char* kCorpusIndexFile = "corpus.json";

enum class Split { kTrain, kHeldout };
inline constexpr int kNumSplits = 2;
inline constexpr Split kAllSplits[] = {Split::kTrain, Split::kHeldout};
// "train", "heldout": also the folder of that split in a text corpus.
const char* SplitName(Split split);

struct TokenizerInfo {
  std::string file;  // relative to the corpus' folder
  std::string fingerprint;
  int64_t vocab_size = 0;
  int32_t bos_id = 0;
  int32_t eos_id = 0;
  int32_t pad_id = 0;
  bool operator==(const TokenizerInfo&) const = default;
};

// Documents of one language are consecutive in a shard.
struct ShardRun {
  int32_t language = 0;
  int64_t first = 0;  // document of the shard
  int64_t count = 0;
  int64_t tokens = 0;  // of these documents
};

struct ShardInfo {
  std::string file;  // relative to the corpus' folder
  Split split = Split::kTrain;
  int64_t file_bytes = 0;
  // XXH3-128 of all bytes outside the arrays, in the order of the file: HDF5's own data, `meta` and
  // the checksums of the arrays' chunks. So it stands for the whole file.
  std::string seal;
  int64_t documents = 0;
  int64_t tokens = 0;
  int64_t token_bytes = 2;  // 2 or 4
  std::vector<ShardRun> runs;
  ShardAddresses addresses;
};

// What became of the documents of one language and split: in = kept + dropped by reason.
struct LanguageReport {
  int64_t documents_in = 0;
  int64_t bytes_in = 0;  // of text
  int64_t documents = 0;
  int64_t bytes = 0;
  int64_t tokens = 0;  // of text, without beginning and end
  std::map<std::string, int64_t> dropped_documents;
  std::map<std::string, int64_t> dropped_bytes;
};

struct CorpusIndex {
  std::string inputs;       // hash of all that the shards were made from
  std::string fingerprint;  // hash of what they hold: shards, languages, tokenizer
  TokenizerInfo tokenizer;
  std::vector<std::string> languages;
  std::vector<std::string> sources;
  std::vector<ShardInfo> shards;
  std::vector<LanguageReport> report[kNumSplits];  // by language
};

// The index of a corpus folder. NotFound if there is none, DataLoss if its seal is broken.
absl::StatusOr<CorpusIndex> ReadCorpusIndex(const std::string& directory);
// Sets `fingerprint` and publishes the index in its folder.
absl::Status WriteCorpusIndex(const std::string& directory, CorpusIndex& index);

}  // namespace choir
