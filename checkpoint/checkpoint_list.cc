#include "checkpoint/checkpoint_list.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <utility>

#include "base/file.h"
#include "base/status.h"
#include "base/strings.h"
#include "checkpoint/integrity.h"
#include "checkpoint/names.h"
#include "checkpoint/raw_file.h"

namespace choir {
namespace {

// Names in a folder; none if it does not exist.
absl::StatusOr<std::vector<std::string>> NamesIn(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code error;
  std::filesystem::directory_iterator entry(folder, error);
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    names.push_back(entry->path().filename().string());
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    return FileError(folder, "list", error.value());
  }
  std::sort(names.begin(), names.end());
  return names;
}

absl::Status RemoveFolder(const std::string& path) {
  std::error_code error;
  std::filesystem::remove_all(path, error);
  if (error) return FileError(path, "remove", error.value());
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadManifestText(const std::string& folder) {
  const absl::StatusOr<RawFile> file = RawFile::Open(folder, std::string(kManifestFile));
  if (absl::IsFailedPrecondition(file.status())) {
    return absl::DataLossError(file.status().message());
  }
  RETURN_IF_ERROR(file.status());
  if (file->size() > kMaxManifestBytes) {
    return absl::DataLossError(
        StrCat(file->path(), ": is larger than ", kMaxManifestBytes, " bytes: not a manifest"));
  }
  std::string text(static_cast<size_t>(file->size()), '\0');
  RETURN_IF_ERROR(file->ReadAt(0, std::as_writable_bytes(std::span(text))));
  return text;
}

}  // namespace

absl::StatusOr<Checkpoint> OpenCheckpoint(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadManifestText(path));
  absl::StatusOr<Manifest> manifest = ParseManifest(text);
  const std::string file = StrCat(path, "/", kManifestFile);
  if (!manifest.ok()) {
    return absl::Status(manifest.status().code(),
                        StrCat(file, ": ", std::string(manifest.status().message())));
  }
  // A folder under another name than a step's (a copy, a temporary) may hold any step.
  std::string name = std::filesystem::path(path).filename().string();
  if (name.empty()) name = std::filesystem::path(path).parent_path().filename().string();
  const std::optional<int64_t> step = ParseStepName(name);
  if (step && *step != manifest->step) {
    return absl::DataLossError(StrCat(file, ": is the manifest of step ", manifest->step,
                                      ", in the folder of step ", *step));
  }
  return Checkpoint{path, *std::move(manifest)};
}

absl::StatusOr<std::vector<CheckpointEntry>> ListCheckpoints(const std::string& run_dir) {
  const std::string folder = CheckpointsFolder(run_dir);
  ASSIGN_OR_RETURN(const std::vector<std::string> names, NamesIn(folder));
  std::vector<CheckpointEntry> entries;
  for (const std::string& name : names) {
    const std::optional<int64_t> step = ParseStepName(name);
    if (!step) continue;
    CheckpointEntry entry{StrCat(folder, "/", name), *step, {}, {}};
    absl::StatusOr<Checkpoint> checkpoint = OpenCheckpoint(entry.path);
    entry.status = checkpoint.ok() ? CheckFileSizes(*checkpoint) : checkpoint.status();
    if (entry.status.ok()) entry.manifest = std::move(checkpoint->manifest);
    entries.push_back(std::move(entry));
  }
  return entries;
}

absl::StatusOr<LatestCheckpoint> FindLatest(const std::string& run_dir, int64_t max_step) {
  ASSIGN_OR_RETURN(std::vector<CheckpointEntry> entries, ListCheckpoints(run_dir));
  std::vector<std::string> warnings;
  for (auto entry = entries.rbegin(); entry != entries.rend(); ++entry) {
    if (entry->step > max_step) continue;
    if (entry->status.ok()) {
      return LatestCheckpoint{{entry->path, std::move(entry->manifest)}, std::move(warnings)};
    }
    warnings.push_back(
        StrCat(entry->path, " is passed over: ", std::string(entry->status.message())));
  }
  std::string message = StrCat(CheckpointsFolder(run_dir), ": no checkpoint to load");
  for (const std::string& warning : warnings) message += StrCat("\n", warning);
  return absl::NotFoundError(message);
}

absl::StatusOr<std::vector<std::string>> CleanTemporaries(const std::string& run_dir) {
  const std::string folder = CheckpointsFolder(run_dir);
  ASSIGN_OR_RETURN(std::vector<std::string> names, NamesIn(folder));
  std::erase_if(names, [](const std::string& name) { return !IsTemporaryName(name); });
  for (const std::string& name : names) RETURN_IF_ERROR(RemoveFolder(StrCat(folder, "/", name)));
  return names;
}

absl::StatusOr<std::vector<int64_t>> PruneCheckpoints(const std::string& run_dir, int keep_last) {
  if (keep_last < 1) {
    return absl::InvalidArgumentError(
        StrCat("cannot keep ", keep_last, " checkpoints: at least 1"));
  }
  const std::string folder = CheckpointsFolder(run_dir);
  ASSIGN_OR_RETURN(std::vector<CheckpointEntry> entries, ListCheckpoints(run_dir));
  std::erase_if(entries, [](const CheckpointEntry& entry) { return !entry.status.ok(); });
  std::vector<int64_t> removed;
  const size_t keep = static_cast<size_t>(keep_last);
  for (size_t i = 0; i + keep < entries.size(); ++i) {
    // Renamed first: a kill during the removal leaves a temporary, not a folder without files.
    const std::string doomed = StrCat(folder, "/", TemporaryName(entries[i].step));
    if (std::rename(entries[i].path.c_str(), doomed.c_str()) != 0) {
      return FileError(entries[i].path, "rename before removal", errno);
    }
    RETURN_IF_ERROR(FsyncDirectory(folder));
    RETURN_IF_ERROR(RemoveFolder(doomed));
    removed.push_back(entries[i].step);
  }
  return removed;
}

}  // namespace choir
