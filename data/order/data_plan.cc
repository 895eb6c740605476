#include "data/order/data_plan.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/strings/str_format.h"
#include "base/strings.h"
#include "data/order/mixture.h"

namespace choir {
namespace {

using Json = nlohmann::json;

Json WeightsToJson(const std::vector<int64_t>& weights, const std::vector<DocumentStream>& streams,
                   int64_t left_out) {
  Json json = Json::object();
  for (size_t s = 0; s < weights.size(); ++s) {
    if (weights[s] != left_out) json[streams[s].name] = weights[s];
  }
  return json;
}

// Throws what nlohmann throws; false for a name that is no stream, or a number below `least`.
bool WeightsFromJson(const Json& json, const std::vector<DocumentStream>& streams, int64_t left_out,
                     std::vector<int64_t>& weights) {
  weights.assign(streams.size(), left_out);
  for (const auto& [name, weight] : json.items()) {
    const auto it = std::find_if(streams.begin(), streams.end(),
                                 [&](const DocumentStream& s) { return s.name == name; });
    const auto value = weight.get<int64_t>();
    if (it == streams.end() || value < 0) return false;
    weights[static_cast<size_t>(it - streams.begin())] = value;
  }
  return true;
}

bool IsSound(const DataPlan& plan, size_t index, int64_t step, int64_t step_before) {
  if ((index == 0 && step != 0) || step < step_before || plan.mixture.phases.empty()) return false;
  int64_t from = -1;
  for (const MixturePhase& phase : plan.mixture.phases) {
    if (phase.from_tokens <= from || Mixture(phase.weights).empty()) return false;
    if (from < 0 && phase.from_tokens != 0) return false;
    from = phase.from_tokens;
  }
  int64_t end = 0;
  for (const auto& [first, last] : plan.skip_batches) {
    if (first < end || last <= first) return false;
    end = last;
  }
  return std::is_sorted(plan.skip_documents.begin(), plan.skip_documents.end());
}

double Share(const MixturePhase& phase, size_t stream) {
  double total = 0;
  for (const int64_t weight : phase.weights) total += static_cast<double>(weight);
  return 100 * static_cast<double>(phase.weights[stream]) / total;
}

void DescribeShares(const MixturePhase& before, const MixturePhase& after,
                    const std::vector<DocumentStream>& streams, std::vector<std::string>& lines) {
  for (size_t s = 0; s < streams.size(); ++s) {
    const double was = Share(before, s), is = Share(after, s);
    if (was == is) continue;
    lines.push_back(absl::StrFormat("share of %s from token %d on: %.3f %% -> %.3f %%",
                                    streams[s].name, after.from_tokens, was, is));
  }
}

}  // namespace

bool DataPlan::SkipsDocument(uint64_t id) const {
  return std::binary_search(skip_documents.begin(), skip_documents.end(), id);
}

bool DataPlan::SkipsBatch(int64_t batch) const {
  return std::any_of(skip_batches.begin(), skip_batches.end(), [batch](const auto& range) {
    return batch >= range.first && batch < range.second;
  });
}

Json LedgerToJson(const DataLedger& ledger, const std::vector<DocumentStream>& streams) {
  Json json = Json::array();
  for (const LedgerEntry& entry : ledger) {
    Json phases = Json::array();
    for (const MixturePhase& phase : entry.plan.mixture.phases) {
      phases.push_back({{"from_tokens", phase.from_tokens},
                        {"weights", WeightsToJson(phase.weights, streams, 0)}});
    }
    json.push_back(
        {{"step", entry.step},
         {"mixture", phases},
         {"most_documents", WeightsToJson(entry.plan.mixture.most_documents, streams, -1)},
         {"skip_documents", entry.plan.skip_documents},
         {"skip_batches", entry.plan.skip_batches}});
  }
  return json;
}

absl::StatusOr<DataLedger> LedgerFromJson(const Json& json,
                                          const std::vector<DocumentStream>& streams) {
  const absl::Status damaged = absl::InvalidArgumentError("the ledger of the data is damaged");
  try {
    DataLedger ledger;
    for (const Json& item : json) {
      LedgerEntry entry;
      entry.step = item.at("step").get<int64_t>();
      for (const Json& phase : item.at("mixture")) {
        MixturePhase& read = entry.plan.mixture.phases.emplace_back();
        read.from_tokens = phase.at("from_tokens").get<int64_t>();
        if (!WeightsFromJson(phase.at("weights"), streams, 0, read.weights)) return damaged;
      }
      if (!WeightsFromJson(item.at("most_documents"), streams, -1,
                           entry.plan.mixture.most_documents)) {
        return damaged;
      }
      item.at("skip_documents").get_to(entry.plan.skip_documents);
      item.at("skip_batches").get_to(entry.plan.skip_batches);
      const int64_t before = ledger.empty() ? 0 : ledger.back().step;
      if (!IsSound(entry.plan, ledger.size(), entry.step, before)) return damaged;
      ledger.push_back(std::move(entry));
    }
    if (ledger.empty()) return damaged;
    return ledger;
  } catch (const Json::exception&) {
    return damaged;
  }
}

std::vector<std::string> DescribeChange(const DataPlan& before, const DataPlan& after,
                                        const std::vector<DocumentStream>& streams) {
  std::vector<std::string> lines;
  const auto& old_phases = before.mixture.phases;
  const auto& new_phases = after.mixture.phases;
  for (size_t p = 0; p < new_phases.size(); ++p) {
    DescribeShares(old_phases[std::min(p, old_phases.size() - 1)], new_phases[p], streams, lines);
  }
  if (old_phases.size() != new_phases.size()) {
    lines.push_back(
        StrCat("phases of the mixture: ", old_phases.size(), " -> ", new_phases.size()));
  }
  if (before.mixture.most_documents != after.mixture.most_documents) {
    lines.push_back("max_epochs changes");
  }
  if (before.skip_documents != after.skip_documents) {
    lines.push_back(StrCat("documents left out: ", before.skip_documents.size(), " -> ",
                           after.skip_documents.size()));
  }
  if (before.skip_batches != after.skip_batches) {
    std::string ranges;
    for (const auto& [first, end] : after.skip_batches) ranges += StrCat(" ", first, "-", end - 1);
    lines.push_back("batches left out:" + (ranges.empty() ? " none" : ranges));
  }
  return lines;
}

}  // namespace choir
