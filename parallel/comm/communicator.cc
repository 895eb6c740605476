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

thread_local double seconds_waited = 0;

}  // namespace

void Event::Wait() const {
  if (state_ == nullptr) return;
  const auto start = std::chrono::steady_clock::now();
  const auto waited = [start] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  for (int64_t polls = 0; !state_->Poll(); ++polls) {
    BackOff(polls);
    if (polls % 64 == 63) state_->Overdue(waited());
  }
  seconds_waited += waited();
}

double Event::SecondsWaited() { return seconds_waited; }

}  // namespace choir
