#include "checkpoint/load.h"

#include <cstring>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "base/status.h"
#include "base/strings.h"
#include "checkpoint/hdf5_file.h"
#include "checkpoint/integrity.h"
#include "checkpoint/names.h"

namespace choir {
namespace {

// One target and where its elements are.
struct Request {
  const TensorRecord* record;
  Tensor target;
};

std::string Describe(DType dtype, const Shape& shape) {
  return StrCat(Name(dtype), " ", shape.ToString());
}

absl::StatusOr<std::vector<Request>> MatchTargets(const Checkpoint& checkpoint,
                                                  std::span<NamedTensor> targets, bool strict) {
  std::map<std::string_view, const TensorRecord*> saved;
  for (const TensorRecord& tensor : checkpoint.manifest.tensors) saved[tensor.name] = &tensor;
  std::vector<Request> requests;
  std::set<std::string_view> wanted;
  std::string problems;
  for (const NamedTensor& target : targets) {
    CHECK(target.tensor.defined()) << target.name;
    CHECK(target.tensor.device() != Device::kMeta) << target.name;
    CHECK(wanted.insert(target.name).second) << target.name << " is asked for twice";
    const auto found = saved.find(target.name);
    if (found == saved.end()) {
      problems += StrCat("\n  missing in the checkpoint: ", target.name, " ",
                         Describe(target.tensor.dtype(), target.tensor.shape()));
      continue;
    }
    const TensorRecord& record = *found->second;
    if (record.dtype != target.tensor.dtype() || record.shape != target.tensor.shape()) {
      problems += StrCat("\n  mismatch: ", target.name, " is ",
                         Describe(record.dtype, record.shape), " in the checkpoint, ",
                         Describe(target.tensor.dtype(), target.tensor.shape()), " in this run");
      continue;
    }
    requests.push_back({&record, target.tensor});
  }
  for (const auto& [name, record] : saved) {
    if (!strict || wanted.contains(name)) continue;
    problems += StrCat("\n  unexpected in the checkpoint: ", name, " ",
                       Describe(record->dtype, record->shape));
  }
  if (problems.empty()) return requests;
  return absl::FailedPreconditionError(
      StrCat(checkpoint.path, ": its tensors are not those of this run:", problems));
}

// The verified files of one load, opened on first use.
class Shards {
 public:
  explicit Shards(const Checkpoint& checkpoint) : checkpoint_(checkpoint) {}

  // Verifies the given files without HDF5; all damaged ones are reported together.
  absl::Status Verify(const std::set<int>& files) {
    std::string problems;
    for (const int file : files) {
      const absl::Status status = CheckFile(checkpoint_, file);
      if (!status.ok() && !absl::IsDataLoss(status)) return status;
      if (status.ok()) continue;
      problems += StrCat(problems.empty() ? "" : "\n", std::string(status.message()));
    }
    if (problems.empty()) return absl::OkStatus();
    return absl::DataLossError(problems);
  }

  absl::Status Read(const std::string& name, const Hdf5Dataset& dataset, const StoredBytes& data,
                    void* out) {
    std::unique_ptr<Hdf5Reader>& reader = readers_[data.file];
    const std::string path = StrCat(
        checkpoint_.path, "/", checkpoint_.manifest.files[static_cast<size_t>(data.file)].name);
    if (reader == nullptr) {
      ASSIGN_OR_RETURN(reader, Hdf5Reader::Open(path));
    }
    RETURN_IF_ERROR(reader->Read(dataset, data.offset, out));
    const std::span<const std::byte> bytes(static_cast<const std::byte*>(out),
                                           static_cast<size_t>(data.bytes));
    if (ChunkChecksums(bytes, checkpoint_.manifest.chunk_bytes) == data.checksums) {
      return absl::OkStatus();
    }
    return absl::DataLossError(
        StrCat(path, ": \"", name, "\" changed while it was read; targets are undefined"));
  }

