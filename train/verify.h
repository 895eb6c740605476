// `choir verify`: the same few steps on one rank and on many layouts, compared number by number.
//
// Each layout starts every step from the reference's weights and moments, so that differences are
// those of one step. Compared are the initial weights, the loss, the gradient norm, every gradient
// and every weight after the update, gathered to whole tensors; and, whatever the numerics, all
// ranks' copies of the same weights and moments with each other (CheckCopies; a difference is an
// error). A layout that gives a capacity factor is compared with one rank that has it too; where
// bits are promised, so are the numbers of choices dropped (the same).
//
// In invariant mode the claim is equality of bits, wherever docs/parallelism.md says so. Elsewhere
// it is a bound: two sums of n numbers in different orders differ by at most
// ErrorBound(f32, n) times the largest number involved (tensor/tolerance.h), with n the longest
// chain of roundings that a gradient goes through (SumLength). Formats with fewer bits
// (`precision:`) widen it: where an F32 value lies beside the middle between two numbers of a
// format, another order of a sum takes the other one (FormatBound). Weights then have the bound of
// their rule's step (train/update_bound.h); those of Muon and of factored moments are not compared:
// Muon's step is not even continuous where a singular value is zero.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "parallel/comm/communicator.h"
#include "train/config.h"

namespace choir {

struct VerifyLayout {
  std::string name;  // "data=2,tensor=2"
  ParallelConfig parallel;
  int world = 1;
};

// How far one kind of number is off, at its worst.
struct Deviation {
  bool compared = false;  // with anything at all
  bool equal = true;      // all bits
  double difference = 0;  // largest, relative to the largest number of its tensor
  double bound = 0;
  std::string where;  // "step 2, grad/layers.0.ffn.down[17]: 0.12 instead of 0.13"
  bool within() const { return equal || difference <= bound; }
};

struct LayoutVerdict {
  VerifyLayout layout;
  bool promises_bits = false;
  absl::Status status;  // of the run
  Deviation initial;    // weights before the first step: the same bits in any numerics
  Deviation loss, grad_norm, gradients, weights;
  bool ok() const;
};

struct VerifyOptions {
  int steps = 2;
  Numerics numerics = Numerics::kInvariant;
  double timeout_s = 120;
  bool check_collectives = true;
};

// Layouts of up to `ranks` ranks that cross every axis, and several at once, as far as `config`
// allows them.
std::vector<VerifyLayout> DefaultLayouts(const RunConfig& config, int ranks);
// "data=2,tensor=2": keys of `parallel:`. The number of ranks is the product of data, context,
// tensor and pipeline.
absl::StatusOr<VerifyLayout> ParseLayout(const std::string& text);

// The longest chain of roundings that a gradient goes through: every sum of a forward and a
// backward pass, one after another, then over the tokens of the step.
int64_t SumLength(const RunConfig& config, const ParallelConfig& parallel);
// What the formats of the config add to the bound of fast numerics: 8 sqrt(r + 16) u, with u the
// coarsest format's unit roundoff and r the roundings to formats that a value goes through, one
// after another, in a forward and a backward pass. Above 1 it claims next to nothing, as for FP8.
double FormatBound(const RunConfig& config);
// Whether the layout has the bits of one rank (docs/parallelism.md, "Invariant numerics"): a power
// of two of ranks.
bool PromisesBits(const VerifyLayout& layout, Numerics numerics);
// The section to run a layout with: where it gives no capacity factor, the one key that is no
// matter of layout, that of `config`.
ParallelConfig ParallelOf(const VerifyLayout& layout, const RunConfig& config);

// Runs every layout, its ranks as threads of this process; calls `done` after each.
absl::Status VerifyLocal(const RunConfig& config, const std::vector<VerifyLayout>& layouts,
                         const VerifyOptions& options,
                         const std::function<void(const LayoutVerdict&)>& done);

// The same on the ranks of a job: all ranks call it with layouts of world.size() ranks. `done` is
// called on rank 0.
absl::Status VerifyOnWorld(World& world, const RunConfig& config,
                           const std::vector<VerifyLayout>& layouts, const VerifyOptions& options,
                           const std::function<void(const LayoutVerdict&)>& done);

}  // namespace choir
