// The program under test, run as a user runs it: by its path, with arguments.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace choir::train_test {

struct ProcessOptions {
  std::string directory;      // to run in; empty: here
  int64_t max_file_size = 0;  // bytes, larger ones fail to be written; 0: no limit
};

struct ProcessResult {
  int exit = -1;   // state; -1 if a signal ended it
  int signal = 0;  // that ended it
  std::string out, err;
};

// A running child. Its output goes to files, so that it never waits for a reader.
class Process {
 public:
  explicit Process(const std::vector<std::string>& arguments, const ProcessOptions& options = {});
  // Kills it if nobody has waited.
  ~Process();
  Process(const Process&) = delete;

  // Waits until metrics.jsonl of a run holds the line of `step`; false if the process ended first.
  bool WaitForStep(const std::string& run_dir, int64_t step);
  void Signal(int signal) const;
  ProcessResult Wait();

 private:
  bool Ended();
  pid_t pid_ = -1;
  int status_ = 0;
  bool ended_ = false;
  std::string out_, err_;  // paths
};

// Runs `choir` with arguments to its end.
ProcessResult Choir(const std::vector<std::string>& arguments, const ProcessOptions& options = {});
// Arguments of a shell that runs a command line.
std::vector<std::string> Shell(const std::string& command);
// `choir` and arguments, for Process.
std::vector<std::string> ChoirCommand(const std::vector<std::string>& arguments);

}  // namespace choir::train_test
