#include "data/text/threads.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <thread>
#include <vector>

namespace choir {

int64_t NumThreads(int64_t threads) {
  if (threads > 0) return threads;
  return std::max<int64_t>(1, std::thread::hardware_concurrency());
}

absl::Status RunJobs(int64_t count, int64_t threads,
                     const std::function<absl::Status(int64_t)>& job) {
  std::atomic<int64_t> next = 0;
  std::atomic<bool> failed = false;
  std::mutex mutex;
  int64_t first_failed = count;
  absl::Status result;
  const auto work = [&] {
    for (int64_t i; !failed && (i = next.fetch_add(1)) < count;) {
      absl::Status status = job(i);
      if (status.ok()) continue;
      failed = true;
      const std::lock_guard lock(mutex);
      if (i < first_failed) result = std::move(status);
      first_failed = std::min(first_failed, i);
    }
  };
  std::vector<std::thread> helpers;
  for (int64_t t = 1; t < std::min(threads, count); ++t) helpers.emplace_back(work);
  work();
  for (std::thread& helper : helpers) helper.join();
  return result;
}

}  // namespace choir
