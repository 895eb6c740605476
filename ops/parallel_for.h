// Loops over tasks on all cores of this process (OpenMP). How tasks are cut is fixed by the data,
// never by the number of threads, so results do not depend on it: a task writes only its own
// outputs, and a reduction over tasks is done afterwards, in the order of the tasks.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>

namespace choir {

// Threads of a ParallelFor; by default all cores that this process may use.
void SetNumThreads(int threads);
int NumThreads();

// Calls task(i) once for every i in [0, count), in any order and concurrently. Not to be nested.
void ParallelFor(int64_t count, const std::function<void(int64_t)>& task);

// The same, calling `poll` (may be empty) after every few tasks: on the calling thread and while no
// task runs, so that it may throw.
void PollingFor(int64_t count, const std::function<void()>& poll,
                const std::function<void(int64_t)>& task);

// The same over [0, n) in ranges of `grain` elements: body(begin, end).
template <class Body>
void ParallelRanges(int64_t n, int64_t grain, Body&& body) {
  if (n <= grain) {
    if (n > 0) body(int64_t{0}, n);
    return;
  }
  ParallelFor((n + grain - 1) / grain,
              [&](int64_t i) { body(i * grain, std::min(n, (i + 1) * grain)); });
}

// Elements per task that make the cost of starting one negligible for memory-bound kernels.
inline constexpr int64_t kElementGrain = 16384;
// Rows of `width` elements per task, at the same cost.
inline int64_t RowGrain(int64_t width) {
  return std::max<int64_t>(1, kElementGrain / std::max<int64_t>(1, width));
}

}  // namespace choir
