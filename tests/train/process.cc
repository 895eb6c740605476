#include "tests/train/process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "base/check.h"
#include "base/file.h"
#include "base/strings.h"
#include "tests/train/run_fixture.h"

namespace choir::train_test {
namespace {

// In the child, between fork and exec: only calls that are safe there.
void Become(char* const* argv, const ProcessOptions& options, const char* out, const char* err) {
  const int out_file = open(out, O_WRONLY | O_CREAT | O_TRUNC, 0666);
  const int err_file = open(err, O_WRONLY | O_CREAT | O_TRUNC, 0666);
  if (dup2(out_file, STDOUT_FILENO) < 0 || dup2(err_file, STDERR_FILENO) < 0) _exit(126);
  if (!options.directory.empty() && chdir(options.directory.c_str()) != 0) _exit(126);
  if (options.max_file_size > 0) {
    const auto bytes = static_cast<rlim_t>(options.max_file_size);
    const rlimit limit = {bytes, bytes};
    std::signal(SIGXFSZ, SIG_IGN);  // write then fails with EFBIG
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0) _exit(126);
  }
  execv(argv[0], argv);
  _exit(127);
}

}  // namespace

Process::Process(const std::vector<std::string>& arguments, const ProcessOptions& options) {
  static int count = 0;
  const std::string name = StrCat(TempRoot(), "/output-", ++count);
  out_ = name + ".out";
  err_ = name + ".err";
  std::vector<std::string> copy = arguments;
  std::vector<char*> argv;
  for (std::string& argument : copy) argv.push_back(argument.data());
  argv.push_back(nullptr);
  pid_ = fork();
  CHECK(pid_ >= 0) << "fork failed";
  if (pid_ == 0) Become(argv.data(), options, out_.c_str(), err_.c_str());
}

Process::~Process() {
  if (ended_) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, &status_, 0);
}

bool Process::Ended() {
  if (!ended_) ended_ = waitpid(pid_, &status_, WNOHANG) == pid_;
  return ended_;
}

bool Process::WaitForStep(const std::string& run_dir, int64_t step) {
  const std::string wanted = StrCat("{\"step\": ", step, ", \"tokens\"");
  while (true) {
    const bool ended = Ended();  // before the look, so that its last line is seen
    const auto text = ReadFile(run_dir + "/metrics.jsonl");
    if (text.ok() && text->find(wanted) != std::string::npos) return !ended;
    if (ended) return false;
    usleep(1000);
  }
}

void Process::Signal(int signal) const {
  if (!ended_) kill(pid_, signal);
}

ProcessResult Process::Wait() {
  if (!ended_) waitpid(pid_, &status_, 0);
  ended_ = true;
  ProcessResult result;
  if (WIFEXITED(status_)) result.exit = WEXITSTATUS(status_);
  if (WIFSIGNALED(status_)) result.signal = WTERMSIG(status_);
  result.out = Read(out_);
  result.err = Read(err_);
  return result;
}

std::vector<std::string> ChoirCommand(const std::vector<std::string>& arguments) {
  std::vector<std::string> command = {CHOIR_PROGRAM};
  command.insert(command.end(), arguments.begin(), arguments.end());
  return command;
}

ProcessResult Choir(const std::vector<std::string>& arguments, const ProcessOptions& options) {
  return Process(ChoirCommand(arguments), options).Wait();
}

std::vector<std::string> Shell(const std::string& command) { return {"/bin/sh", "-c", command}; }

}  // namespace choir::train_test
