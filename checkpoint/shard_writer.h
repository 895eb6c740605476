// The files of a checkpoint that hold data. Each returns when its file is complete and flushed to
// disk.
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "checkpoint/contents.h"
#include "checkpoint/manifest.h"

namespace choir {

// What one writer contributes to the manifest; StoredBytes::file is 0 and means `file`.
struct ShardRecords {
  FileRecord file;
  std::vector<TensorRecord> tensors;
  std::vector<BlobRecord> blobs;
};

// Writes `<folder>/shard-<writer>.h5` with the given tensors, each as one piece, and blobs.
// Checksums are those of the bytes given in memory; the file is read back once, so that bytes that
// changed on their way into it are found (DataLoss).
absl::StatusOr<ShardRecords> WriteShard(const std::string& folder, int writer,
                                        std::span<const NamedTensor> tensors,
                                        const std::map<std::string, std::string>& blobs);

// Writes `<folder>/model.h5`: every tensor `model/<name>` as one global array `<name>` (a scalar as
// [1]), read from the shard files beside it from any working directory. Elements whose shard is
// missing read as NaN (i32: -2^31). For people and other programs; Choir never reads it.
absl::StatusOr<FileRecord> WriteModelView(const std::string& folder, const Manifest& manifest);

}  // namespace choir
