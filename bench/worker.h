// A process of a bench, asked by lines on its standard input, answering lines of JSON: so that each
// side of a comparison has its own memory and takes its turn.
#pragma once

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <iostream>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/status.h"
#include "base/strings.h"
#include "nlohmann/json.hpp"

namespace choir {

using Json = nlohmann::json;

// Answers each command on standard input with a line of JSON: `step` and `end`.
template <class Step, class End>
int Serve(const Json& ready, const Step& step, const End& end) {
  std::cout << ready.dump() << std::endl;
  for (std::string command; std::getline(std::cin, command);) {
    std::cout << (command == "step" ? step() : end()).dump() << std::endl;
  }
  return 0;
}

// A process that answers commands.
class Worker {
 public:
  // Runs `command` and waits for its first line.
  static absl::StatusOr<std::unique_ptr<Worker>> Start(const std::vector<std::string>& command) {
    std::unique_ptr<Worker> worker(new Worker());
    RETURN_IF_ERROR(worker->Spawn(command));
    ASSIGN_OR_RETURN(const Json ready, worker->Read());
    worker->version_ = ready.value("version", "");
    return worker;
  }
  Worker(const Worker&) = delete;
  ~Worker() {
    if (to_ != nullptr) std::fclose(to_);  // ends its loop
    if (from_ != nullptr) std::fclose(from_);
    if (pid_ > 0) waitpid(pid_, nullptr, 0);
  }

  absl::StatusOr<Json> Ask(const std::string& command) {
    std::fprintf(to_, "%s\n", command.c_str());
    std::fflush(to_);
    return Read();
  }
  const std::string& version() const { return version_; }

 private:
  Worker() = default;

  absl::Status Spawn(const std::vector<std::string>& command) {
    name_ = command.front();
    int to[2], from[2];
    if (pipe2(to, O_CLOEXEC) != 0) return FileError(name_, "start", errno);
    to_ = fdopen(to[1], "w");
    if (pipe2(from, O_CLOEXEC) != 0) {
      close(to[0]);
      return FileError(name_, "start", errno);
    }
    from_ = fdopen(from[0], "r");
    std::vector<char*> arguments;
    for (const std::string& a : command) arguments.push_back(const_cast<char*>(a.c_str()));
    arguments.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, to[0], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, from[1], STDOUT_FILENO);
    const int error =
        posix_spawn(&pid_, name_.c_str(), &actions, nullptr, arguments.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    close(to[0]);
    close(from[1]);
    if (error == 0) return absl::OkStatus();
    pid_ = 0;
    return FileError(name_, "start", error);
  }

  absl::StatusOr<Json> Read() {
    std::string line;
    for (int c; (c = std::fgetc(from_)) != EOF && c != '\n';) line += static_cast<char>(c);
    Json reply = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (reply.is_object()) return reply;
    return absl::UnavailableError(
        StrCat(name_, ": ended without an answer; its messages are above"));
  }

  std::string name_, version_;
  pid_t pid_ = 0;
  FILE* to_ = nullptr;
  FILE* from_ = nullptr;
};

// A number of a reply; NaN when it is not there (JSON has no NaN: it is written as null).
inline double Number(const Json& reply, const char* key) {
  const auto found = reply.find(key);
  if (found == reply.end() || !found->is_number()) return std::numeric_limits<double>::quiet_NaN();
  return found->get<double>();
}

}  // namespace choir
