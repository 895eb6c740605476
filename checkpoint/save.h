// Publishing a checkpoint.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "checkpoint/contents.h"

namespace choir {

// Writes `<run_dir>/checkpoints/step-<10 digits>/` and returns its path once it is durable.
//
// All files are made in a temporary folder beside it and flushed to disk; then the manifest; then
// the folder is renamed and its parent flushed. So whenever the process or the machine dies, the
// checkpoint is whole or it is not there, and an existing one is never written to.
//
// If a checkpoint of this step exists: OK if it is undamaged and holds the same state, config and
// tensors bit for bit (nothing is written); AlreadyExists if it differs; if it is damaged it is
// moved aside to `damaged-<step>-<nonce>` and the new one takes its place.
//
// The tensors must not change during the call. Errors: InvalidArgument for contents that cannot be
// stored (names, NaN in `state`, meta tensors); else what the system said, with path and reason
// (ResourceExhausted: disk full). After an error nothing of the new checkpoint is left, except if
// the last flush of the parent fails: then it is there but may not survive a power failure.
absl::StatusOr<std::string> SaveCheckpoint(const std::string& run_dir,
                                           const CheckpointContents& contents);

}  // namespace choir
