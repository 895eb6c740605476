// The batches of a training run.
//
// The sequence of rows is a pure function of (config, corpus): row n is the next row of lane n mod
// data.lanes (data/order/lane.h), and a batch is the next `rows` of them. What was consumed is a
// state of document references, which another process continues from bit for bit.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/hash.h"
#include "data/data_config.h"
#include "data/loader/batch.h"
#include "data/shard/token_corpus.h"

namespace choir {

// What the loader gave since Open or RestoreState(..) of a state counts on from that state.
struct LoaderCounters {
  int64_t steps = 0;
  int64_t rows = 0;
  int64_t positions = 0;  // rows * length: labels + padding
  int64_t labels = 0;
  std::vector<int64_t> language_labels;  // by language
  bool operator==(const LoaderCounters&) const = default;
};

class BatchLoader {
 public:
  // Fails with what is missing, damaged or unknown. What documents hold is verified when they are
  // drawn.
  static absl::StatusOr<std::unique_ptr<BatchLoader>> Open(const DataConfig& config);
  ~BatchLoader();
  BatchLoader(const BatchLoader&) = delete;

  // The next `rows` rows (config.batch_sequences, or fewer or more during a ramp). DataLoss if a
  // document of theirs is damaged, and from then on.
  absl::StatusOr<Batch> Next(int64_t rows);

  // What was given by Next so far, whatever was prefetched; JSON text.
  std::string SaveState() const;
  // Continues from a state. FailedPrecondition that names each field that differs, if the state
  // comes from another corpus, tokenizer, order, mixture or packing; InvalidArgument if it is no
  // state. The loader is unchanged after an error.
  absl::Status RestoreState(std::string_view state);

  const LoaderCounters& counters() const;
  // The digest chain after the last batch; all zero before the first.
  Hash128 digest() const;
  // Seconds that Next waited for the background thread.
  double seconds_waited() const;

  // The language table: languages()[i] is the language that batches call i.
  const std::vector<std::string>& languages() const { return corpus().languages(); }
  int64_t vocab_size() const { return corpus().tokenizer().vocab_size; }
  // shares()[i]: of the tokens drawn, that of language i; sums to 1.
  const std::vector<double>& shares() const;
  // Tokenizer path, fingerprint and special ids, counts by language.
  const TokenCorpus& corpus() const;

 private:
  struct Impl;
  explicit BatchLoader(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace choir
