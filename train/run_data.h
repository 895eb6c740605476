// What a run has read: found again from its config, its corpus and its ledger, and compared with
// the digests that the run wrote down.
#pragma once

#include <cstdint>
#include <ostream>
#include <string>

#include "absl/status/status.h"

namespace choir {

// In a run's folder: its ledger (data/order/data_plan.h), written at each start of the run.
inline constexpr const char* kDataLedgerFile = "data_ledger.json";

struct ReplayOptions {
  int64_t first_step = 1;  // steps count from 1, as in metrics.jsonl
  int64_t last_step = -1;  // negative: the last that metrics.jsonl has
  int ranks = 1;           // the batches are made as by so many ranks
};

// `choir data verify --run RUN`: makes the batches of a range of steps again and compares the
// digest of each with data_digest of metrics.jsonl; with several ranks also that their rows
// together are the batch. Begins from the last good checkpoint before the range. DataLoss names the
// first step that differs; NotFound, InvalidArgument what is missing.
absl::Status VerifyRunData(const std::string& run, const ReplayOptions& options, std::ostream& out);

// `choir data ledger RUN`: every change of the shares and of what is left out, and the labels and
// epochs by language and source that the run has consumed up to its last step.
absl::Status PrintDataLedger(const std::string& run, bool json, std::ostream& out);

}  // namespace choir
