// Small helpers around whole files. Every error carries the path and the system's reason, for
// example `runs/a/config.yaml: cannot open: No such file or directory`; the status code follows
// errno (ENOENT -> NotFound, EACCES -> PermissionDenied, ENOSPC -> ResourceExhausted ...).
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace choir {

// `PATH: cannot ACTION: REASON` for the errno value `error`.
absl::Status FileError(std::string_view path, std::string_view action, int error);

// The whole content of a file.
absl::StatusOr<std::string> ReadFile(const std::string& path);

// Replaces `path` by a file that holds exactly `bytes`. Whatever happens, a reader (also after a
// crash) sees either the old file or the whole new one: the bytes go to a temporary file in the
// same folder, which is flushed to disk, renamed, and the folder flushed. On an error the
// temporary file is removed.
absl::Status WriteFileAtomic(const std::string& path, std::string_view bytes);
// The same, of `pieces` one after another.
absl::Status WriteFileAtomic(const std::string& path, std::span<const std::string_view> pieces);

// Flushes the names in a folder (creations, renames, removals) to disk.
absl::Status FsyncDirectory(const std::string& path);

// Makes a folder and its missing parents; no error if it is there.
absl::Status MakeDirectories(const std::string& path);

}  // namespace choir
