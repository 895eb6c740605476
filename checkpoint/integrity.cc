#include "checkpoint/integrity.h"

#include <algorithm>
#include <set>
#include <utility>

#include "base/status.h"
#include "base/strings.h"
#include "checkpoint/checkpoint_list.h"
#include "checkpoint/names.h"

namespace choir {
namespace {

constexpr size_t kMaxNamed = 20;  // tensors named in one message

const FileRecord& Record(const Checkpoint& checkpoint, int file) {
  return checkpoint.manifest.files[static_cast<size_t>(file)];
}

// Calls f(name, bytes) for everything stored in a file.
template <class F>
void ForEachStored(const Manifest& manifest, int file, F&& f) {
  for (const TensorRecord& tensor : manifest.tensors) {
    for (const TensorPiece& piece : tensor.pieces) {
      if (piece.data.file == file) f(tensor.name, piece.data);
    }
  }
  for (const BlobRecord& blob : manifest.blobs) {
    if (blob.data.file == file) f(StrCat(kBlobPrefix, blob.name), blob.data);
  }
}

// What a damaged file costs.
struct Losses {
  std::vector<std::string> names;
  size_t stored = 0;   // datasets in the file
  int64_t chunks = 0;  // of all datasets
  int64_t bad_chunks = 0;
};

absl::StatusOr<Losses> FindLosses(const Checkpoint& checkpoint, int index, const RawFile& file) {
  Losses losses;
  absl::Status status;
  ForEachStored(checkpoint.manifest, index, [&](const std::string& name, const StoredBytes& data) {
    const auto bad = DamagedChunks(file, data, checkpoint.manifest.chunk_bytes);
    if (!bad.ok()) {
      status.Update(bad.status());
      return;
    }
    ++losses.stored;
    losses.chunks += static_cast<int64_t>(data.checksums.size());
    losses.bad_chunks += static_cast<int64_t>(bad->size());
    if (bad->empty()) return;
    if (losses.names.empty() || losses.names.back() != name) losses.names.push_back(name);
  });
  RETURN_IF_ERROR(status);
  return losses;
}

std::vector<std::string> AllNames(const Manifest& manifest, int file) {
  std::vector<std::string> names;
  ForEachStored(manifest, file, [&](const std::string& name, const StoredBytes&) {
    if (names.empty() || names.back() != name) names.push_back(name);
  });
  return names;
}

std::string Enumerate(const std::vector<std::string>& names) {
  std::string text;
  for (size_t i = 0; i < std::min(names.size(), kMaxNamed); ++i) {
    text += StrCat(i == 0 ? "" : ", ", names[i]);
  }
  if (names.size() > kMaxNamed) text += StrCat(" and ", names.size() - kMaxNamed, " more");
  return text.empty() ? "nothing" : text;
}

// A verdict and the names of what is lost.
struct FileCheck {
  absl::Status status;
  std::vector<std::string> lost;
};

FileCheck Lost(const std::string& path, std::string_view what, std::vector<std::string> names) {
  absl::Status status =
      absl::DataLossError(StrCat(path, ": ", what, "; lost with it: ", Enumerate(names)));
  return {std::move(status), std::move(names)};
}

FileCheck Examine(const Checkpoint& checkpoint, int index) {
  const Manifest& manifest = checkpoint.manifest;
  const FileRecord& record = Record(checkpoint, index);
  const std::string path = StrCat(checkpoint.path, "/", record.name);
  const absl::StatusOr<RawFile> file = RawFile::Open(checkpoint.path, record.name);
  if (absl::IsNotFound(file.status())) {
    return Lost(path, "is missing", AllNames(manifest, index));
  }
  if (absl::IsFailedPrecondition(file.status())) {
    return Lost(path, "is not a regular file", AllNames(manifest, index));
  }
  if (!file.ok()) return {file.status(), {}};
  const absl::StatusOr<Hash128> hash = file->Hash();
  if (!hash.ok()) return {hash.status(), AllNames(manifest, index)};
  if (file->size() == record.bytes && *hash == record.hash) return {};
  absl::StatusOr<Losses> losses = FindLosses(checkpoint, index, *file);
  if (!losses.ok()) return {losses.status(), AllNames(manifest, index)};
  if (losses->stored > 0 && losses->bad_chunks == losses->chunks) {
    return Lost(path,
                StrCat("is another file than the one saved (", file->size(), " bytes, ",
                       record.bytes, " saved): no chunk matches its checksum"),
                std::move(losses->names));
  }
  if (file->size() != record.bytes) {
    const std::string_view verb = file->size() < record.bytes ? "is truncated" : "has grown";
    const std::string what = StrCat(verb, " to ", file->size(), " bytes of ", record.bytes);
    // Without its HDF5 structure, or with bytes of unknown origin, the rest is not read either.
    if (losses->names.empty()) {
      return Lost(path, what + " (HDF5 structure)", AllNames(manifest, index));
    }
    return Lost(path, what, std::move(losses->names));
  }
  if (losses->names.empty()) {
    return Lost(path, "checksum differs, damaged in its HDF5 structure", AllNames(manifest, index));
  }
  return Lost(path,
              StrCat("checksum differs, damaged in ", losses->bad_chunks, " of ", losses->chunks,
                     " chunks"),
              std::move(losses->names));
}

}  // namespace

absl::StatusOr<std::vector<int64_t>> DamagedChunks(const RawFile& file, const StoredBytes& data,
                                                   int64_t chunk_bytes) {
  std::vector<int64_t> bad;
  std::vector<std::byte> buffer(static_cast<size_t>(std::min(chunk_bytes, data.bytes)));
  for (size_t i = 0; i < data.checksums.size(); ++i) {
    const int64_t begin = static_cast<int64_t>(i) * chunk_bytes;
    const std::span<std::byte> chunk(
        buffer.data(), static_cast<size_t>(std::min(chunk_bytes, data.bytes - begin)));
    const absl::Status read = file.ReadAt(data.offset + begin, chunk);
    if (!read.ok() && !absl::IsOutOfRange(read)) return read;
    if (!read.ok() || HashOf64(std::span<const std::byte>(chunk)) != data.checksums[i]) {
      bad.push_back(static_cast<int64_t>(i));
    }
  }
  return bad;
}

absl::Status CheckFile(const Checkpoint& checkpoint, int file) {
  return Examine(checkpoint, file).status;
}

absl::Status CheckFileSizes(const Checkpoint& checkpoint) {
  for (size_t i = 0; i < checkpoint.manifest.files.size(); ++i) {
    const FileRecord& record = checkpoint.manifest.files[i];
    if (!IsShardName(record.name)) continue;
    const absl::StatusOr<RawFile> file = RawFile::Open(checkpoint.path, record.name);
    if (file.ok() && file->size() == record.bytes) continue;
    return Examine(checkpoint, static_cast<int>(i)).status;
  }
  return absl::OkStatus();
}

absl::Status VerifyReport::status() const {
  absl::Status first = manifest;
  for (const FileVerdict& file : files) first.Update(file.status);
  return first;
}

VerifyReport VerifyCheckpoint(const std::string& path) {
  VerifyReport report;
  report.path = path;
  const absl::StatusOr<Checkpoint> checkpoint = OpenCheckpoint(path);
  report.manifest = checkpoint.status();
  if (!checkpoint.ok()) return report;
  report.step = checkpoint->manifest.step;
  std::set<std::string> damaged;
  for (size_t i = 0; i < checkpoint->manifest.files.size(); ++i) {
    const FileRecord& record = checkpoint->manifest.files[i];
    const int index = static_cast<int>(i);
    FileCheck check = Examine(*checkpoint, index);
    if (check.status.ok()) {
      // The file is as it was saved; its chunks are those of the manifest unless saving was wrong.
      const auto file = RawFile::Open(checkpoint->path, record.name);
      auto losses =
          file.ok() ? FindLosses(*checkpoint, index, *file) : absl::StatusOr<Losses>(file.status());
      if (!losses.ok()) {
        check.status = losses.status();
      } else {
        report.chunks += losses->chunks;
        if (losses->bad_chunks > 0) {
          check = Lost(StrCat(path, "/", record.name), "chunk checksums differ",
                       std::move(losses->names));
        }
      }
    }
    damaged.insert(check.lost.begin(), check.lost.end());
    report.bytes += record.bytes;
    report.files.push_back({record.name, record.bytes, std::move(check.status)});
  }
  report.damaged.assign(damaged.begin(), damaged.end());
  return report;
}

}  // namespace choir
