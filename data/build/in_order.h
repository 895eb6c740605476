// Work done on several threads whose results are taken in order.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/status.h"

namespace choir {

// Calls take(i, make(i)) for i = 0 ... count - 1, `take` in order on the calling thread, `make` on
// `threads` others (for one: on the calling thread too). At most 2 * threads results wait, so that
// memory is bounded. The first error in order ends it.
template <class T>
absl::Status RunInOrder(int64_t count, int64_t threads,
                        const std::function<absl::StatusOr<T>(int64_t)>& make,
                        const std::function<absl::Status(int64_t, T)>& take) {
  if (threads <= 1) {
    for (int64_t i = 0; i < count; ++i) {
      ASSIGN_OR_RETURN(T made, make(i));
      RETURN_IF_ERROR(take(i, std::move(made)));
    }
    return absl::OkStatus();
  }
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::optional<absl::StatusOr<T>>> waiting(static_cast<size_t>(2 * threads));
  const auto window = static_cast<int64_t>(waiting.size());
  int64_t begun = 0, taken = 0;
  bool stop = false;
  const auto work = [&] {
    std::unique_lock lock(mutex);
    while (true) {
      changed.wait(lock, [&] { return stop || begun == count || begun < taken + window; });
      if (stop || begun == count) return;
      const int64_t i = begun++;
      lock.unlock();
      absl::StatusOr<T> made = make(i);
      lock.lock();
      waiting[i % window] = std::move(made);
      changed.notify_all();
    }
  };
  std::vector<std::thread> helpers;
  for (int64_t t = 0; t < threads; ++t) helpers.emplace_back(work);
  absl::Status status;
  while (status.ok() && taken < count) {
    std::unique_lock lock(mutex);
    std::optional<absl::StatusOr<T>>& slot = waiting[taken % window];
    changed.wait(lock, [&] { return slot.has_value(); });
    absl::StatusOr<T> made = *std::exchange(slot, std::nullopt);
    const int64_t i = taken++;
    changed.notify_all();
    lock.unlock();
    status = made.ok() ? take(i, *std::move(made)) : made.status();
  }
  {
    const std::lock_guard lock(mutex);
    stop = true;
    changed.notify_all();
  }
  for (std::thread& helper : helpers) helper.join();
  return status;
}

}  // namespace choir
