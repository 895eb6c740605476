#include "data/shard/hdf5_shard.h"

#include <fcntl.h>
#include <hdf5.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <nlohmann/json.hpp>

#include "base/check.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/status.h"
#include "base/strings.h"

namespace choir {
namespace {

// HDF5's own clean-up at exit crashes on a file whose write failed.
[[maybe_unused]] const herr_t kNoExitHandler = H5dont_atexit();

constexpr hsize_t kShardAlignment = 64;  // of the datasets in the file, so that the map can be used

// An HDF5 id, closed at the end of its scope.
class Handle {
 public:
  Handle(hid_t id, herr_t (*close)(hid_t)) : id_(id), close_(close) {}
  ~Handle() {
    if (id_ >= 0) close_(id_);
  }
  Handle(const Handle&) = delete;
  hid_t get() const { return id_; }
  bool ok() const { return id_ >= 0; }

 private:
  hid_t id_;
  herr_t (*close_)(hid_t);
};

// The library prints what it fails at unless told not to; we report it in our own words.
void Silence() { H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr); }

template <class T>
hid_t FileType() {
  if constexpr (sizeof(T) == 1) return H5T_STD_U8LE;
  if constexpr (sizeof(T) == 2) return H5T_STD_U16LE;
  if constexpr (sizeof(T) == 4) return H5T_STD_U32LE;
  if constexpr (sizeof(T) == 8) return H5T_STD_U64LE;
}

// Writes one contiguous dataset; false on any failure.
template <class T>
bool WriteArray(hid_t file, const char* name, std::span<const T> values) {
  const hsize_t size = values.size();
  const Handle space(H5Screate_simple(1, &size, nullptr), H5Sclose);
  const Handle plist(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  if (!space.ok() || !plist.ok()) return false;
  // No times: the same documents make the same file.
  if (H5Pset_layout(plist.get(), H5D_CONTIGUOUS) < 0 ||
      H5Pset_alloc_time(plist.get(), H5D_ALLOC_TIME_EARLY) < 0 ||
      H5Pset_obj_track_times(plist.get(), false) < 0) {
    return false;
  }
  const Handle dataset(
      H5Dcreate2(file, name, FileType<T>(), space.get(), H5P_DEFAULT, plist.get(), H5P_DEFAULT),
      H5Dclose);
  return dataset.ok() &&
         H5Dwrite(dataset.get(), FileType<T>(), H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()) >= 0;
}

// Where a dataset lies in the file; false if it is not a contiguous array of T of that size.
template <class T>
bool FindArray(hid_t file, const char* name, uint64_t size, haddr_t& address) {
  const Handle dataset(H5Dopen2(file, name, H5P_DEFAULT), H5Dclose);
  if (!dataset.ok()) return false;
  const Handle type(H5Dget_type(dataset.get()), H5Tclose);
  const Handle space(H5Dget_space(dataset.get()), H5Sclose);
  const Handle plist(H5Dget_create_plist(dataset.get()), H5Pclose);
  hsize_t dim = 0;
  if (!type.ok() || !space.ok() || !plist.ok() || H5Tequal(type.get(), FileType<T>()) <= 0 ||
      H5Sget_simple_extent_ndims(space.get()) != 1 ||
      H5Sget_simple_extent_dims(space.get(), &dim, nullptr) != 1 || dim != size ||
      H5Pget_layout(plist.get()) != H5D_CONTIGUOUS || H5Pget_external_count(plist.get()) != 0) {
    return false;
  }
  address = H5Dget_offset(dataset.get());
  return address != HADDR_UNDEF;
}

}  // namespace

void ShardWriter::Add(const ShardDocument& document, std::span<const int32_t> tokens) {
  CHECK(document.language >= 0 && document.language <= 65535);
  CHECK(document.source >= 0 && document.source <= 65535);
  if (runs_.empty() || runs_.back().language != document.language) {
    for (const ShardRun& run : runs_) CHECK(run.language != document.language);
    runs_.push_back({document.language, documents(), 0});
  }
  ++runs_.back().count;
  if (wide()) {
    wide_tokens_.insert(wide_tokens_.end(), tokens.begin(), tokens.end());
  } else {
    narrow_tokens_.insert(narrow_tokens_.end(), tokens.begin(), tokens.end());
  }
  offset_.push_back(offset_.back() + tokens.size());
  language_.push_back(static_cast<uint16_t>(document.language));
  source_.push_back(static_cast<uint16_t>(document.source));
  bytes_.push_back(static_cast<uint32_t>(document.bytes));
  id_.push_back(document.id);
  group_.push_back(document.group);
}

std::string ShardWriter::Meta(const CorpusIndex& tables) const {
  const nlohmann::json meta = {{"format", kCorpusFormat},
                               {"split", SplitName(split_)},
                               {"documents", documents()},
                               {"tokens", tokens()},
                               {"tokenizer", tokenizer_.fingerprint},
                               {"vocab_size", tokenizer_.vocab_size},
                               {"bos_id", tokenizer_.bos_id},
                               {"eos_id", tokenizer_.eos_id},
                               {"languages", tables.languages},
                               {"sources", tables.sources}};
  return meta.dump(1) + "\n";
}

absl::StatusOr<ShardInfo> ShardWriter::Finish(const std::string& directory, const std::string& file,
                                              const CorpusIndex& tables) {
  Silence();
  const std::string path = StrCat(directory, "/", file);
  const absl::Status failed = absl::InternalError(StrCat(path, ": HDF5 cannot make the file"));
  // The file is made in memory: HDF5 neither reports a full disk nor flushes, WriteFileAtomic does.
  // In the library's oldest file format, its default: H5Fget_file_image (1.10.8) resets a flag of
  // the superblock, which in later formats breaks the superblock's own checksum.
  const Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  if (!access.ok() || H5Pset_fapl_core(access.get(), size_t{16} << 20, false) < 0 ||
      H5Pset_small_data_block_size(access.get(), 0) < 0 ||
      H5Pset_alignment(access.get(), 1, kShardAlignment) < 0) {
    return failed;
  }
  std::string image;
  {
    const Handle h5(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access.get()), H5Fclose);
    if (!h5.ok()) return failed;
    const std::string meta = Meta(tables);
    const bool written = (wide() ? WriteArray<uint32_t>(h5.get(), "tokens", wide_tokens_)
                                 : WriteArray<uint16_t>(h5.get(), "tokens", narrow_tokens_)) &&
                         WriteArray<uint64_t>(h5.get(), "offset", offset_) &&
                         WriteArray<uint16_t>(h5.get(), "language", language_) &&
                         WriteArray<uint16_t>(h5.get(), "source", source_) &&
                         WriteArray<uint32_t>(h5.get(), "bytes", bytes_) &&
                         WriteArray<uint64_t>(h5.get(), "id", id_) &&
                         WriteArray<uint64_t>(h5.get(), "group", group_) &&
                         WriteArray<char>(h5.get(), "meta", std::span<const char>(meta));
    if (!written || H5Fflush(h5.get(), H5F_SCOPE_GLOBAL) < 0) return failed;
    const ssize_t size = H5Fget_file_image(h5.get(), nullptr, 0);
    if (size <= 0) return failed;
    image.resize(static_cast<size_t>(size));
    if (H5Fget_file_image(h5.get(), image.data(), image.size()) != size) return failed;
  }
  RETURN_IF_ERROR(WriteFileAtomic(path, image));
  ShardInfo info{
      file,     split_, static_cast<int64_t>(image.size()), ToHex(HashOf128(image)), documents(),
      tokens(), runs_};
  *this = ShardWriter(split_, tokenizer_);
  return info;
}

