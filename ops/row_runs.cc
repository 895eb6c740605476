#include "ops/row_runs.h"

#include <algorithm>

#include "base/check.h"

namespace choir {

int64_t NumRows(const RowRuns& runs) {
  return runs.empty() ? 0 : runs.back().here + runs.back().count;
}

void AppendRows(RowRuns& runs, int64_t begin, int64_t count) {
  if (count == 0) return;
  if (!runs.empty()) {
    RowRun& last = runs.back();
    CHECK(begin >= last.begin + last.count) << "row " << begin << " comes before the last run";
    if (begin == last.begin + last.count) {
      last.count += count;
      return;
    }
  }
  runs.push_back({begin, count, NumRows(runs)});
}

RowRuns SliceRuns(const RowRuns& runs, int64_t first, int64_t count) {
  RowRuns slice;
  for (const RowRun& run : runs) {
    const int64_t from = std::max(first, run.here);
    const int64_t to = std::min(first + count, run.here + run.count);
    if (from < to) AppendRows(slice, run.begin + from - run.here, to - from);
  }
  return slice;
}

Tensor TakeRows(const Tensor& whole, const RowRuns& runs) {
  if (runs.empty()) return whole.Rows(0, 0);
  if (runs.size() == 1) return whole.Rows(runs[0].begin, runs[0].count);
  Tensor taken = Tensor::Empty(whole.shape().With(0, NumRows(runs)), whole.options());
  for (const RowRun& run : runs) {
    taken.Rows(run.here, run.count).CopyFrom(whole.Rows(run.begin, run.count));
  }
  return taken;
}

}  // namespace choir
