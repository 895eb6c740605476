#include "checkpoint/manifest.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "base/status.h"
#include "base/strings.h"
#include "checkpoint/strict_json.h"

namespace choir {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kFormat = "choir-checkpoint";
constexpr std::string_view kSealBegin = "\n\"seal\": \"";
constexpr std::string_view kSealEnd = "\"\n}\n";
constexpr size_t kHash128Digits = 32;
constexpr size_t kHash64Digits = 16;

absl::Status Damaged(std::string_view what) { return absl::DataLossError(StrCat(what)); }

std::optional<uint64_t> ParseHex64(std::string_view digits) {
  if (digits.size() != kHash64Digits) return std::nullopt;
  uint64_t value = 0;
  for (const char c : digits) {
    const bool decimal = c >= '0' && c <= '9';
    if (!decimal && !(c >= 'a' && c <= 'f')) return std::nullopt;
    value = value << 4 | static_cast<uint64_t>(decimal ? c - '0' : c - 'a' + 10);
  }
  return value;
}

// Reads the members of one JSON object; `Done` refuses members that nobody asked for.
class Fields {
 public:
  Fields(const Json& object, std::string where) : object_(object), where_(std::move(where)) {}

  absl::StatusOr<const Json*> Get(const char* key, Json::value_t type) {
    if (!object_.is_object()) return Damaged(StrCat(where_, ": is not an object"));
    const auto found = object_.find(key);
    if (found == object_.end()) return Damaged(StrCat(where_, ": has no \"", key, "\""));
    if (found->type() != type) return Damaged(StrCat(where_, ": \"", key, "\" has a wrong type"));
    ++used_;
    return &*found;
  }
  absl::Status Read(const char* key, std::string& out) {
    ASSIGN_OR_RETURN(const Json* value, Get(key, Json::value_t::string));
    out = value->get_ref<const std::string&>();
    return absl::OkStatus();
  }
  absl::Status Read(const char* key, int64_t& out) {
    ASSIGN_OR_RETURN(const Json* value, Get(key, Json::value_t::number_unsigned));
    const uint64_t number = value->get<uint64_t>();
    if (number > INT64_MAX) return Damaged(StrCat(where_, ": \"", key, "\" is too large"));
    out = static_cast<int64_t>(number);
    return absl::OkStatus();
  }
  // At most kMaxDims numbers.
  absl::Status Read(const char* key, std::vector<int64_t>& out) {
    ASSIGN_OR_RETURN(const Json* value, Get(key, Json::value_t::array));
    if (value->size() > kMaxDims) {
      return Damaged(StrCat(where_, ": \"", key, "\" has more than ", kMaxDims, " dims"));
    }
    for (const Json& item : *value) {
      if (!item.is_number_unsigned() || item.get<uint64_t>() > INT64_MAX) {
        return Damaged(StrCat(where_, ": \"", key, "\" holds something that is not a size"));
      }
      out.push_back(item.get<int64_t>());
    }
    return absl::OkStatus();
  }
  absl::StatusOr<const Json*> Array(const char* key, size_t max_size) {
    ASSIGN_OR_RETURN(const Json* value, Get(key, Json::value_t::array));
    if (value->size() > max_size) {
      return Damaged(StrCat(where_, ": \"", key, "\" has more than ", max_size, " items"));
    }
    return value;
  }
  absl::Status Done() const {
    if (used_ == object_.size()) return absl::OkStatus();
    return Damaged(StrCat(where_, ": has unknown members"));
  }
  const std::string& where() const { return where_; }

