// The manifest of a checkpoint: what it holds, where each byte is, and the checksums that prove it.
//
// manifest.json is one JSON object whose last member is "seal": the XXH3-128 of all bytes before
// it. Other members: format, version, step, code_version, config (text), state, chunk_bytes,
//   files    [{name, bytes, xxh3_128}]
//   tensors  [{name, dtype, shape, pieces: [{start, count, file, dataset, offset, bytes,
//   xxh3_64}]}] blobs    [{name, data: {file, dataset, offset, bytes, xxh3_64}}]
// A tensor is a list of boxes ("pieces") that tile it exactly; each box is one contiguous dataset,
// row-major, of one shard file. `offset` is where its bytes start in that file, so that they can be
// checked without HDF5. `xxh3_64` is the checksums of its chunks of chunk_bytes (the last may be
// shorter), 16 hexadecimal digits each, in one string. A tensor or blob without bytes is not
// stored: no pieces, no data. A scalar has shape [] and one piece with empty start and count. The
// seal finds damage, not malice: every field is checked as if written by an enemy.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "base/hash.h"
#include "tensor/dtype.h"
#include "tensor/shape.h"

namespace choir {

inline constexpr int64_t kFormatVersion = 1;
inline constexpr int64_t kChunkBytes = int64_t{4} << 20;

// Bounds of what is accepted.
inline constexpr int64_t kMaxManifestBytes = int64_t{256} << 20;
inline constexpr size_t kMaxFiles = 100'000;
inline constexpr size_t kMaxTensors = 1'000'000;
inline constexpr size_t kMaxPieces = 4'000'000;  // of all tensors
inline constexpr size_t kMaxBlobs = 100'000;

struct FileRecord {
  std::string name;  // a shard or the model view
  int64_t bytes = 0;
  Hash128 hash;
};

// Where a contiguous run of bytes is stored.
struct StoredBytes {
  int file = -1;        // index into Manifest::files; -1 if there are no bytes
  std::string dataset;  // path in the HDF5 file, without leading slash
  int64_t offset = 0;   // in the file
  int64_t bytes = 0;
  std::vector<uint64_t> checksums;  // XXH3-64 of each chunk
};

struct TensorPiece {
  std::vector<int64_t> start;  // in the global tensor
  std::vector<int64_t> count;
  StoredBytes data;
};

struct TensorRecord {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;  // global
  std::vector<TensorPiece> pieces;
};

struct BlobRecord {
  std::string name;
  StoredBytes data;
};

struct Manifest {
  int64_t step = 0;
  std::string code_version;
  std::string config;
  nlohmann::json state;
  int64_t chunk_bytes = kChunkBytes;
  std::vector<FileRecord> files;
  std::vector<TensorRecord> tensors;
  std::vector<BlobRecord> blobs;

  int64_t TensorBytes() const;
};

// A published checkpoint: its folder and what its manifest says.
struct Checkpoint {
  std::string path;
  Manifest manifest;
};

// The sealed text. The manifest must be valid (ValidateManifest).
std::string SerializeManifest(const Manifest& manifest);

// Checks seal, syntax, bounds and every rule of ValidateManifest. DataLoss if anything is wrong,
// FailedPrecondition for a format version that this program does not know. The message has no path.
absl::StatusOr<Manifest> ParseManifest(std::string_view text);

// DataLoss unless names are allowed and unique, files are referred to by valid indices, sizes and
// boxes fit without overflow, byte ranges lie within their files without overlap, each piece has as
// many checksums as chunks, and the pieces of each tensor tile it exactly.
absl::Status ValidateManifest(const Manifest& manifest);

// Checksums of the chunks of `bytes`.
std::vector<uint64_t> ChunkChecksums(std::span<const std::byte> bytes, int64_t chunk_bytes);

}  // namespace choir
