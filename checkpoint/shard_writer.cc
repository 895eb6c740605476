#include "checkpoint/shard_writer.h"

#include <functional>
#include <future>
#include <utility>

#include "base/status.h"
#include "base/strings.h"
#include "checkpoint/hdf5_file.h"
#include "checkpoint/integrity.h"
#include "checkpoint/names.h"
#include "checkpoint/raw_file.h"

namespace choir {
namespace {

// Flushes the complete file to disk through `opened`; while the disk works, hashes it and runs
// `check`.
absl::StatusOr<FileRecord> FinishFile(const std::string& folder, const RawFile& opened,
                                      const std::function<absl::Status(const RawFile&)>& check) {
  std::future<absl::Status> flushed =
      std::async(std::launch::async, [&opened] { return opened.Sync(); });
  const std::string name = opened.path().substr(folder.size() + 1);
  ASSIGN_OR_RETURN(const RawFile file, RawFile::Open(folder, name));
  const absl::StatusOr<Hash128> hash = file.Hash();
  const absl::Status checked = check(file);
  RETURN_IF_ERROR(flushed.get());
  RETURN_IF_ERROR(hash.status());
  RETURN_IF_ERROR(checked);
  return FileRecord{name, file.size(), *hash};
}

std::vector<int64_t> Dims(const Shape& shape) { return {shape.dims().begin(), shape.dims().end()}; }

absl::StatusOr<StoredBytes> WriteBytes(Hdf5Writer& out, const Hdf5Dataset& dataset,
                                       std::span<const std::byte> bytes) {
  StoredBytes stored;
  stored.file = 0;
  stored.dataset = dataset.name;
  stored.bytes = static_cast<int64_t>(bytes.size());
  stored.checksums = ChunkChecksums(bytes, kChunkBytes);
  ASSIGN_OR_RETURN(stored.offset, out.Write(dataset, bytes.data()));
  return stored;
}

absl::StatusOr<TensorRecord> WriteTensor(Hdf5Writer& out, const NamedTensor& named) {
  const Tensor& tensor = named.tensor;
  TensorRecord record{named.name, tensor.dtype(), tensor.shape(), {}};
  if (tensor.bytes() == 0) return record;
  Tensor host = tensor;
  if (tensor.device() != Device::kCpu) {
    host =
        Tensor::Empty(tensor.shape(), {tensor.dtype(), Device::kCpu, MemoryCategory::kWorkspace});
    host.CopyFrom(tensor);
  }
  TensorPiece piece;
  piece.count = Dims(tensor.shape());
  piece.start.assign(piece.count.size(), 0);
  ASSIGN_OR_RETURN(piece.data, WriteBytes(out, {named.name, tensor.dtype(), piece.count},
                                          {static_cast<const std::byte*>(host.raw()),
                                           static_cast<size_t>(host.bytes())}));
  record.pieces.push_back(std::move(piece));
  return record;
}

// The bytes now in the file are those that were given.
absl::Status CheckWritten(const RawFile& file, const ShardRecords& records) {
  const auto check = [&](std::string_view name, const StoredBytes& data) -> absl::Status {
    ASSIGN_OR_RETURN(const std::vector<int64_t> bad, DamagedChunks(file, data, kChunkBytes));
    if (bad.empty()) return absl::OkStatus();
    return absl::DataLossError(StrCat(file.path(), ": \"", name,
                                      "\" changed while it was written: either its owner wrote "
                                      "to it during the save, or memory or disk are faulty"));
  };
  for (const TensorRecord& tensor : records.tensors) {
    for (const TensorPiece& piece : tensor.pieces) RETURN_IF_ERROR(check(tensor.name, piece.data));
  }
  for (const BlobRecord& blob : records.blobs) {
    if (blob.data.bytes > 0) RETURN_IF_ERROR(check(blob.name, blob.data));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ShardRecords> WriteShard(const std::string& folder, int writer,
                                        std::span<const NamedTensor> tensors,
                                        const std::map<std::string, std::string>& blobs) {
  const std::string name = ShardName(writer);
  ShardRecords records;
  ASSIGN_OR_RETURN(const std::unique_ptr<Hdf5Writer> out,
                   Hdf5Writer::Create(StrCat(folder, "/", name)));
  // Opened before the first byte, so that its flush reports every failed write-back since.
  ASSIGN_OR_RETURN(const RawFile opened, RawFile::Open(folder, name));
  for (const NamedTensor& tensor : tensors) {
    ASSIGN_OR_RETURN(TensorRecord record, WriteTensor(*out, tensor));
    for (const TensorPiece& piece : record.pieces)
      opened.StartSync(piece.data.offset, piece.data.bytes);
    records.tensors.push_back(std::move(record));
  }
  for (const auto& [blob_name, bytes] : blobs) {
    BlobRecord record{blob_name, {}};
    if (!bytes.empty()) {
      const Hdf5Dataset dataset{
          StrCat(kBlobPrefix, blob_name), std::nullopt, {static_cast<int64_t>(bytes.size())}};
      ASSIGN_OR_RETURN(record.data, WriteBytes(*out, dataset, std::as_bytes(std::span(bytes))));
    }
    records.blobs.push_back(std::move(record));
  }
  RETURN_IF_ERROR(out->Close());
  ASSIGN_OR_RETURN(records.file, FinishFile(folder, opened, [&](const RawFile& written) {
                     return CheckWritten(written, records);
                   }));
  return records;
}

absl::StatusOr<FileRecord> WriteModelView(const std::string& folder, const Manifest& manifest) {
  const std::string name(kModelView);
  ASSIGN_OR_RETURN(const std::unique_ptr<Hdf5Writer> out,
                   Hdf5Writer::Create(StrCat(folder, "/", name)));
  ASSIGN_OR_RETURN(const RawFile opened, RawFile::Open(folder, name));
  for (const TensorRecord& tensor : manifest.tensors) {
    if (!tensor.name.starts_with(kModelPrefix)) continue;
    std::vector<Hdf5Source> sources;
    for (const TensorPiece& piece : tensor.pieces) {
      sources.push_back({manifest.files[static_cast<size_t>(piece.data.file)].name,
                         piece.data.dataset, piece.start, piece.count});
    }
    RETURN_IF_ERROR(out->WriteVirtual(
        {tensor.name.substr(kModelPrefix.size()), tensor.dtype, Dims(tensor.shape)}, sources));
  }
  RETURN_IF_ERROR(out->Close());
  return FinishFile(folder, opened, [](const RawFile&) { return absl::OkStatus(); });
}

}  // namespace choir
