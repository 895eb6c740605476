#include "parallel/comm/communicator.h"

#include <sched.h>

#include <algorithm>
#include <chrono>
#include <thread>

namespace choir {
namespace {

// Spins while an answer is likely, then leaves the core to the ranks that share it (more ranks
// than cores is the normal case in tests), then sleeps: a long wait must not eat a core.
void BackOff(int64_t polls) {
  constexpr int64_t kSpins = 64, kYields = 4096;
  if (polls < kSpins) return;
  if (polls < kYields) {
    sched_yield();
    return;
  }
  std::this_thread::sleep_for(std::chrono::microseconds(std::min<int64_t>(polls - kYields, 200)));
}

}  // namespace

void Event::Wait() const {
  if (state_ == nullptr || state_->Poll()) return;
  const auto start = std::chrono::steady_clock::now();
  for (int64_t polls = 0; !state_->Poll(); ++polls) {
    BackOff(polls);
    if (polls % 64 == 63) {
      const std::chrono::duration<double> waited = std::chrono::steady_clock::now() - start;
      state_->Overdue(waited.count());
    }
  }
}

}  // namespace choir
