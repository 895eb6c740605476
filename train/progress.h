// What a person watching a run sees: a bar that redraws itself on a terminal, plain lines
// elsewhere.
#pragma once

#include <cstdint>
#include <string>

namespace choir {

struct ProgressLine {
  int64_t step = 0, steps = 0;  // done, in all
  double loss = 0;
  double tokens_per_s = 0;
  double mfu = 0;
  int64_t memory_bytes = 0;
  double seconds_left = 0;
};

// "step 12/300  loss 6.1234  21.3k tok/s  MFU 71%  mem 512 MiB  ETA 1m02s"
std::string FormatProgress(const ProgressLine& line);
std::string FormatDuration(double seconds);
std::string FormatBytes(int64_t bytes);

class Progress {
 public:
  // To standard output; a bar if that is a terminal.
  Progress();
  // Shows a step. Without a terminal only now and then: the first and last step, and whenever
  // `kPlainSeconds` have passed.
  void Show(const ProgressLine& line);
  // Prints a whole line above the bar.
  void Print(const std::string& text);
  // Ends the bar's line.
  void Finish();

 private:
  static constexpr double kPlainSeconds = 5;
  bool terminal_;
  bool drawn_ = false;
  double last_shown_ = -1e9;
};

}  // namespace choir
