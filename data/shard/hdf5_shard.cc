#include "data/shard/hdf5_shard.h"

#include <fcntl.h>
#include <hdf5.h>
#include <sys/stat.h>
#include <unistd.h>

#include <mutex>
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
// The library is not built for threads.
std::mutex hdf5_mutex;

constexpr hsize_t kShardAlignment = 64;  // of the datasets in the file, so that the map can be used
constexpr const char* kChecksums = "checksums";
constexpr const char* kMeta = "meta";

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

hid_t FileType(int64_t bytes) {
  switch (bytes) {
    case 1:
      return H5T_STD_U8LE;
    case 2:
      return H5T_STD_U16LE;
    case 4:
      return H5T_STD_U32LE;
    default:
      return H5T_STD_U64LE;
  }
}

// Makes one contiguous dataset and says where it lies. Without `content` its bytes are left
// untouched: they become a hole of the file. False on any failure.
bool MakeDataset(hid_t file, const char* name, int64_t bytes, int64_t element_bytes,
                 const void* content, int64_t& address) {
  const hsize_t size = static_cast<hsize_t>(bytes / element_bytes);
  const Handle space(H5Screate_simple(1, &size, nullptr), H5Sclose);
  const Handle plist(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  if (!space.ok() || !plist.ok()) return false;
  // No times: the same documents make the same file.
  if (H5Pset_layout(plist.get(), H5D_CONTIGUOUS) < 0 ||
      H5Pset_alloc_time(plist.get(), H5D_ALLOC_TIME_EARLY) < 0 ||
      H5Pset_fill_time(plist.get(), H5D_FILL_TIME_NEVER) < 0 ||
      H5Pset_obj_track_times(plist.get(), false) < 0) {
    return false;
  }
  const hid_t type = FileType(element_bytes);
  const Handle dataset(
      H5Dcreate2(file, name, type, space.get(), H5P_DEFAULT, plist.get(), H5P_DEFAULT), H5Dclose);
  if (!dataset.ok()) return false;
  if (content != nullptr &&
      H5Dwrite(dataset.get(), type, H5S_ALL, H5S_ALL, H5P_DEFAULT, content) < 0) {
    return false;
  }
  const haddr_t at = H5Dget_offset(dataset.get());
  address = static_cast<int64_t>(at);
  return at != HADDR_UNDEF;
}

// The shard without the content of its arrays, which are holes of a file that has no name any more.
class Skeleton {
 public:
  ~Skeleton() {
    if (fd_ >= 0) close(fd_);
  }
  // Fills in the size and addresses of `info`. `bytes` by array. `path` is free for a moment's use.
  bool Make(const std::string& path, const std::array<int64_t, kNumShardArrays>& bytes,
            const std::vector<uint64_t>& checksums, const std::string& meta, ShardInfo& info) {
    path_ = path;
    fd_ = open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd_ < 0) return false;
    const bool written = Write(bytes, checksums, meta, info);
    unlink(path.c_str());  // again, if HDF5 could not open it
    if (!written) return false;
    struct stat stat {};
    if (fstat(fd_, &stat) != 0) return false;
    info.file_bytes = stat.st_size;
    return true;
  }
  bool Read(ShardLayout::Range range, std::string& bytes) const {
    bytes.resize(static_cast<size_t>(range.end - range.begin));
    return pread(fd_, bytes.data(), bytes.size(), range.begin) ==
           static_cast<ssize_t>(bytes.size());
  }

 private:
  bool Write(const std::array<int64_t, kNumShardArrays>& bytes,
             const std::vector<uint64_t>& checksums, const std::string& meta, ShardInfo& info) {
    const std::lock_guard lock(hdf5_mutex);
    Silence();
    const Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
    if (!access.ok() || H5Pset_small_data_block_size(access.get(), 0) < 0 ||
        H5Pset_file_locking(access.get(), false, true) < 0 ||
        H5Pset_alignment(access.get(), 1, kShardAlignment) < 0) {
      return false;
    }
    const Handle file(H5Fcreate(path_.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access.get()), H5Fclose);
    if (!file.ok()) return false;
    unlink(path_.c_str());  // so that no kill leaves it behind
    for (const ShardArray array : kAllShardArrays) {
      const auto a = static_cast<size_t>(array);
      if (!MakeDataset(file.get(), ShardArrayName(array), bytes[a],
                       ShardElementBytes(array, info.token_bytes), nullptr,
                       info.addresses.arrays[a])) {
        return false;
      }
    }
    int64_t ignored = 0;
    return MakeDataset(file.get(), kChecksums, static_cast<int64_t>(8 * checksums.size()), 8,
                       checksums.data(), info.addresses.checksums) &&
           MakeDataset(file.get(), kMeta, static_cast<int64_t>(meta.size()), 1, meta.data(),
                       ignored) &&
           H5Fflush(file.get(), H5F_SCOPE_GLOBAL) >= 0;
  }

  std::string path_;
  int fd_ = -1;
};

