// FollowTextFiles of data/text/list_files.h.
#include <algorithm>
#include <chrono>
#include <filesystem>
#include <set>
#include <thread>

#include "base/status.h"
#include "base/strings.h"
#include "data/text/file_stamp.h"
#include "data/text/list_files.h"

namespace choir {
namespace {

namespace fs = std::filesystem;

// All that must stay as it is: the files with their stamps, and unfinished ones in their folders.
std::set<std::string> StateOf(const std::vector<TextFile>& files) {
  std::set<std::string> state, folders;
  for (const TextFile& file : files) {
    const absl::StatusOr<FileStamp> stamp = StampOf(file.path);
    state.insert(stamp.ok() ? StrCat(file.path, " ", stamp->size, " ", stamp->time) : file.path);
    folders.insert(fs::path(file.path).parent_path());
  }
  for (const std::string& folder : folders) {
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(folder.empty() ? "." : folder, ignored)) {
      if (IsUnfinished(entry.path())) state.insert(StrCat("unfinished ", entry.path().string()));
    }
  }
  return state;
}

bool HasUnfinished(const std::set<std::string>& state) {
  const auto it = state.lower_bound("unfinished ");
  return it != state.end() && it->starts_with("unfinished ");
}

}  // namespace

bool IsUnfinished(const std::string& path) {
  return path.ends_with(".tmp") || path.ends_with(".part");
}

absl::StatusOr<std::vector<TextFile>> FollowTextFiles(const CorpusConfig& config,
                                                      bool needs_language) {
  using Clock = std::chrono::steady_clock;
  const std::chrono::duration<double> still(config.follow);
  const auto pause = std::chrono::duration<double>(std::min(1.0, config.follow / 4));
  Clock::time_point since = Clock::now();
  std::set<std::string> before;
  while (true) {
    absl::StatusOr<std::vector<TextFile>> files = ListTextFiles(config, needs_language);
    if (!files.ok() && !absl::IsNotFound(files.status())) return files;
    std::set<std::string> state;
    if (files.ok()) state = StateOf(*files);
    if (state != before || HasUnfinished(state)) since = Clock::now();
    before = std::move(state);
    if (Clock::now() - since >= still) return files;
    std::this_thread::sleep_for(pause);
  }
}

}  // namespace choir
