#include "ops/parallel_for.h"

#include <omp.h>

#include <atomic>
#include <thread>
#include <vector>

namespace choir {
namespace {

std::atomic<int> num_threads = 0;  // 0: as OpenMP says

}  // namespace

void SetNumThreads(int threads) { num_threads = threads; }

int NumThreads() {
  const int n = num_threads;
  return n > 0 ? n : omp_get_max_threads();
}

#ifdef __SANITIZE_THREAD__
// ThreadSanitizer cannot see the barriers inside libgomp, so this build runs plain threads.
void ParallelFor(int64_t count, const std::function<void(int64_t)>& task) {
  std::atomic<int64_t> next = 0;
  auto work = [&] {
    for (int64_t i = next++; i < count; i = next++) task(i);
  };
  std::vector<std::thread> threads;
  for (int i = 1; i < std::min<int64_t>(NumThreads(), count); ++i) threads.emplace_back(work);
  work();
  for (std::thread& thread : threads) thread.join();
}
#else
void ParallelFor(int64_t count, const std::function<void(int64_t)>& task) {
  const int threads = static_cast<int>(std::min<int64_t>(NumThreads(), count));
  if (threads <= 1) {
    for (int64_t i = 0; i < count; ++i) task(i);
    return;
  }
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
  for (int64_t i = 0; i < count; ++i) task(i);
}
#endif

void PollingFor(int64_t count, const std::function<void()>& poll,
                const std::function<void(int64_t)>& task) {
  if (poll == nullptr) return ParallelFor(count, task);
  const int64_t step = 8 * int64_t{NumThreads()};
  for (int64_t first = 0; first < count; first += step) {
    ParallelFor(std::min(step, count - first), [&](int64_t i) { task(first + i); });
    poll();
  }
}

}  // namespace choir
