// `choir data verify`: every byte of a corpus against its checksum.
#pragma once

#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "data/shard/corpus_index.h"

namespace choir {

struct ShardDamage {
  std::string file;     // relative to the corpus' folder
  std::string dataset;  // or "file": missing, another size; "metadata": header, table of checksums
  int64_t chunk = -1;   // of the dataset
  // Bytes of the file.
  int64_t begin = 0;
  int64_t end = 0;
  // Documents of the shard that lie in the chunk; -1 if that cannot be known.
  int64_t first_document = -1;
  int64_t last_document = -1;
  std::vector<std::string> languages;  // of these documents
  std::string what;                    // the whole message
};

struct VerifyReport {
  int64_t shards = 0;
  int64_t chunks = 0;               // compared
  int64_t bytes = 0;                // of all shards
  std::vector<ShardDamage> damage;  // by shard, then by place
};

// Compares the seals and every chunk of the shards that `index` lists, `threads` at a time (0: one
// per processor), and, where all are right, what HDF5 finds with what the index says. Damage is in
// the report; an error is what kept the check from being made.
absl::StatusOr<VerifyReport> VerifyShards(const std::string& directory, const CorpusIndex& index,
                                          int64_t threads);

// Verifies a corpus with its index and tokenizer and prints one line by damage and one of totals.
// DataLoss if anything is damaged.
absl::Status VerifyCorpus(const std::string& directory, int64_t threads, std::ostream& out);

}  // namespace choir
