// HDF5 as far as checkpoints need it: contiguous datasets without conversion, filters or locking,
// every return code checked. One thread at a time per object.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tensor/dtype.h"

namespace choir {

// Version of the library.
std::string Hdf5Library();

// Names are paths without leading slash; groups on the way are made by the writer.
struct Hdf5Dataset {
  std::string name;
  std::optional<DType> dtype;  // nullopt: bytes
  std::vector<int64_t> dims;   // none: stored as [1]
};

// A box of a virtual dataset and the dataset of another file that holds it.
struct Hdf5Source {
  std::string file;  // relative to the folder of the virtual file
  std::string dataset;
  std::vector<int64_t> start, count;
};

// Writes a new file. After any error the file is worthless and must be removed.
class Hdf5Writer {
 public:
  // The file must not exist. Nothing is flushed to disk: that is the caller's task after Close.
  static absl::StatusOr<std::unique_ptr<Hdf5Writer>> Create(const std::string& path);
  ~Hdf5Writer();

  // Writes row-major elements (BF16 and F16 as custom float types); returns the position of their
  // first byte in the file. The dataset must not be empty.
  absl::StatusOr<int64_t> Write(const Hdf5Dataset& dataset, const void* data);
  // A dataset that shows boxes of other files; what no readable source covers reads as NaN, or as
  // the lowest number where the dtype has no NaN. Bytes are not supported.
  absl::Status WriteVirtual(const Hdf5Dataset& dataset, std::span<const Hdf5Source> sources);
  // Must be called, once; Write and WriteVirtual may not be called after it.
  absl::Status Close();

 private:
  struct State;
  explicit Hdf5Writer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// Reads datasets of a file whose checksum has been verified: the library is not safe on others.
// All errors are DataLoss: the file was good a moment ago, so that only damage or malice explains
// them.
class Hdf5Reader {
 public:
  static absl::StatusOr<std::unique_ptr<Hdf5Reader>> Open(const std::string& path);
  ~Hdf5Reader();

  // Reads the whole dataset into `data`. Refuses a dataset that is not exactly as described:
  // reached by hard links only, contiguous, without filters or external storage, of this type and
  // these dims, its bytes at `offset` of this file.
  absl::Status Read(const Hdf5Dataset& dataset, int64_t offset, void* data) const;

 private:
  struct State;
  explicit Hdf5Reader(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace choir
