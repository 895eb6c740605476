// Are the bytes on disk those that were saved? Nothing here opens HDF5.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "checkpoint/manifest.h"
#include "checkpoint/raw_file.h"

namespace choir {

// Indices of the chunks of `data` whose bytes in `file` differ from their checksums, chunks beyond
// the end of the file included.
absl::StatusOr<std::vector<int64_t>> DamagedChunks(const RawFile& file, const StoredBytes& data,
                                                   int64_t chunk_bytes);

// Size and checksum of the whole file manifest.files[file]. DataLoss names the file, what is wrong
// (missing, no regular file, truncated, another file, damaged) and the tensors and blobs hit.
absl::Status CheckFile(const Checkpoint& checkpoint, int file);

// All shard files are there, regular and of the right size; cheap (reads no content).
absl::Status CheckFileSizes(const Checkpoint& checkpoint);

struct FileVerdict {
  std::string name;
  int64_t bytes = 0;
  absl::Status status;
};

struct VerifyReport {
  std::string path;
  absl::Status manifest;  // DataLoss if damaged; then nothing below is filled
  int64_t step = 0;
  std::vector<FileVerdict> files;    // in the order of the manifest
  std::vector<std::string> damaged;  // tensors ("model/a") and blobs ("blobs/x"), each once
  int64_t chunks = 0;                // chunk checksums recomputed
  int64_t bytes = 0;                 // of all files
  // OK, or the first error.
  absl::Status status() const;
};

// Recomputes every checksum of the checkpoint in folder `path`: the seal, each file's (model.h5
// included), each chunk's.
VerifyReport VerifyCheckpoint(const std::string& path);

}  // namespace choir