absl::StatusOr<std::unique_ptr<ShardReader>> ShardReader::Open(const std::string& directory,
                                                               const ShardInfo& info, bool wide) {
  const std::string path = StrCat(directory, "/", info.file);
  std::unique_ptr<ShardReader> reader(new ShardReader);
  reader->wide_ = wide;
  RETURN_IF_ERROR(reader->Map(path, info));
  RETURN_IF_ERROR(reader->Locate(path, info));
  return reader;
}

ShardReader::~ShardReader() {
  if (map_ != nullptr) munmap(map_, map_bytes_);
}

absl::Status ShardReader::Map(const std::string& path, const ShardInfo& info) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return FileError(path, "open", errno);
  struct stat stat {};
  absl::Status status;
  if (fstat(fd, &stat) != 0) {
    status = FileError(path, "stat", errno);
  } else if (stat.st_size != info.file_bytes || stat.st_size == 0) {
    status = absl::DataLossError(StrCat(path, ": damaged: has ", stat.st_size, " bytes, must have ",
                                        info.file_bytes, "; run `choir data build` again"));
  } else {
    map_bytes_ = static_cast<size_t>(stat.st_size);
    void* const map = mmap(nullptr, map_bytes_, PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) {
      status = FileError(path, "map", errno);
    } else {
      map_ = map;
    }
  }
  close(fd);
  RETURN_IF_ERROR(status);
  const std::string_view content(static_cast<const char*>(map_), map_bytes_);
  const std::string checksum = ToHex(HashOf128(content));
  if (checksum != info.checksum) {
    return absl::DataLossError(StrCat(path, ": damaged: its XXH3-128 is ", checksum, ", must be ",
                                      info.checksum, "; run `choir data build` again"));
  }
  return absl::OkStatus();
}

absl::Status ShardReader::Locate(const std::string& path, const ShardInfo& info) {
  Silence();
  const Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  if (!access.ok() || H5Pset_file_locking(access.get(), false, true) < 0) {
    return absl::InternalError(StrCat(path, ": HDF5 does not start"));
  }
  const Handle file(H5Fopen(path.c_str(), H5F_ACC_RDONLY, access.get()), H5Fclose);
  const auto locate = [&]<class T>(const char* name, int64_t size, std::span<const T>& out) {
    haddr_t address = 0;
    const uint64_t n = static_cast<uint64_t>(size);
    if (!FindArray<T>(file.get(), name, n, address)) return false;
    if (address % sizeof(T) != 0 || address > map_bytes_ ||
        n > (map_bytes_ - address) / sizeof(T)) {
      return false;
    }
    out = {reinterpret_cast<const T*>(static_cast<const char*>(map_) + address), n};
    return true;
  };
  std::span<const uint16_t> narrow;
  std::span<const uint32_t> wide;
  const bool found =
      file.ok() &&
      (wide_ ? locate("tokens", info.tokens, wide) : locate("tokens", info.tokens, narrow)) &&
      locate("offset", info.documents + 1, offset_) &&
      locate("language", info.documents, language_) && locate("source", info.documents, source_) &&
      locate("bytes", info.documents, bytes_) && locate("id", info.documents, id_) &&
      locate("group", info.documents, group_);
  if (!found || offset_.front() != 0 || offset_.back() != static_cast<uint64_t>(info.tokens)) {
    return absl::DataLossError(
        StrCat(path, ": not a token shard of format ", kCorpusFormat, "; run `choir data build`"));
  }
  tokens_ = wide_ ? static_cast<const void*>(wide.data()) : static_cast<const void*>(narrow.data());
  return absl::OkStatus();
}

}  // namespace choir
