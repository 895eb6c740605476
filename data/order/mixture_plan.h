// The shares of a run: from section data.mixture and what the corpus holds to integer weights by
// stream, phase after phase.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "data/order/mixture_config.h"
#include "data/shard/stream.h"

namespace choir {

// Shares that hold from `from_tokens` labels on. In a lane: from from_tokens / lanes of its own.
struct MixturePhase {
  int64_t from_tokens = 0;
  // By stream, in units of 2^-20 of the largest, at least 1; 0 for a stream that is not read.
  std::vector<int64_t> weights;
  bool operator==(const MixturePhase&) const = default;
};

struct MixturePlan {
  std::vector<MixturePhase> phases;  // the first from 0; ascending
  // By stream: times that its documents are read at most, all together in whole documents
  // (floor(max_epochs * documents)); -1: any number.
  std::vector<int64_t> most_documents;
  bool operator==(const MixturePlan&) const = default;
};

// Errors name the key: a language or source that `streams` has no documents of, nothing to read.
// UniMax (Chung et al. 2023, algorithm 1): languages from the smallest up each take
// min(what is left / languages left, max_epochs * their labels).
absl::StatusOr<MixturePlan> PlanMixture(const MixtureConfig& config,
                                        const std::vector<DocumentStream>& streams,
                                        const std::vector<std::string>& languages,
                                        const std::vector<std::string>& sources);

}  // namespace choir