template <class T>
void AppendNumber(ChunkedArray& array, T number) {
  array.Append({reinterpret_cast<const char*>(&number), sizeof(number)});
}

template <class T>
void AppendTokens(ChunkedArray& array, std::span<const int32_t> tokens) {
  const std::vector<T> narrow(tokens.begin(), tokens.end());
  array.Append({reinterpret_cast<const char*>(narrow.data()), narrow.size() * sizeof(T)});
}

// Where HDF5 finds a dataset; false if it is not a contiguous array of that size in this file.
bool FindDataset(hid_t file, const char* name, const ShardLayout::Place& place, int64_t& address) {
  const Handle dataset(H5Dopen2(file, name, H5P_DEFAULT), H5Dclose);
  if (!dataset.ok()) return false;
  const Handle type(H5Dget_type(dataset.get()), H5Tclose);
  const Handle space(H5Dget_space(dataset.get()), H5Sclose);
  const Handle plist(H5Dget_create_plist(dataset.get()), H5Pclose);
  hsize_t size = 0;
  if (!type.ok() || !space.ok() || !plist.ok() ||
      H5Tequal(type.get(), FileType(place.element_bytes)) <= 0 ||
      H5Sget_simple_extent_ndims(space.get()) != 1 ||
      H5Sget_simple_extent_dims(space.get(), &size, nullptr) != 1 ||
      size != static_cast<hsize_t>(place.bytes / place.element_bytes) ||
      H5Pget_layout(plist.get()) != H5D_CONTIGUOUS || H5Pget_external_count(plist.get()) != 0) {
    return false;
  }
  address = static_cast<int64_t>(H5Dget_offset(dataset.get()));
  return true;
}

}  // namespace

void ChunkedArray::Append(std::string_view bytes) {
  while (!bytes.empty()) {
    if (chunks_.empty() || static_cast<int64_t>(chunks_.back().size()) == kShardChunkBytes) {
      chunks_.emplace_back();
    }
    std::string& last = chunks_.back();
    // A second chunk means a large array: no need to grow in steps.
    if (last.empty() && chunks_.size() > 1) last.reserve(static_cast<size_t>(kShardChunkBytes));
    const size_t part = std::min(bytes.size(), static_cast<size_t>(kShardChunkBytes) - last.size());
    last.append(bytes.substr(0, part));
    bytes.remove_prefix(part);
  }
}

int64_t ChunkedArray::bytes() const {
  if (chunks_.empty()) return 0;
  return static_cast<int64_t>(chunks_.size() - 1) * kShardChunkBytes +
         static_cast<int64_t>(chunks_.back().size());
}

ShardWriter::ShardWriter(Split split, const TokenizerInfo& tokenizer)
    : split_(split), tokenizer_(tokenizer) {
  AppendNumber<uint64_t>(array(ShardArray::kOffset), 0);
}

void ShardWriter::Add(const ShardDocument& document, std::span<const int32_t> tokens) {
  CHECK(document.language >= 0 && document.language <= 65535);
  CHECK(document.source >= 0 && document.source <= 65535);
  CHECK(tokens.size() >= 2) << "a document has a beginning and an end";
  if (runs_.empty() || runs_.back().language != document.language) {
    for (const ShardRun& run : runs_) CHECK(run.language != document.language);
    runs_.push_back({document.language, documents_, 0, 0});
  }
  runs_.back().count += 1;
  runs_.back().tokens += static_cast<int64_t>(tokens.size());
  documents_ += 1;
  tokens_ += static_cast<int64_t>(tokens.size());
  if (token_bytes() == 4) {
    AppendTokens<uint32_t>(array(ShardArray::kTokens), tokens);
  } else {
    AppendTokens<uint16_t>(array(ShardArray::kTokens), tokens);
  }
  AppendNumber(array(ShardArray::kOffset), static_cast<uint64_t>(tokens_));
  AppendNumber(array(ShardArray::kLanguage), static_cast<uint16_t>(document.language));
  AppendNumber(array(ShardArray::kSource), static_cast<uint16_t>(document.source));
  AppendNumber(array(ShardArray::kBytes), static_cast<uint32_t>(document.bytes));
  AppendNumber(array(ShardArray::kId), document.id);
  AppendNumber(array(ShardArray::kGroup), document.group);
}

