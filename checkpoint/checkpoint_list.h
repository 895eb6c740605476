// The checkpoints of a run: finding, opening, removing.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "checkpoint/manifest.h"

namespace choir {

// Reads and checks the manifest in folder `path`. NotFound if there is none; DataLoss if it is
// damaged or names another step than the folder; FailedPrecondition for an unknown format version.
// Messages start with the path. The data files are not looked at.
absl::StatusOr<Checkpoint> OpenCheckpoint(const std::string& path);

// A step folder of a run.
struct CheckpointEntry {
  std::string path;
  int64_t step = 0;
  // OK if the manifest is good and all shard files are there in full size; contents not verified.
  absl::Status status;
  Manifest manifest;  // if OK
};

// All step folders under `<run_dir>/checkpoints`, oldest first; empty if there is no such folder.
// Temporary and other names are ignored.
absl::StatusOr<std::vector<CheckpointEntry>> ListCheckpoints(const std::string& run_dir);

struct LatestCheckpoint {
  Checkpoint checkpoint;
  // One message for each newer step folder that was passed over because it is damaged.
  std::vector<std::string> warnings;
};

// The newest checkpoint with step <= max_step whose entry is OK. If reading it fails with DataLoss
// later, ask again with max_step one below its step. NotFound if there is none (the message names
// the damaged ones).
absl::StatusOr<LatestCheckpoint> FindLatest(const std::string& run_dir,
                                            int64_t max_step = INT64_MAX);

// Removes what interrupted saves and removals left behind; returns the names removed. Only when no
// other process is saving into this run: at start.
absl::StatusOr<std::vector<std::string>> CleanTemporaries(const std::string& run_dir);

// Removes all but the newest `keep_last` (>= 1) checkpoints whose entry is OK; damaged ones are
// neither counted nor removed. Call it only after a successful save. A kill in the middle leaves a
// temporary, never half a checkpoint. Returns the steps removed.
absl::StatusOr<std::vector<int64_t>> PruneCheckpoints(const std::string& run_dir, int keep_last);

}  // namespace choir
