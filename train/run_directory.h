// The folder of one run: everything needed to continue, compare or explain it.
//
//   config.yaml      the resolved config
//   tokenizer.model  the tokenizer of its data (or tokenizer.json, tokenizer.tiktoken)
//   metrics.jsonl    one JSON object a step or validation
//   checkpoints/     checkpoint/save.h
//   log/rank-0.txt   what was logged
//   lock             held while a process trains in it
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace choir {

class RunDirectory {
 public:
  // Makes the folder if it is missing and locks it against a second process. Without `resume`, a
  // folder that already holds a run is AlreadyExists.
  static absl::StatusOr<RunDirectory> Open(const std::string& path, bool resume);
  RunDirectory(RunDirectory&& other) noexcept;
  RunDirectory& operator=(RunDirectory&&) = delete;
  ~RunDirectory();

  const std::string& path() const { return path_; }
  std::string File(const std::string& name) const { return path_ + "/" + name; }

 private:
  RunDirectory(std::string path, int lock) : path_(std::move(path)), lock_(lock) {}
  std::string path_;
  int lock_;
};

}  // namespace choir
