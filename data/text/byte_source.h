// The bytes of a file, one after another, unpacked: plain, gzip (RFC 1952) or zstd (RFC 8878).
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace choir {

enum class Compression { kNone, kGzip, kZstd };

// By the file's first bytes; a name that ends in .gz or .zst decides first.
absl::StatusOr<Compression> CompressionOf(const std::string& path);

// Holds a few hundred kilobytes, and for zstd the window of the frame (at most 128 MiB).
class ByteSource {
 public:
  virtual ~ByteSource() = default;

  // Fills up to `size` bytes; 0 only at the end. Compressed files may have several members or
  // frames. DataLoss that names the file and how far it got if it is cut off or damaged; never
  // InvalidArgument.
  virtual absl::StatusOr<size_t> Read(char* buffer, size_t size) = 0;
};

absl::StatusOr<std::unique_ptr<ByteSource>> OpenBytes(const std::string& path);

// Bytes [begin, end) of a plain file; to its end if `end` is negative.
absl::StatusOr<std::unique_ptr<ByteSource>> OpenPlainBytes(const std::string& path, int64_t begin,
                                                           int64_t end);

// The unpacked bytes of compressed ones in memory; `name` stands in errors.
std::unique_ptr<ByteSource> UnpackMemory(const std::string& name, Compression compression,
                                         std::string_view bytes);

}  // namespace choir