 private:
  const Json& object_;
  std::string where_;
  size_t used_ = 0;
};

Json ToJson(const StoredBytes& data, const std::vector<FileRecord>& files) {
  std::string checksums;
  for (const uint64_t checksum : data.checksums) checksums += ToHex(checksum);
  return {{"file", files[static_cast<size_t>(data.file)].name},
          {"dataset", data.dataset},
          {"offset", static_cast<uint64_t>(data.offset)},
          {"bytes", static_cast<uint64_t>(data.bytes)},
          {"xxh3_64", std::move(checksums)}};
}

Json ToJson(const TensorRecord& tensor, const std::vector<FileRecord>& files) {
  Json pieces = Json::array();
  for (const TensorPiece& piece : tensor.pieces) {
    Json item = ToJson(piece.data, files);
    item["start"] = piece.start;
    item["count"] = piece.count;
    pieces.push_back(std::move(item));
  }
  return {{"name", tensor.name},
          {"dtype", Name(tensor.dtype)},
          {"shape", std::vector<int64_t>(tensor.shape.dims().begin(), tensor.shape.dims().end())},
          {"pieces", std::move(pieces)}};
}

// One item a line, so that grep and diff find their way.
template <class Items, class F>
void AppendArray(std::string& text, const char* key, const Items& items, F&& to_json) {
  text += StrCat("\"", key, "\": [");
  const char* separator = "\n";
  for (const auto& item : items) {
    text += std::exchange(separator, ",\n");
    text += to_json(item).dump();
  }
  text += "\n],\n";
}

using FileIndex = std::map<std::string, int, std::less<>>;

absl::Status ReadStored(Fields& fields, const FileIndex& files, StoredBytes& out) {
  std::string file, checksums;
  RETURN_IF_ERROR(fields.Read("file", file));
  RETURN_IF_ERROR(fields.Read("dataset", out.dataset));
  RETURN_IF_ERROR(fields.Read("offset", out.offset));
  RETURN_IF_ERROR(fields.Read("bytes", out.bytes));
  RETURN_IF_ERROR(fields.Read("xxh3_64", checksums));
  const auto found = files.find(file);
  if (found == files.end()) return Damaged(StrCat(fields.where(), ": is in an unlisted file"));
  out.file = found->second;
  if (checksums.size() % kHash64Digits != 0) {
    return Damaged(StrCat(fields.where(), ": \"xxh3_64\" has a wrong length"));
  }
  for (size_t i = 0; i < checksums.size(); i += kHash64Digits) {
    const auto checksum = ParseHex64(std::string_view(checksums).substr(i, kHash64Digits));
    if (!checksum) return Damaged(StrCat(fields.where(), ": \"xxh3_64\" is not hexadecimal"));
    out.checksums.push_back(*checksum);
  }
  return absl::OkStatus();
}

// The product of dims and element size, if it is a sane number of bytes.
absl::Status CheckSize(const std::vector<int64_t>& dims, DType dtype, const std::string& where) {
  constexpr int64_t kMaxBytes = int64_t{1} << 60;
  int64_t bytes = SizeOf(dtype);
  const bool empty = std::find(dims.begin(), dims.end(), 0) != dims.end();
  for (const int64_t dim : dims) {
    if (dim > kMaxBytes || (!empty && bytes > kMaxBytes / dim)) {
      return Damaged(StrCat(where, ": shape is too large"));
    }
    if (!empty) bytes *= dim;
  }
  return absl::OkStatus();
}

absl::StatusOr<TensorRecord> ReadTensor(const Json& object, const FileIndex& files,
                                        size_t& pieces_left) {
  Fields fields(object, "tensor");
  TensorRecord tensor;
  RETURN_IF_ERROR(fields.Read("name", tensor.name));
  const std::string where = StrCat("tensor \"", tensor.name.substr(0, 512), "\"");
  std::string dtype_name;
  RETURN_IF_ERROR(fields.Read("dtype", dtype_name));
  bool known = false;
  for (const DType dtype : {DType::kF64, DType::kF32, DType::kBF16, DType::kF16, DType::kI32}) {
    if (Name(dtype) != dtype_name) continue;
    tensor.dtype = dtype;
    known = true;
  }
  if (!known) return Damaged(StrCat(where, ": unknown dtype"));
  std::vector<int64_t> dims;
  RETURN_IF_ERROR(fields.Read("shape", dims));
  RETURN_IF_ERROR(CheckSize(dims, tensor.dtype, where));
  tensor.shape = Shape(dims);
  ASSIGN_OR_RETURN(const Json* pieces, fields.Array("pieces", pieces_left));
  RETURN_IF_ERROR(fields.Done());
  pieces_left -= pieces->size();
  for (const Json& item : *pieces) {
    Fields piece_fields(item, StrCat("a piece of ", where));
    TensorPiece piece;
    RETURN_IF_ERROR(piece_fields.Read("start", piece.start));
    RETURN_IF_ERROR(piece_fields.Read("count", piece.count));
    RETURN_IF_ERROR(ReadStored(piece_fields, files, piece.data));
    RETURN_IF_ERROR(piece_fields.Done());
    tensor.pieces.push_back(std::move(piece));
  }
  return tensor;
}

absl::StatusOr<FileRecord> ReadFileRecord(const Json& object) {
  Fields fields(object, "file");
  FileRecord file;
  std::string hash;
  RETURN_IF_ERROR(fields.Read("name", file.name));
  RETURN_IF_ERROR(fields.Read("bytes", file.bytes));
  RETURN_IF_ERROR(fields.Read("xxh3_128", hash));
  RETURN_IF_ERROR(fields.Done());
  const std::string_view digits = hash;
  const bool right_length = digits.size() == kHash128Digits;
  const auto high = right_length ? ParseHex64(digits.substr(0, 16)) : std::nullopt;
  const auto low = right_length ? ParseHex64(digits.substr(16)) : std::nullopt;
  if (!high || !low) return Damaged("file: \"xxh3_128\" is not a checksum");
  file.hash = {*high, *low};
  return file;
}

absl::Status CheckSeal(std::string_view text) {
  const size_t trailer = kSealBegin.size() + kHash128Digits + kSealEnd.size();
  const std::string_view seal = text.size() < trailer ? "" : text.substr(text.size() - trailer);
  if (!seal.starts_with(kSealBegin) || !seal.ends_with(kSealEnd)) {
    return Damaged("has no seal at its end (truncated or not a manifest)");
  }
  const std::string_view body = text.substr(0, text.size() - trailer);
  if (ToHex(HashOf128(body)) != seal.substr(kSealBegin.size(), kHash128Digits)) {
    return Damaged("its seal does not match its content (damaged or edited)");
  }
  return absl::OkStatus();
}

}  // namespace