std::string ShardWriter::Meta(const CorpusIndex& tables) const {
  const nlohmann::json meta = {{"format", kCorpusFormat},
                               {"split", SplitName(split_)},
                               {"documents", documents_},
                               {"tokens", tokens_},
                               {"checksums", "XXH3-64"},
                               {"chunk_bytes", kShardChunkBytes},
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
  CHECK(documents_ > 0) << file;
  const std::string path = StrCat(directory, "/", file);
  ShardInfo info;
  info.file = file;
  info.split = split_;
  info.documents = documents_;
  info.tokens = tokens_;
  info.token_bytes = token_bytes();
  info.runs = runs_;
  std::array<int64_t, kNumShardArrays> bytes = {};
  std::vector<uint64_t> checksums;
  for (size_t a = 0; a < kNumShardArrays; ++a) {
    bytes[a] = arrays_[a].bytes();
    for (const std::string& chunk : arrays_[a].chunks()) checksums.push_back(HashOf64(chunk));
  }
  // HDF5 lays the file out; the file itself is written by WriteFileAtomic, because HDF5 neither
  // flushes nor reports a full disk.
  Skeleton skeleton;
  const absl::Status failed =
      absl::InternalError(StrCat(path, ": HDF5 cannot lay out the file; is the disk full?"));
  if (!skeleton.Make(path + ".layout", bytes, checksums, Meta(tables), info)) return failed;
  ASSIGN_OR_RETURN(const ShardLayout layout, ShardLayout::Of(info));
  std::vector<std::string> outside(layout.outside().size());
  Hasher128 seal;
  for (size_t i = 0; i < outside.size(); ++i) {
    if (!skeleton.Read(layout.outside()[i], outside[i])) return failed;
    seal.Update(outside[i]);
  }
  info.seal = ToHex(seal.Digest());
  std::vector<std::string_view> pieces;
  auto next_array = layout.order().begin();
  int64_t at = 0;
  const auto add_arrays = [&] {  // those that begin where the pieces so far end
    for (; next_array != layout.order().end() && layout.array(*next_array).begin == at;
         ++next_array) {
      for (const std::string& chunk : array(*next_array).chunks()) pieces.push_back(chunk);
      at += layout.array(*next_array).bytes;
    }
  };
  for (size_t i = 0; i < outside.size(); ++i) {
    add_arrays();
    pieces.push_back(outside[i]);
    at = layout.outside()[i].end;
  }
  add_arrays();
  CHECK(at == info.file_bytes && next_array == layout.order().end()) << path;
  RETURN_IF_ERROR(WriteFileAtomic(path, pieces));
  *this = ShardWriter(split_, tokenizer_);
  return info;
}

absl::Status CompareWithHdf5(const std::string& directory, const ShardInfo& info) {
  const std::lock_guard lock(hdf5_mutex);
  Silence();
  const std::string path = StrCat(directory, "/", info.file);
  ASSIGN_OR_RETURN(const ShardLayout layout, ShardLayout::Of(info));
  const Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  if (!access.ok() || H5Pset_file_locking(access.get(), false, true) < 0) {
    return absl::InternalError(StrCat(path, ": HDF5 does not start"));
  }
  const Handle file(H5Fopen(path.c_str(), H5F_ACC_RDONLY, access.get()), H5Fclose);
  if (!file.ok()) return absl::DataLossError(StrCat(path, ": HDF5 cannot open the file"));
  const auto compare = [&](const char* name, const ShardLayout::Place& place) {
    int64_t address = -1;
    if (FindDataset(file.get(), name, place, address) && address == place.begin) {
      return absl::OkStatus();
    }
    return absl::DataLossError(StrCat(path, ": HDF5 does not find the dataset '", name, "' where ",
                                      kCorpusIndexFile, " says; run `choir data build` again"));
  };
  for (const ShardArray array : kAllShardArrays) {
    RETURN_IF_ERROR(compare(ShardArrayName(array), layout.array(array)));
  }
  return compare(kChecksums, {layout.checksums_begin(), 8 * layout.num_chunks(), 8, 0});
}

}  // namespace choir
