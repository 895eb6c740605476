#include "train/progress.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>

namespace choir {
namespace {

template <class... Args>
std::string Formatted(const char* format, Args... args) {
  char text[256];
  std::snprintf(text, sizeof(text), format, args...);
  return text;
}

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::string Bar(int64_t step, int64_t steps) {
  constexpr int kWidth = 20;
  const int full = static_cast<int>(kWidth * step / std::max<int64_t>(1, steps));
  return "[" + std::string(static_cast<size_t>(full), '#') +
         std::string(static_cast<size_t>(kWidth - full), '.') + "] ";
}

}  // namespace

std::string FormatDuration(double seconds) {
  const auto s = static_cast<int64_t>(seconds + 0.5);
  if (s < 60) return Formatted("%ds", static_cast<int>(s));
  if (s < 3600) return Formatted("%dm%02ds", static_cast<int>(s / 60), static_cast<int>(s % 60));
  return Formatted("%dh%02dm", static_cast<int>(s / 3600), static_cast<int>(s / 60 % 60));
}

std::string FormatBytes(int64_t bytes) {
  const double mib = static_cast<double>(bytes) / (1 << 20);
  return mib < 1024 ? Formatted("%.0f MiB", mib) : Formatted("%.2f GiB", mib / 1024);
}

std::string FormatProgress(const ProgressLine& line) {
  return Formatted("step %lld/%lld  loss %.4f  %.1fk tok/s  MFU %.0f%%  mem %s  ETA %s",
                   static_cast<long long>(line.step), static_cast<long long>(line.steps), line.loss,
                   line.tokens_per_s / 1000, 100 * line.mfu, FormatBytes(line.memory_bytes).c_str(),
                   FormatDuration(line.seconds_left).c_str());
}

Progress::Progress() : terminal_(isatty(STDOUT_FILENO) == 1) {}

void Progress::Show(const ProgressLine& line) {
  if (terminal_) {
    std::printf("\r\033[K%s%s", Bar(line.step, line.steps).c_str(), FormatProgress(line).c_str());
    drawn_ = true;
  } else {
    if (line.step != line.steps && Now() - last_shown_ < kPlainSeconds) return;
    last_shown_ = Now();
    std::printf("%s\n", FormatProgress(line).c_str());
  }
  std::fflush(stdout);
}

void Progress::Print(const std::string& text) {
  if (drawn_) std::printf("\r\033[K");
  drawn_ = false;
  std::printf("%s\n", text.c_str());
  std::fflush(stdout);
}

void Progress::Finish() {
  if (drawn_) std::printf("\n");
  drawn_ = false;
  std::fflush(stdout);
}

}  // namespace choir
