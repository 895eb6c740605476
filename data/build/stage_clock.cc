#include "data/build/stage_clock.h"

#include <time.h>

#include <cmath>
#include <string>

#include "absl/strings/str_format.h"
#include "data/text_table.h"

namespace choir {
namespace {

constexpr const char* kStageNames[kNumStages] = {"hash",    "read",  "clean",    "spool",
                                                 "resolve", "dedup", "tokenize", "write"};

double ThreadSeconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

std::string Rate(double bytes, double seconds) {
  return seconds > 0 ? absl::StrFormat("%.1f", 1e-6 * bytes / seconds) : "-";
}

}  // namespace

const char* StageName(Stage stage) { return kStageNames[static_cast<int>(stage)]; }

void StageClock::Add(Stage stage, double seconds, int64_t bytes) {
  Cell& cell = cells_[static_cast<int>(stage)];
  cell.nanoseconds += std::llround(1e9 * seconds);
  cell.bytes += bytes;
}

double StageClock::seconds(Stage stage) const {
  return 1e-9 * static_cast<double>(cells_[static_cast<int>(stage)].nanoseconds);
}

double StageClock::wall_seconds() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
}

void StageClock::Print(int64_t bytes, std::ostream& out) const {
  double total = 0;
  for (int s = 0; s < kNumStages; ++s) total += seconds(static_cast<Stage>(s));
  TextTable table({"stage", "processor s", "MB/s", "share"});
  for (int s = 0; s < kNumStages; ++s) {
    const double used = seconds(static_cast<Stage>(s));
    table.Add({kStageNames[s], absl::StrFormat("%.2f", used),
               Rate(static_cast<double>(cells_[s].bytes), used),
               absl::StrFormat("%.1f %%", total > 0 ? 100 * used / total : 0)});
  }
  const auto input = static_cast<double>(bytes);
  table.Add({"all", absl::StrFormat("%.2f", total), Rate(input, total), "100 %"});
  table.Print(out);
  const double wall = wall_seconds();
  out << absl::StrFormat("%.1f MB in %.1f s: %s MB/s, %s MB/s by core\n", 1e-6 * input, wall,
                         Rate(input, wall), Rate(input, total));
}

StageTimer::StageTimer(StageClock& clock, Stage stage)
    : clock_(clock), stage_(stage), begin_(ThreadSeconds()) {}

void StageTimer::Stop(int64_t bytes) {
  if (!running_) return;
  running_ = false;
  clock_.Add(stage_, ThreadSeconds() - begin_, bytes);
}

}  // namespace choir
