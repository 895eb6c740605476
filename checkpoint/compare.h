// What differs between two checkpoints: `choir checkpoint diff`.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "checkpoint/manifest.h"

namespace choir {

// Of a tensor that both have with the same shape and dtype, and whose bits differ. Values are
// compared in double; integers by value too.
struct TensorDifference {
  std::string name;
  int64_t elements = 0;
  int64_t differing = 0;  // elements whose bits differ
  double relative = 0;    // |a - b| / max(|a|, |b|), Euclidean norms; infinite if one is not finite
  double largest = 0;     // of |a_i - b_i|
  int64_t not_finite = 0;  // elements that are not finite in a or b
};

struct CheckpointDifference {
  std::string a, b;  // paths
  int64_t step_a = 0, step_b = 0;
  std::vector<std::string> only_a, only_b;  // tensors, and blobs as "blobs/x"
  std::vector<std::string> mismatched;      // "name: f32 [4, 8] and bf16 [4, 8]"
  std::vector<TensorDifference> tensors;    // largest relative difference first, then by name
  int64_t equal_tensors = 0;                // same bits
  std::vector<std::string> blobs;           // in both, not the same bytes
  std::vector<std::string> state;           // keys of the state that differ
  bool config = false;                      // the configs differ
  // Weights, optimizer and everything else are the same; the step and the code may differ.
  bool empty() const;
};

// Reads both, verified, a tensor at a time: memory is that of the largest tensor, twice. How pieces
// are cut and spread over files does not matter. Errors: DataLoss as for loading.
absl::StatusOr<CheckpointDifference> CompareCheckpoints(const Checkpoint& a, const Checkpoint& b);

// At most `most` tensors.
std::string DifferenceText(const CheckpointDifference& difference, int64_t most);
nlohmann::json DifferenceJson(const CheckpointDifference& difference);

}  // namespace choir