int64_t Manifest::TensorBytes() const {
  int64_t bytes = 0;
  for (const TensorRecord& t : tensors) bytes += t.shape.NumElements() * SizeOf(t.dtype);
  return bytes;
}

std::vector<uint64_t> ChunkChecksums(std::span<const std::byte> bytes, int64_t chunk_bytes) {
  std::vector<uint64_t> checksums;
  while (!bytes.empty()) {
    const auto chunk = bytes.first(std::min(bytes.size(), static_cast<size_t>(chunk_bytes)));
    checksums.push_back(HashOf64(chunk));
    bytes = bytes.subspan(chunk.size());
  }
  return checksums;
}

std::string SerializeManifest(const Manifest& manifest) {
  std::string text = StrCat(
      "{\n\"format\": ", Json(kFormat).dump(), ",\n\"version\": ", kFormatVersion,
      ",\n\"step\": ", manifest.step, ",\n\"code_version\": ", Json(manifest.code_version).dump(),
      ",\n\"config\": ", Json(manifest.config).dump(), ",\n\"state\": ", manifest.state.dump(),
      ",\n\"chunk_bytes\": ", manifest.chunk_bytes, ",\n");
  AppendArray(text, "files", manifest.files, [](const FileRecord& file) -> Json {
    return {{"name", file.name},
            {"bytes", static_cast<uint64_t>(file.bytes)},
            {"xxh3_128", ToHex(file.hash)}};
  });
  AppendArray(text, "tensors", manifest.tensors,
              [&](const TensorRecord& tensor) { return ToJson(tensor, manifest.files); });
  AppendArray(text, "blobs", manifest.blobs, [&](const BlobRecord& blob) -> Json {
    Json item = {{"name", blob.name}};
    if (blob.data.bytes > 0) item["data"] = ToJson(blob.data, manifest.files);
    return item;
  });
  // The line break before "seal" belongs to the trailer.
  text.pop_back();
  const std::string seal = ToHex(HashOf128(text));
  return StrCat(text, kSealBegin, seal, kSealEnd);
}

