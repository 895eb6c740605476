// `choir bisect`: two layouts run the same steps; the first number in which they differ.
//
// Both run in this process, their ranks as threads. Of every step these are compared, as whole
// tensors in global order and in the order in which one rank computes them: of each microbatch the
// residual stream and the normed input of every part of every block, the loss of every token, and
// the gradients of the former, last part first; then the loss, every parameter's gradient, the
// gradient norm, and weights, moments and biases after the update. Before them, the initial
// weights.
//
// Where both layouts promise the bits of one rank (choir verify) every bit counts. Elsewhere
// numbers differ when they are farther apart than the bounds of choir verify allow, B starts every
// step from A's state, and neither moments nor biases are compared.
//
// A's tensors of all steps are kept, so this is for models and batches that fit in memory many
// times.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "train/bisect_record.h"
#include "train/config.h"
#include "train/verify.h"

namespace choir {

struct BisectOptions {
  int steps = 2;
  Numerics numerics = Numerics::kInvariant;
  double timeout_s = 120;
  // For tests: called on every rank of B before each step (counted from 1), to make a difference.
  std::function<void(Trainer&, int64_t step)> disturb_b;
};

struct BisectDifference {
  int64_t step = 0;  // from 1
  RecordKey where;
  std::vector<int64_t> index;  // of the first element that differs; empty for a scalar
  double a = 0, b = 0;         // its values
  double allowed = 0;          // how far apart they might be; 0 where every bit counts
  int64_t differing = 0;       // elements of this tensor that differ
  int64_t elements = 0;
};
// One line for people.
std::string Describe(const BisectDifference& difference);

struct BisectReport {
  std::optional<BisectDifference> difference;
  bool bits = false;    // every bit counted
  double bound = 0;     // else: relative to the largest number of a tensor
  int steps = 0;        // compared, with the one that differs
  int64_t tensors = 0;  // compared
};

// How the numbers of two runs are compared.
struct Comparison {
  bool bits = true;
  double bound = 0;
  OptimConfig optim;
  double roundoff = 0;  // of the weights as they are stored
};
// The first difference of step `step`; adds to `compared` the tensors that it looked at.
std::optional<BisectDifference> FirstDifference(const StepRecord& a, const StepRecord& b,
                                                const Comparison& comparison, int64_t& compared);

// `config` is resolved (its vocabulary is known). An error if a layout does not fit it, a run
// fails, or both come to the same gradient that is not finite.
absl::StatusOr<BisectReport> Bisect(const RunConfig& config, const VerifyLayout& a,
                                    const VerifyLayout& b, const BisectOptions& options);

}  // namespace choir
