// Tokens go to the ranks that hold their experts, and results come back.
//
// The members of the exchange are the ranks over expert x expert_tensor. Each holds tokens of its
// own, sorted by expert (ops/dispatch.h), and the weights of a run of experts: member (x, t) has
// experts [x E / X, (x + 1) E / X), and of each the t-th part of its width. A token's row goes to all
// members that hold parts of its expert; what comes back is summed over these parts.
//
// Arriving rows are put in the order (expert, member, order at the sender): the order that one rank
// with all tokens would have, whenever they arrive. No token is dropped.
#pragma once

#include <memory>
#include <vector>

#include "ops/dispatch.h"
#include "ops/tape.h"
#include "parallel/place.h"

namespace choir {

struct ExpertExchange {
  Communicator* group = nullptr;  // null: all experts are here
  int parts = 1;                  // members that share an expert (expert_tensor)
  int64_t sorted_rows = 0;        // of this rank's own choices
  std::vector<int64_t> send_rows, recv_rows;  // by member
  Tensor order;    // i32[N]: which arrived row is n-th by (expert, member)
  Tensor offsets;  // i32[local experts + 1]: rows of each local expert
  std::shared_ptr<const GroupedLeaves> leaves;  // null in fast mode
};

// Tells every member how many rows will come (blocks; a decision, made once in the forward pass).
// `tape.rows()` are the leaves of this rank's tokens.
ExpertExchange PlanExchange(Tape& tape, const Dispatch& dispatch, int experts, const Place& place);

// sorted [sorted_rows, C] to [N, C], rows by local expert. Backward sums over the parts.
Var ToExperts(Tape& tape, const Var& sorted, const ExpertExchange& exchange,
              const Tag& tag = "moe.to_experts");
// [N, C] back to [sorted_rows, C], summed over the parts.
Var FromExperts(Tape& tape, const Var& rows, const ExpertExchange& exchange,
                const Tag& tag = "moe.from_experts");

}  // namespace choir
