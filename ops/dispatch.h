// Moving tokens to their experts and back.
#pragma once

#include <vector>

#include "ops/tape.h"

namespace choir {

// The index of a choice that goes nowhere: dropped, or for experts that are elsewhere.
inline constexpr int32_t kAbsent = -1;

// Where each choice (t, k) of a token goes when choices are sorted by expert, those of one expert
// by t * K + k. N is the number of choices that are not absent, at most T * K; T may be 0.
// Decisions of the router, so never computed again: plain tensors that closures may hold.
struct Dispatch {
  Tensor source;    // i32[N]: t * K + k of each sorted row
  Tensor position;  // i32[T, K]: sorted row of each choice, kAbsent if it has none
  Tensor offsets;   // i32[E + 1]: rows [offsets[e], offsets[e + 1]) belong to expert e
};

// `indices` is i32[T, K] with values in [0, experts) or kAbsent (CHECKed). On meta, where they are
// unknown, N is `meta_rows`; negative: T * K.
Dispatch PlanDispatch(Tape& tape, const Var& indices, int experts, int64_t meta_rows = -1);

// Choices by expert. Zeros on meta.
std::vector<int64_t> ExpertCounts(const Dispatch& dispatch);
// Those of tokens whose `valid` is not 0 (f32[T]; undefined: all).
std::vector<int64_t> ExpertCounts(const Tensor& indices, const Tensor& valid, int experts);

// The sorted rows by expert and leaf, for token rows with the leaves `rows`: within an expert, rows
// ascend by token, so those of one leaf are a run. All leaves are listed, also those without rows.
// On meta every run is empty.
GroupedLeaves LeavesOfRows(const Dispatch& dispatch, const RowLeaves& rows);

// y[n] = x[source[n] / K]: [T, C] to [N, C]. Backward adds a token's copies in the order of k.
Var Permute(Tape& tape, const Var& x, const Dispatch& dispatch, const Tag& tag = "permute");

// out[t] = sum over k of weights[t, k] * y[position[t, k]]: [N, C] to [T, C], in the order of k.
// Absent choices are left out, and their weights get gradient 0. Gradients to y and weights.
Var Unpermute(Tape& tape, const Var& y, const Var& weights, const Dispatch& dispatch,
              const Tag& tag = "unpermute");

// The same with weights of 1: the mirror image of Permute.
Var SumCopies(Tape& tape, const Var& y, const Dispatch& dispatch, const Tag& tag = "sum_copies");

}  // namespace choir
