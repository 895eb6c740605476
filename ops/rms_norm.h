// Root-mean-square normalisation (Zhang and Sennrich 2019), alone and fused with the residual add.
//
// y[t, c] = x[t, c] / sqrt(mean over c of x[t, c]^2 + eps) * w[c]. Backward needs x alone: the
// row's factor is cheaper to make again than to keep. The rows of w's gradient are summed in fixed
// blocks and the blocks in double, in order; in invariant mode leaf by leaf, in blocks that start
// anew at each leaf.
#pragma once

#include "ops/tape.h"

namespace choir {

// `x` is [T, C], `w` [C].
Var RmsNorm(Tape& tape, const Var& x, Parameter& w, double eps, const Tag& tag = "norm");

struct AddNormResult {
  Var sum;     // [T, C], tagged `sum_tag`
  Var normed;  // [T, C], tagged `tag`; made again from `sum` alone
};

struct AddNormOptions {
  double eps = 1e-6;
  Tag tag = "norm";
  Tag sum_tag = "residual";
};

// sum = x + delta and normed = RmsNorm(sum) in one pass; both [T, C]. Backward gives x and delta
// the same tensor. With an undefined `delta` somebody else has added it: sum is x, in the same
// storage, and all results and gradients have the bits of the call that adds.
AddNormResult AddRmsNorm(Tape& tape, const Var& x, const Var& delta, Parameter& w,
                         const AddNormOptions& options);
inline AddNormResult AddRmsNorm(Tape& tape, const Var& x, const Var& delta, Parameter& w,
                                double eps) {
  return AddRmsNorm(tape, x, delta, w, AddNormOptions{.eps = eps});
}

// to[c] += sum over i of rows[i, c], in double and in the order of i: how per-block partial
// gradients of a weight shared by all rows become one. `to` has C elements, `rows` is [B, C].
void AddColumnSums(const Tensor& to, const Tensor& rows);

}  // namespace choir