 private:
  const Checkpoint& checkpoint_;
  std::map<int, std::unique_ptr<Hdf5Reader>> readers_;
};

// Copies a box, row-major in `from`, into its place in the row-major tensor `to` of `shape`.
void CopyBox(const TensorPiece& piece, const Shape& shape, int64_t element, const std::byte* from,
             std::byte* to) {
  const int rank = shape.rank();
  std::vector<int64_t> index(piece.count.size(), 0);
  const int64_t run = (rank == 0 ? 1 : piece.count.back()) * element;
  while (true) {
    int64_t position = 0;
    for (size_t d = 0; d < index.size(); ++d) {
      position = position * shape.dims()[d] + piece.start[d] + index[d];
    }
    std::memcpy(to + position * element, from, static_cast<size_t>(run));
    from += run;
    int d = rank - 2;
    while (d >= 0 && ++index[static_cast<size_t>(d)] == piece.count[static_cast<size_t>(d)]) {
      index[static_cast<size_t>(d--)] = 0;
    }
    if (d < 0) return;
  }
}

absl::Status ReadTensor(Shards& shards, const Request& request) {
  const TensorRecord& record = *request.record;
  const TensorOptions scratch{record.dtype, Device::kCpu, MemoryCategory::kWorkspace};
  const bool on_host = request.target.device() == Device::kCpu;
  const Tensor host = on_host ? request.target : Tensor::Empty(record.shape, scratch);
  for (const TensorPiece& piece : record.pieces) {
    const Hdf5Dataset dataset{piece.data.dataset, record.dtype, piece.count};
    const bool whole = piece.data.bytes == host.bytes();
    const Tensor box = whole ? host : Tensor::Empty(Shape(piece.count), scratch);
    RETURN_IF_ERROR(shards.Read(record.name, dataset, piece.data, box.raw()));
    if (whole) continue;
    CopyBox(piece, record.shape, SizeOf(record.dtype), static_cast<const std::byte*>(box.raw()),
            static_cast<std::byte*>(host.raw()));
  }
  if (!on_host) request.target.CopyFrom(host);
  return absl::OkStatus();
}

}  // namespace

absl::Status LoadTensors(const Checkpoint& checkpoint, std::span<NamedTensor> targets,
                         const LoadOptions& options) {
  ASSIGN_OR_RETURN(const std::vector<Request> requests,
                   MatchTargets(checkpoint, targets, options.strict));
  std::set<int> files;
  for (const Request& request : requests) {
    for (const TensorPiece& piece : request.record->pieces) files.insert(piece.data.file);
  }
  Shards shards(checkpoint);
  RETURN_IF_ERROR(shards.Verify(files));
  for (const Request& request : requests) RETURN_IF_ERROR(ReadTensor(shards, request));
  return absl::OkStatus();
}

struct TensorReader::Impl {
  Shards shards;
};

TensorReader::TensorReader(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TensorReader::~TensorReader() = default;
TensorReader::TensorReader(TensorReader&&) noexcept = default;

absl::StatusOr<TensorReader> TensorReader::Open(const Checkpoint& checkpoint) {
  std::set<int> files;
  for (const TensorRecord& tensor : checkpoint.manifest.tensors) {
    for (const TensorPiece& piece : tensor.pieces) files.insert(piece.data.file);
  }
  auto impl = std::make_unique<Impl>(Impl{Shards(checkpoint)});
  RETURN_IF_ERROR(impl->shards.Verify(files));
  return TensorReader(std::move(impl));
}

absl::StatusOr<Tensor> TensorReader::Read(const TensorRecord& record) {
  const TensorOptions options{record.dtype, Device::kCpu, MemoryCategory::kWorkspace};
  const Tensor tensor = Tensor::Empty(record.shape, options);
  RETURN_IF_ERROR(ReadTensor(impl_->shards, {&record, tensor}));
  return tensor;
}

absl::StatusOr<std::map<std::string, std::string>> LoadBlobs(const Checkpoint& checkpoint) {
  std::set<int> files;
  for (const BlobRecord& blob : checkpoint.manifest.blobs) {
    if (blob.data.bytes > 0) files.insert(blob.data.file);
  }
  Shards shards(checkpoint);
  RETURN_IF_ERROR(shards.Verify(files));
  std::map<std::string, std::string> blobs;
  for (const BlobRecord& blob : checkpoint.manifest.blobs) {
    std::string& bytes = blobs[blob.name];
    if (blob.data.bytes == 0) continue;
    bytes.resize(static_cast<size_t>(blob.data.bytes));
    const Hdf5Dataset dataset{blob.data.dataset, std::nullopt, {blob.data.bytes}};
    RETURN_IF_ERROR(shards.Read(StrCat(kBlobPrefix, blob.name), dataset, blob.data, bytes.data()));
  }
  return blobs;
}

}  // namespace choir
