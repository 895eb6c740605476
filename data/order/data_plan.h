// What a run may change while it goes on: shares, and what is left out. Each change is an entry of
// the ledger, so that what a step read can always be found again.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "data/order/mixture_plan.h"

namespace choir {

struct DataPlan {
  MixturePlan mixture;
  std::vector<uint64_t> skip_documents;  // XXH3-64 of their ids, ascending
  // Batches [first, end) that are drawn and not trained on. Batch b is the b-th since the start of
  // the run, those left out included. Ascending, apart.
  std::vector<std::pair<int64_t, int64_t>> skip_batches;
  bool operator==(const DataPlan&) const = default;

  bool SkipsDocument(uint64_t id) const;
  bool SkipsBatch(int64_t batch) const;
};

// A plan that holds from step `step` (steps trained before it) on.
struct LedgerEntry {
  int64_t step = 0;
  DataPlan plan;
  bool operator==(const LedgerEntry&) const = default;
};
// The first entry is of step 0; steps do not fall.
using DataLedger = std::vector<LedgerEntry>;

// Weights by the names of their streams.
nlohmann::json LedgerToJson(const DataLedger& ledger, const std::vector<DocumentStream>& streams);
// InvalidArgument: not what LedgerToJson makes for these streams.
absl::StatusOr<DataLedger> LedgerFromJson(const nlohmann::json& json,
                                          const std::vector<DocumentStream>& streams);

// What is new in `after`, one sentence by change, for logs: "share of de: 3.1 % -> 5.0 %".
std::vector<std::string> DescribeChange(const DataPlan& before, const DataPlan& after,
                                        const std::vector<DocumentStream>& streams);

}  // namespace choir
