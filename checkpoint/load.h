// Reading a published checkpoint (checkpoint_list.h finds it) into memory.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "checkpoint/contents.h"
#include "checkpoint/manifest.h"

namespace choir {

struct LoadOptions {
  // Strict: the checkpoint must hold exactly the targets. Otherwise it may hold more (generation
  // wants the model without the optimizer); what a target asks for must be there in any case.
  bool strict = true;
};

// Fills every target with the saved bits. A target has the tensor's name, global shape and dtype.
//
// Before anything is written: FailedPrecondition if the sets of tensors differ, listing all
// missing, unexpected and mismatched ones; then every file with a piece of a target is verified
// against size and checksum, DataLoss names all damaged ones and what is lost with them. Only then
// are they opened with HDF5. The bytes read are checked once more; if that fails (DataLoss: the
// file changed meanwhile) the targets are undefined.
absl::Status LoadTensors(const Checkpoint& checkpoint, std::span<NamedTensor> targets,
                         const LoadOptions& options = {});

// Tensors of one checkpoint, one after another.
class TensorReader {
 public:
  // Verifies every file that holds a piece of a tensor, as LoadTensors does. The checkpoint must
  // outlive the reader.
  static absl::StatusOr<TensorReader> Open(const Checkpoint& checkpoint);
  ~TensorReader();
  TensorReader(TensorReader&&) noexcept;
  // The whole tensor, in host memory.
  absl::StatusOr<Tensor> Read(const TensorRecord& record);

 private:
  struct Impl;
  explicit TensorReader(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// All blobs by name; errors as above.
absl::StatusOr<std::map<std::string, std::string>> LoadBlobs(const Checkpoint& checkpoint);

}  // namespace choir