absl::StatusOr<Manifest> ParseManifest(std::string_view text) {
  if (text.size() > static_cast<size_t>(kMaxManifestBytes)) {
    return Damaged(StrCat("is larger than ", kMaxManifestBytes, " bytes"));
  }
  RETURN_IF_ERROR(CheckSeal(text));
  const absl::StatusOr<Json> root = ParseStrictJson(text);
  if (!root.ok()) return Damaged(root.status().message().data());
  Fields fields(*root, "manifest");
  Manifest manifest;
  std::string format, seal;
  int64_t version = 0;
  RETURN_IF_ERROR(fields.Read("format", format));
  if (format != kFormat) return Damaged("is not a manifest of a checkpoint");
  RETURN_IF_ERROR(fields.Read("version", version));
  if (version != kFormatVersion) {
    return absl::FailedPreconditionError(StrCat("has format version ", version,
                                                ", this program reads version ", kFormatVersion,
                                                ": use the program version that wrote it"));
  }
  RETURN_IF_ERROR(fields.Read("step", manifest.step));
  RETURN_IF_ERROR(fields.Read("code_version", manifest.code_version));
  RETURN_IF_ERROR(fields.Read("config", manifest.config));
  ASSIGN_OR_RETURN(const Json* state, fields.Get("state", Json::value_t::object));
  manifest.state = *state;
  RETURN_IF_ERROR(fields.Read("chunk_bytes", manifest.chunk_bytes));
  RETURN_IF_ERROR(fields.Read("seal", seal));
  ASSIGN_OR_RETURN(const Json* files, fields.Array("files", kMaxFiles));
  ASSIGN_OR_RETURN(const Json* tensors, fields.Array("tensors", kMaxTensors));
  ASSIGN_OR_RETURN(const Json* blobs, fields.Array("blobs", kMaxBlobs));
  RETURN_IF_ERROR(fields.Done());
  FileIndex index;
  for (const Json& item : *files) {
    ASSIGN_OR_RETURN(FileRecord file, ReadFileRecord(item));
    index.emplace(file.name, static_cast<int>(manifest.files.size()));
    manifest.files.push_back(std::move(file));
  }
  size_t pieces_left = kMaxPieces;
  for (const Json& item : *tensors) {
    ASSIGN_OR_RETURN(TensorRecord tensor, ReadTensor(item, index, pieces_left));
    manifest.tensors.push_back(std::move(tensor));
  }
  for (const Json& item : *blobs) {
    Fields blob_fields(item, "blob");
    BlobRecord blob;
    RETURN_IF_ERROR(blob_fields.Read("name", blob.name));
    if (item.contains("data")) {
      ASSIGN_OR_RETURN(const Json* data, blob_fields.Get("data", Json::value_t::object));
      Fields data_fields(*data, StrCat("blob \"", blob.name.substr(0, 512), "\""));
      RETURN_IF_ERROR(ReadStored(data_fields, index, blob.data));
      RETURN_IF_ERROR(data_fields.Done());
    }
    RETURN_IF_ERROR(blob_fields.Done());
    manifest.blobs.push_back(std::move(blob));
  }
  RETURN_IF_ERROR(ValidateManifest(manifest));
  return manifest;
}

}  // namespace choir
