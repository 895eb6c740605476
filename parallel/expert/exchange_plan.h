// Who sends which rows to whom in an exchange of tokens.
//
// Each member holds rows of its own, sorted by expert (ops/dispatch.h), and a run of experts, or
// with `parts` > 1 a part of the width of each. A row goes to all members that hold parts of its
// expert.
//
// An exchange is cut into pieces: piece j takes the j-th run of every member's experts, so that the
// first experts can be computed while rows of the others travel. What arrives is put in the order
// (expert, member, order at the sender): the order that one rank with all tokens would have, in
// however many pieces and whenever it arrives.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "ops/dispatch.h"
#include "ops/tape.h"
#include "parallel/expert/routing.h"
#include "parallel/place.h"

namespace choir {

int64_t TotalRows(const std::vector<int64_t>& rows);

struct ExchangeMembers {
  Communicator* group = nullptr;  // null: this rank alone has all experts
  // Members [i parts, (i + 1) parts) hold experts [begin[i], begin[i + 1]).
  std::vector<int64_t> begin;
  int parts = 1;
  int pieces = 1;  // at most the experts of any member (CHECKed)
  const Place* place = nullptr;
  RoutingQuestion::Level level = RoutingQuestion::Level::kExperts;
  int64_t nodes = 1;                   // inside a node: how many there are
  ExchangeRouting* routing = nullptr;  // asked and told; null: on meta all is balanced

  int64_t Begin(int64_t member) const { return begin[static_cast<size_t>(member / parts)]; }
  int64_t Count(int64_t member) const {
    return begin[static_cast<size_t>(member / parts + 1)] - Begin(member);
  }
};

// The ranks over expert x expert_tensor: member (x, t) has the t-th part of experts
// [x E / X, (x + 1) E / X).
ExchangeMembers AllMembers(const Place& place, int experts);

struct ExchangePiece {
  std::vector<int64_t> send_rows, recv_rows;  // by member
  std::vector<int64_t> sorted_begin;  // by member: where its rows begin among the sorted ones
  int64_t begin = 0;                  // of the rows by local expert, those from here on arrive
  Tensor order;  // i32[rows]: which of them arrives as the n-th by (expert, member)
};

struct ExchangePlan {
  Communicator* group = nullptr;  // null: nothing is sent
  const Place* place = nullptr;
  int parts = 1;
  int64_t sorted_rows = 0;            // of this rank's own choices
  int64_t arriving_rows = 0;          // of its experts
  std::vector<ExchangePiece> pieces;  // none without a group
  std::vector<int64_t> runs;          // local experts of the pieces: [runs[j], runs[j + 1])
  Tensor offsets;                     // i32[local experts + 1]: rows of each local expert
  std::shared_ptr<const GroupedLeaves> leaves;  // of the arriving rows; null in fast mode
};

// Tells every member how many rows will come (blocks; a decision, made once in the forward pass).
// `tape.rows()` are the leaves of this rank's tokens. On meta `answer` says it.
ExchangePlan PlanExchange(const Tape& tape, const Dispatch& dispatch,
                          const ExchangeMembers& members, const RoutingAnswer* answer = nullptr);

struct RowsPlan {
  Dispatch dispatch;
  ExchangePlan exchange;
};
// Sorts the choices of this rank's tokens (i32 [T, K], ops/dispatch.h) and plans their exchange.
RowsPlan PlanRows(Tape& tape, const Var& indices, const ExchangeMembers& members);

}  // namespace choir
