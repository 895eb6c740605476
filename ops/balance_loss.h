// Losses that keep experts evenly loaded. All return [1], already times coefficient * scale. Sums
// over tokens run in double.
//
// The tokens of the microbatch may be spread over ranks. What decides slopes (how often each expert
// was chosen, how many tokens are valid) is then counted over all of them, in whole numbers, so
// that gradients have the same bits on any number of ranks; a rank's loss covers its own tokens,
// and the losses of all ranks add up to that of the microbatch. One call of the group per loss, in
// the forward pass.
#pragma once

#include <cstdint>

#include "ops/rank_group.h"
#include "ops/router.h"
#include "ops/row_runs.h"

namespace choir {

struct BalanceInput {
  // f32[T], 1 for rows that count and 0 for padding; undefined: all count.
  Tensor valid;
  double coefficient = 1;
  double scale = 1;       // the weight of this microbatch in the global batch
  RouterOptions options;  // those of the routing; not read by RouterZLoss
  // Of SequenceBalanceLoss: the microbatch is total_rows / rows_per_sequence sequences.
  int64_t rows_per_sequence = 0;
  // Which of the microbatch's total_rows the T rows are (0: all of them are here).
  RowRuns runs;
  int64_t total_rows = 0;
  RankGroup* token_group = nullptr;  // the ranks that have the other rows
};

// DeepSeek-V3's sequence-wise loss (arXiv 2412.19437, eq. 17-20), the mean over the
// total_rows / rows_per_sequence sequences of sum_i f_i P_i, where for a sequence of n valid tokens
//   f_i = E / (K n) * tokens whose K best scores (without bias and groups) include i,
//   P_i = 1 / n * sum over the tokens of s_i / sum_j s_j.
// A sequence without valid tokens adds nothing but counts in the mean. Even load gives 1.
// f is a decision (kept, no gradient); P carries the gradient.
Var SequenceBalanceLoss(Tape& tape, const Routing& routing, const BalanceInput& input);

// The classical loss over the whole microbatch (GShard, arXiv 2006.16668; Switch, 2101.03961,
// eq. 4): E * sum_i f_i P_i with f_i the share of the K n choices that fell on i (those that the
// router made, bias included), P_i as above. Even load gives 1.
Var LoadBalanceLoss(Tape& tape, const Routing& routing, const BalanceInput& input);

// Mean over the valid tokens of logsumexp(logits)^2 (ST-MoE, arXiv 2202.08906, eq. 5).
Var RouterZLoss(Tape& tape, const Var& logits, const BalanceInput& input);

}  // namespace choir
