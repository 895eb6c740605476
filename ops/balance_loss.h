// Losses that keep experts evenly loaded. All return [1], already times coefficient * scale;
// `scale` is the weight of this microbatch in the global batch. `valid` is f32[T], 1
// for rows that count and 0 for padding; undefined: all count. Sums over tokens run in double.
#pragma once

#include "ops/router.h"

namespace choir {

// DeepSeek-V3's sequence-wise loss (arXiv 2412.19437, eq. 17-20), the mean over the
// T / rows_per_sequence sequences of sum_i f_i P_i, where for a sequence of n valid tokens
//   f_i = E / (K n) * tokens whose K best scores (without bias and groups) include i,
//   P_i = 1 / n * sum over the tokens of s_i / sum_j s_j.
// A sequence without valid tokens adds nothing but counts in the mean. Even load gives 1.
// f is a decision (kept, no gradient); P carries the gradient.
Var SequenceBalanceLoss(Tape& tape, const Routing& routing, int64_t rows_per_sequence,
                        const Tensor& valid, double coefficient, const RouterOptions& options,
                        double scale = 1);

// The classical loss over the whole microbatch (GShard, arXiv 2006.16668; Switch, 2101.03961,
// eq. 4): E * sum_i f_i P_i with f_i the share of the K n choices that fell on i (those that the
// router made, bias included), P_i as above. Even load gives 1.
Var LoadBalanceLoss(Tape& tape, const Routing& routing, const Tensor& valid, double coefficient,
                    const RouterOptions& options, double scale = 1);

// Mean over the valid tokens of logsumexp(logits)^2 (ST-MoE, arXiv 2202.08906, eq. 5).
Var RouterZLoss(Tape& tape, const Var& logits, const Tensor& valid, double coefficient,
                double scale = 1);

}  // namespace choir
