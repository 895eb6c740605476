// What the stages of a build cost, measured as processor time of the threads that do them.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <ostream>

namespace choir {

enum class Stage { kHash, kRead, kClean, kSpool, kResolve, kDedup, kTokenize, kWrite };
inline constexpr int kNumStages = 8;
const char* StageName(Stage stage);

// Any thread.
class StageClock {
 public:
  StageClock() : start_(std::chrono::steady_clock::now()) {}

  void Add(Stage stage, double seconds, int64_t bytes);
  double seconds(Stage stage) const;
  double wall_seconds() const;

  // Stage, processor seconds, MB/s (of what went into the stage) and share; then the rate of the
  // whole build for `bytes` of input, by processor second and by wall clock.
  void Print(int64_t bytes, std::ostream& out) const;

 private:
  struct Cell {
    std::atomic<int64_t> nanoseconds = 0;
    std::atomic<int64_t> bytes = 0;
  };
  const std::chrono::steady_clock::time_point start_;
  std::array<Cell, kNumStages> cells_;
};

// Charges the calling thread's processor time, from here to Stop or the end of its life. Reading
// that clock is a system call: use it for batches, not for documents.
class StageTimer {
 public:
  StageTimer(StageClock& clock, Stage stage);
  ~StageTimer() { Stop(0); }
  void Stop(int64_t bytes);

 private:
  StageClock& clock_;
  const Stage stage_;
  double begin_;
  bool running_ = true;
};

}  // namespace choir
