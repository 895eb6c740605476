// Changes how a value lies on the ranks of one group, keeping the global value. The gradient's way
// back follows from the way there, so no collective's gradient is written by hand:
//
//   backward of Redistribute(from, to) = Redistribute(Dual(to), Dual(from))
//
//   from \ to               split            replicated       replicated, partial gradient
//   split                   itself           all-gather       all-gather
//   partial                 reduce-scatter   all-reduce       all-reduce
//   replicated              own piece        itself           itself
//   replicated, p. gradient own piece        itself           itself
#pragma once

#include <vector>

#include "ops/tape.h"
#include "parallel/comm/communicator.h"

namespace choir {

enum class Spread {
  kSplit,                  // rank i has piece i of the rows
  kPartial,                // the value is the sum of the ranks' tensors
  kReplicated,             // every rank has all of it, and all of its gradient
  kReplicatedPartialGrad,  // every rank has all of it, its gradient is the sum of the ranks'
};
// What the gradient of such a value is.
Spread Dual(Spread spread);

struct RowMove {
  Communicator* group = nullptr;  // null: alone, nothing to do
  Spread from, to;
  std::vector<int64_t> rows;  // of each member's piece

  RowMove Backward() const { return {group, Dual(to), Dual(from), rows}; }
};

// x is [rows, ...]: of this rank's piece where split, else of all.
Tensor Redistribute(const Tensor& x, const RowMove& move);
Var Redistribute(Tape& tape, const Var& x, const RowMove& move, const Tag& tag);

}  // namespace choir
