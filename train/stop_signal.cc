#include "train/stop_signal.h"

#include <atomic>
#include <csignal>

namespace choir {
namespace {

std::atomic<int> caught = 0;
static_assert(std::atomic<int>::is_always_lock_free);

void OnSignal(int signal) {
  caught = signal;
  std::signal(signal, SIG_DFL);
}

}  // namespace

void CatchStopSignals() {
  std::signal(SIGINT, OnSignal);
  std::signal(SIGTERM, OnSignal);
}

int StopSignal() { return caught; }

}  // namespace choir
