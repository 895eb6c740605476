// The rules of a valid manifest (checkpoint/manifest.h: ValidateManifest).
#include <algorithm>
#include <numeric>
#include <set>
#include <string>

#include "base/status.h"
#include "base/strings.h"
#include "checkpoint/manifest.h"
#include "checkpoint/names.h"

namespace choir {
namespace {

// Bounds the work that a hostile manifest can cause; a million pieces in a grid stay far below.
constexpr int64_t kMaxComparisons = 200'000'000;

absl::Status Refused(std::string_view what) { return absl::DataLossError(StrCat(what)); }

absl::Status CheckNameOf(std::string_view kind, std::string_view name) {
  const absl::Status status = CheckName(name);
  if (status.ok()) return status;
  return Refused(StrCat(kind, " ", std::string(status.message())));
}

absl::Status CheckFiles(const Manifest& manifest) {
  std::set<std::string_view> names;
  for (const FileRecord& file : manifest.files) {
    if (!IsShardName(file.name) && file.name != kModelView) {
      return Refused(StrCat("file name \"", file.name.substr(0, 64), "\" is not allowed"));
    }
    if (!names.insert(file.name).second) return Refused(StrCat(file.name, ": is listed twice"));
    if (file.bytes < 0) return Refused(StrCat(file.name, ": has a negative size"));
  }
  return absl::OkStatus();
}

absl::Status CheckStored(const Manifest& manifest, const StoredBytes& data, const std::string& who,
                         int64_t bytes) {
  if (data.file < 0 || data.file >= static_cast<int>(manifest.files.size())) {
    return Refused(StrCat(who, ": is in an unlisted file"));
  }
  const FileRecord& file = manifest.files[static_cast<size_t>(data.file)];
  if (!IsShardName(file.name)) return Refused(StrCat(who, ": is in ", file.name, ", not a shard"));
  RETURN_IF_ERROR(CheckNameOf("dataset", data.dataset));
  if (data.bytes != bytes || bytes <= 0) {
    return Refused(StrCat(who, ": ", data.bytes, " bytes are stored, ", bytes, " expected"));
  }
  if (data.offset < 0 || data.bytes > file.bytes || data.offset > file.bytes - data.bytes) {
    return Refused(StrCat(who, ": lies outside ", file.name));
  }
  const int64_t chunks = (bytes - 1) / manifest.chunk_bytes + 1;
  if (static_cast<int64_t>(data.checksums.size()) != chunks) {
    return Refused(
        StrCat(who, ": has ", data.checksums.size(), " checksums for ", chunks, " chunks"));
  }
  return absl::OkStatus();
}

bool Overlap(const TensorPiece& a, const TensorPiece& b) {
  for (size_t d = 0; d < a.start.size(); ++d) {
    if (a.start[d] + a.count[d] <= b.start[d] || b.start[d] + b.count[d] <= a.start[d]) {
      return false;
    }
  }
  return true;
}

// The dim along which the pieces have the most different starts: sorting by it leaves the fewest
// pairs to compare.
size_t SweepDim(const TensorRecord& tensor) {
  size_t best = 0, most = 0;
  for (size_t d = 0; d < static_cast<size_t>(tensor.shape.rank()); ++d) {
    std::set<int64_t> starts;
    for (const TensorPiece& piece : tensor.pieces) starts.insert(piece.start[d]);
    if (starts.size() > most) {
      most = starts.size();
      best = d;
    }
  }
  return best;
}

absl::Status CheckDisjoint(const TensorRecord& tensor, const std::string& who,
                           int64_t& comparisons) {
  if (tensor.pieces.size() < 2) return absl::OkStatus();
  // Two non-empty pieces of a scalar are the same element.
  if (tensor.shape.rank() == 0) return Refused(StrCat(who, ": pieces overlap"));
  const size_t d = SweepDim(tensor);
  std::vector<const TensorPiece*> order;
  for (const TensorPiece& piece : tensor.pieces) order.push_back(&piece);
  std::sort(order.begin(), order.end(),
            [d](const TensorPiece* a, const TensorPiece* b) { return a->start[d] < b->start[d]; });
  for (size_t i = 0; i < order.size(); ++i) {
    const int64_t end = order[i]->start[d] + order[i]->count[d];
    for (size_t j = i + 1; j < order.size() && order[j]->start[d] < end; ++j) {
      if (++comparisons > kMaxComparisons) return Refused("has too many interleaved pieces");
      if (Overlap(*order[i], *order[j])) return Refused(StrCat(who, ": pieces overlap"));
    }
  }
  return absl::OkStatus();
}

// Pieces lie inside the tensor, are disjoint, and their sizes add up to it: so they tile it.
absl::Status CheckPieces(const Manifest& manifest, const TensorRecord& tensor,
                         int64_t& comparisons) {
  const std::string who = StrCat("tensor \"", tensor.name, "\"");
  const size_t rank = static_cast<size_t>(tensor.shape.rank());
  const int64_t total = tensor.shape.NumElements();
  int64_t covered = 0;
  for (const TensorPiece& piece : tensor.pieces) {
    if (piece.start.size() != rank || piece.count.size() != rank) {
      return Refused(StrCat(who, ": a piece has another number of dims"));
    }
    int64_t elements = 1;
    for (size_t d = 0; d < rank; ++d) {
      const int64_t size = tensor.shape.dims()[d];
      if (piece.start[d] < 0 || piece.count[d] <= 0 || piece.count[d] > size ||
          piece.start[d] > size - piece.count[d]) {
        return Refused(StrCat(who, ": a piece lies outside ", tensor.shape.ToString()));
      }
      elements *= piece.count[d];  // at most `total`
    }
    RETURN_IF_ERROR(CheckStored(manifest, piece.data, who, elements * SizeOf(tensor.dtype)));
    if (elements > total - covered) return Refused(StrCat(who, ": pieces overlap"));
    covered += elements;
  }
  if (covered != total) {
    return Refused(StrCat(who, ": pieces hold ", covered, " of ", total, " elements"));
  }
  return CheckDisjoint(tensor, who, comparisons);
}

// Each byte of a file belongs to at most one dataset, each dataset to one piece or blob.
absl::Status CheckFileRanges(const Manifest& manifest) {
  std::vector<const StoredBytes*> all;
  for (const TensorRecord& tensor : manifest.tensors) {
    for (const TensorPiece& piece : tensor.pieces) all.push_back(&piece.data);
  }
  for (const BlobRecord& blob : manifest.blobs) {
    if (blob.data.bytes > 0) all.push_back(&blob.data);
  }
  std::sort(all.begin(), all.end(), [](const StoredBytes* a, const StoredBytes* b) {
    return std::pair(a->file, a->offset) < std::pair(b->file, b->offset);
  });
  std::set<std::pair<int, std::string_view>> datasets;
  for (size_t i = 0; i < all.size(); ++i) {
    if (i > 0 && all[i]->file == all[i - 1]->file &&
        all[i - 1]->offset + all[i - 1]->bytes > all[i]->offset) {
      return Refused(StrCat("datasets \"", all[i - 1]->dataset, "\" and \"", all[i]->dataset,
                            "\" overlap in their file"));
    }
    if (!datasets.emplace(all[i]->file, all[i]->dataset).second) {
      return Refused(StrCat("dataset \"", all[i]->dataset, "\" is used twice"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ValidateManifest(const Manifest& manifest) {
  if (manifest.step < 0 || manifest.step > kMaxStep) return Refused("step is out of range");
  if (manifest.chunk_bytes < 1 || manifest.chunk_bytes > (int64_t{1} << 30)) {
    return Refused("chunk_bytes is out of range");
  }
  RETURN_IF_ERROR(CheckFiles(manifest));
  std::set<std::string_view> names;
  int64_t comparisons = 0;
  int64_t total = 0;
  for (const TensorRecord& tensor : manifest.tensors) {
    RETURN_IF_ERROR(CheckNameOf("tensor", tensor.name));
    if (!names.insert(tensor.name).second) {
      return Refused(StrCat("tensor \"", tensor.name, "\" is listed twice"));
    }
    RETURN_IF_ERROR(CheckPieces(manifest, tensor, comparisons));
    const int64_t bytes = tensor.shape.NumElements() * SizeOf(tensor.dtype);
    if (bytes > INT64_MAX - total) return Refused("tensors are too large");
    total += bytes;
  }
  std::set<std::string_view> blob_names;
  for (const BlobRecord& blob : manifest.blobs) {
    RETURN_IF_ERROR(CheckNameOf("blob", blob.name));
    if (!blob_names.insert(blob.name).second) {
      return Refused(StrCat("blob \"", blob.name, "\" is listed twice"));
    }
    if (blob.data.file < 0 && blob.data.bytes == 0) continue;
    RETURN_IF_ERROR(
        CheckStored(manifest, blob.data, StrCat("blob \"", blob.name, "\""), blob.data.bytes));
  }
  return CheckFileRanges(manifest);
}

}  // namespace choir
