// Which rows of a whole tensor are here: runs of neighbours, one after another.
#pragma once

#include <cstdint>
#include <vector>

#include "tensor/tensor.h"

namespace choir {

struct RowRun {
  int64_t begin = 0;  // its first row, in the whole
  int64_t count = 0;
  int64_t here = 0;  // where that row lies here
};
// Without gaps here; ascending in the whole, no run empty.
using RowRuns = std::vector<RowRun>;

int64_t NumRows(const RowRuns& runs);
// Rows [begin, begin + count) of the whole come after those that are here; they follow the last run
// in the whole, too (CHECKed).
void AppendRows(RowRuns& runs, int64_t begin, int64_t count);
// Of what is here rows [first, first + count).
RowRuns SliceRuns(const RowRuns& runs, int64_t first, int64_t count);
// The rows of `whole` in the order in which they are here: a view of it for one run, else a copy.
Tensor TakeRows(const Tensor& whole, const RowRuns& runs);

}  // namespace choir
