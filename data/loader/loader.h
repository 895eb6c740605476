// The batches of a training run.
//
// The sequence of rows is a pure function of (config, corpus, ledger): row n is the next row of
// lane n mod data.lanes (data/order/lane.h), and a batch is the next rows of them. What was
// consumed is a state of document references, which another process continues from bit for bit.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/hash.h"
#include "data/data_config.h"
#include "data/loader/batch.h"
#include "data/order/data_plan.h"
#include "data/shard/corpus.h"

namespace choir {

// What the loader gave since Open or RestoreState(..) of a state counts on from that state.
struct LoaderCounters {
  int64_t steps = 0;      // batches given
  int64_t batches = 0;    // and those that data.skip.batches leaves out
  int64_t rows = 0;       // drawn
  int64_t positions = 0;  // given: labels + padding
  int64_t labels = 0;
  // Labels by language and source.
  std::map<std::pair<int32_t, int32_t>, int64_t> stream_labels;
  bool operator==(const LoaderCounters&) const = default;
};

// The rows of one batch.
struct StepRows {
  int64_t count = 0;
  // Whether this process needs the tokens of a row of the batch; empty: of all.
  std::function<bool(int64_t row)> mine;
};
// The rows of the batch that step `step` (from 0) is trained on. Called by other threads, ahead.
using StepRowsOf = std::function<StepRows(int64_t step)>;

class BatchLoader {
 public:
  // Fails with what is missing, damaged or unknown; what documents hold is verified when they are
  // drawn. With `plan`: that instead of the config's.
  static absl::StatusOr<std::unique_ptr<BatchLoader>> Open(
      const DataConfig& config, const std::optional<DataPlan>& plan = std::nullopt);
  ~BatchLoader();
  BatchLoader(const BatchLoader&) = delete;

  // How many rows batches have (config.batch_sequences otherwise) and which are fetched. Before the
  // first Next.
  void SetRows(StepRowsOf rows_of);
  // The next batch. OutOfRange: the data is used up (data.mixture.max_epochs). DataLoss: a document
  // of it is damaged. No batch comes after an error.
  absl::StatusOr<Batch> Next();

  // What was given by Next so far, whatever was prefetched; JSON text.
  std::string SaveState() const;
  // Continues from a state. Where data.mixture or data.skip say something else than it, the change
  // holds from here on and is entered in the ledger. FailedPrecondition that names each field that
  // differs, if the state comes from another corpus, tokenizer, order or packing; InvalidArgument
  // if it is no state, or if batches are to be skipped that were trained on. The loader is
  // unchanged after an error.
  absl::Status RestoreState(std::string_view state);

  const LoaderCounters& counters() const;
  // The digest chain after the last batch; all zero before the first.
  Hash128 digest() const;
  // Every plan that this run has had, the first from step 0.
  const DataLedger& ledger() const;
  // By stream: times that its documents were drawn, all lanes together (passed over included).
  std::vector<double> Epochs() const;
  const std::vector<DocumentStream>& streams() const;
  // Seconds that Next waited for rows.
  double seconds_waited() const;

  // The language table: languages()[i] is the language that batches call i.
  const std::vector<std::string>& languages() const { return corpus().languages(); }
  int64_t vocab_size() const { return corpus().tokenizer().vocab_size; }
  // shares()[i]: of the tokens drawn, that of language i, in the phase of the mixture that holds
  // now; sums to 1.
  std::vector<double> shares() const;
  // Tokenizer path, fingerprint and special ids, counts by language.
  const Corpus& corpus() const;

 private:
  struct Impl;
  explicit BatchLoader(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace choir
