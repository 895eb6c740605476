#include "checkpoint/hdf5_file.h"

#include <hdf5.h>

#include <cstdlib>
#include <cstring>
#include <limits>
#include <set>
#include <utility>

#include "base/file.h"
#include "base/status.h"
#include "base/strings.h"

namespace choir {
namespace {

// HDF5's own clean-up at exit crashes on a file whose write failed.
[[maybe_unused]] const herr_t kNoExitHandler = H5dont_atexit();

// Datasets from 64 KiB on start at a page: copies between buffers of equal page offset are fastest.
constexpr hsize_t kAlignFrom = 64 << 10;
constexpr hsize_t kAlignTo = 4096;

// Owns an HDF5 identifier.
class Handle {
 public:
  Handle(hid_t id, herr_t (*close)(hid_t)) : id_(id), close_(close) {}
  Handle(Handle&& other) noexcept : id_(std::exchange(other.id_, -1)), close_(other.close_) {}
  Handle& operator=(Handle&&) = delete;
  ~Handle() { Close(); }
  hid_t get() const { return id_; }
  bool ok() const { return id_ >= 0; }
  bool Close() {
    const hid_t id = std::exchange(id_, -1);
    return id < 0 || close_(id) >= 0;
  }

 private:
  hid_t id_;
  herr_t (*close_)(hid_t);
};

// The library's error stack of this thread: its innermost description, and the system's error if
// one is mentioned.
struct ErrorStack {
  std::string description;
  int error = 0;
};

herr_t ReadError(unsigned, const H5E_error2_t* entry, void* data) {
  auto& stack = *static_cast<ErrorStack*>(data);
  if (entry->desc == nullptr) return 0;
  if (stack.description.empty()) stack.description = entry->desc;
  if (const char* found = std::strstr(entry->desc, "errno = "); found != nullptr && !stack.error) {
    stack.error = std::atoi(found + 8);
  }
  return 0;
}

absl::Status LibraryError(const std::string& path, std::string_view action) {
  ErrorStack stack;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, ReadError, &stack);
  H5Eclear2(H5E_DEFAULT);
  if (stack.error != 0) return FileError(path, action, stack.error);
  return absl::UnknownError(StrCat(path, ": cannot ", action, ": HDF5: ", stack.description));
}

// Settings of the calling thread and of the process.
absl::Status Prepare(const std::string& path) {
  // The library prints errors to standard error unless told otherwise; no plug-in may be loaded.
  if (H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr) < 0 || H5PLset_loading_state(0) < 0) {
    return LibraryError(path, "prepare HDF5");
  }
  return absl::OkStatus();
}

Handle FileAccess() {
  Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  if (!access.ok() ||
      H5Pset_libver_bounds(access.get(), H5F_LIBVER_LATEST, H5F_LIBVER_LATEST) < 0 ||
      H5Pset_file_locking(access.get(), /*use_file_locking=*/false, /*ignore=*/true) < 0 ||
      H5Pset_alignment(access.get(), kAlignFrom, kAlignTo) < 0) {
    return Handle(-1, H5Pclose);
  }
  return access;
}

// A 16-bit float with the given bits of exponent and mantissa.
Handle Float16Type(size_t exponent_bits, size_t mantissa_bits) {
  Handle type(H5Tcopy(H5T_IEEE_F32LE), H5Tclose);
  const size_t bias = (size_t{1} << (exponent_bits - 1)) - 1;
  if (!type.ok() ||
      H5Tset_fields(type.get(), 15, mantissa_bits, exponent_bits, 0, mantissa_bits) < 0 ||
      H5Tset_precision(type.get(), 16) < 0 || H5Tset_size(type.get(), 2) < 0 ||
      H5Tset_ebias(type.get(), bias) < 0) {
    return Handle(-1, H5Tclose);
  }
  return type;
}

Handle TypeOf(std::optional<DType> dtype) {
  if (!dtype) return Handle(H5Tcopy(H5T_STD_U8LE), H5Tclose);
  switch (*dtype) {
    case DType::kF64:
      return Handle(H5Tcopy(H5T_IEEE_F64LE), H5Tclose);
    case DType::kF32:
      return Handle(H5Tcopy(H5T_IEEE_F32LE), H5Tclose);
    case DType::kBF16:
      return Float16Type(8, 7);
    case DType::kF16:
      return Float16Type(5, 10);
    case DType::kI32:
      return Handle(H5Tcopy(H5T_STD_I32LE), H5Tclose);
  }
  return Handle(-1, H5Tclose);
}

std::vector<hsize_t> ToHdf5(const std::vector<int64_t>& dims) {
  if (dims.empty()) return {1};
  return {dims.begin(), dims.end()};
}

// As ToHdf5, for the first element of a box.
std::vector<hsize_t> StartToHdf5(const std::vector<int64_t>& start) {
  if (start.empty()) return {0};
  return {start.begin(), start.end()};
}

Handle SpaceOf(const std::vector<hsize_t>& dims) {
  return Handle(H5Screate_simple(static_cast<int>(dims.size()), dims.data(), nullptr), H5Sclose);
}

// The missing value shown by virtual datasets, in the representation of `dtype`.
struct FillValue {
  alignas(8) unsigned char bytes[8] = {};
};
FillValue MissingValue(DType dtype) {
  FillValue fill;
  const auto set = [&](auto value) { std::memcpy(fill.bytes, &value, sizeof(value)); };
  switch (dtype) {
    case DType::kF64:
      set(std::numeric_limits<double>::quiet_NaN());
      break;
    case DType::kF32:
      set(std::numeric_limits<float>::quiet_NaN());
      break;
    case DType::kBF16:
      set(uint16_t{0x7fc0});
      break;
    case DType::kF16:
      set(uint16_t{0x7e00});
      break;
    case DType::kI32:
      set(std::numeric_limits<int32_t>::min());
      break;
  }
  return fill;
}

}  // namespace

std::string Hdf5Library() {
  unsigned major = 0, minor = 0, release = 0;
  H5get_libversion(&major, &minor, &release);
  return StrCat(major, ".", minor, ".", release);
}

struct Hdf5Writer::State {
  std::string path;
  Handle file;
  std::set<std::string, std::less<>> groups;  // made so far

  // Makes the groups on the way to `name`. Without times, equal content makes equal files.
  absl::Status MakeGroups(const std::string& name);
  absl::Status DatasetError(const Hdf5Dataset& dataset) const {
    return LibraryError(path, StrCat("write \"", dataset.name, "\""));
  }
};

absl::Status Hdf5Writer::State::MakeGroups(const std::string& name) {
  for (size_t slash = name.find('/'); slash != name.npos; slash = name.find('/', slash + 1)) {
    std::string group = name.substr(0, slash);
    if (groups.contains(group)) continue;
    Handle creation(H5Pcreate(H5P_GROUP_CREATE), H5Pclose);
    if (!creation.ok() || H5Pset_obj_track_times(creation.get(), false) < 0) {
      return LibraryError(path, "prepare a group");
    }
    Handle made(H5Gcreate2(file.get(), group.c_str(), H5P_DEFAULT, creation.get(), H5P_DEFAULT),
                H5Gclose);
    if (!made.ok() || !made.Close()) return LibraryError(path, StrCat("write \"", group, "\""));
    groups.insert(std::move(group));
  }
  return absl::OkStatus();
}

Hdf5Writer::Hdf5Writer(std::unique_ptr<State> state) : state_(std::move(state)) {}
Hdf5Writer::~Hdf5Writer() = default;

absl::StatusOr<std::unique_ptr<Hdf5Writer>> Hdf5Writer::Create(const std::string& path) {
  RETURN_IF_ERROR(Prepare(path));
  const Handle access = FileAccess();
  const Handle creation(H5Pcreate(H5P_FILE_CREATE), H5Pclose);
  if (!access.ok() || !creation.ok() || H5Pset_obj_track_times(creation.get(), false) < 0) {
    return LibraryError(path, "prepare");
  }
  Handle file(H5Fcreate(path.c_str(), H5F_ACC_EXCL, creation.get(), access.get()), H5Fclose);
  if (!file.ok()) return LibraryError(path, "create");
  return std::unique_ptr<Hdf5Writer>(
      new Hdf5Writer(std::make_unique<State>(State{path, std::move(file), {}})));
}

absl::StatusOr<int64_t> Hdf5Writer::Write(const Hdf5Dataset& dataset, const void* data) {
  RETURN_IF_ERROR(state_->MakeGroups(dataset.name));
  const Handle type = TypeOf(dataset.dtype);
  const Handle space = SpaceOf(ToHdf5(dataset.dims));
  const Handle creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  if (!type.ok() || !space.ok() || !creation.ok() ||
      H5Pset_layout(creation.get(), H5D_CONTIGUOUS) < 0 ||
      H5Pset_alloc_time(creation.get(), H5D_ALLOC_TIME_EARLY) < 0 ||
      H5Pset_fill_time(creation.get(), H5D_FILL_TIME_NEVER) < 0 ||
      H5Pset_obj_track_times(creation.get(), false) < 0) {
    return state_->DatasetError(dataset);
  }
  Handle set(H5Dcreate2(state_->file.get(), dataset.name.c_str(), type.get(), space.get(),
                        H5P_DEFAULT, creation.get(), H5P_DEFAULT),
             H5Dclose);
  if (!set.ok() || H5Dwrite(set.get(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0) {
    return state_->DatasetError(dataset);
  }
  const haddr_t offset = H5Dget_offset(set.get());
  if (offset == HADDR_UNDEF || !set.Close()) return state_->DatasetError(dataset);
  return static_cast<int64_t>(offset);
}

absl::Status Hdf5Writer::WriteVirtual(const Hdf5Dataset& dataset,
                                      std::span<const Hdf5Source> sources) {
  CHECK(dataset.dtype.has_value()) << dataset.name;
  RETURN_IF_ERROR(state_->MakeGroups(dataset.name));
  const Handle type = TypeOf(dataset.dtype);
  const Handle space = SpaceOf(ToHdf5(dataset.dims));
  const Handle creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  const FillValue fill = MissingValue(*dataset.dtype);
  if (!type.ok() || !space.ok() || !creation.ok() ||
      H5Pset_fill_value(creation.get(), type.get(), fill.bytes) < 0 ||
      H5Pset_obj_track_times(creation.get(), false) < 0) {
    return state_->DatasetError(dataset);
  }
  for (const Hdf5Source& source : sources) {
    const std::vector<hsize_t> start = StartToHdf5(source.start);
    const std::vector<hsize_t> count = ToHdf5(source.count);
    const Handle from = SpaceOf(count);
    if (!from.ok() ||
        H5Sselect_hyperslab(space.get(), H5S_SELECT_SET, start.data(), nullptr, count.data(),
                            nullptr) < 0 ||
        H5Pset_virtual(creation.get(), space.get(), source.file.c_str(),
                       StrCat("/", source.dataset).c_str(), from.get()) < 0) {
      return state_->DatasetError(dataset);
    }
  }
  if (H5Sselect_all(space.get()) < 0) return state_->DatasetError(dataset);
  Handle set(H5Dcreate2(state_->file.get(), dataset.name.c_str(), type.get(), space.get(),
                        H5P_DEFAULT, creation.get(), H5P_DEFAULT),
             H5Dclose);
  if (!set.ok() || !set.Close()) return state_->DatasetError(dataset);
  return absl::OkStatus();
}

absl::Status Hdf5Writer::Close() {
  // Closing does not report every failed write; flushing does.
  if (H5Fflush(state_->file.get(), H5F_SCOPE_LOCAL) < 0) return LibraryError(state_->path, "write");
  if (!state_->file.Close()) return LibraryError(state_->path, "close");
  return absl::OkStatus();
}

struct Hdf5Reader::State {
  std::string path;
  Handle file;

  absl::Status Refuse(std::string_view name, std::string_view why) const {
    return absl::DataLossError(StrCat(path, ": dataset \"", name, "\": ", why));
  }
  // Every part of `name` is a hard link of this file.
  absl::Status CheckLinks(const std::string& name) const;
  absl::Status CheckStorage(hid_t set, const Hdf5Dataset& dataset, int64_t offset) const;
};

absl::Status Hdf5Reader::State::CheckLinks(const std::string& name) const {
  for (size_t end = 0; end != name.npos;) {
    end = name.find('/', end == 0 ? 0 : end + 1);
    H5L_info_t info;
    if (H5Lget_info(file.get(), name.substr(0, end).c_str(), &info, H5P_DEFAULT) < 0) {
      H5Eclear2(H5E_DEFAULT);
      return Refuse(name, "is not there");
    }
    if (info.type != H5L_TYPE_HARD) return Refuse(name, "soft and external links are refused");
  }
  return absl::OkStatus();
}

absl::Status Hdf5Reader::State::CheckStorage(hid_t set, const Hdf5Dataset& dataset,
                                             int64_t offset) const {
  const Handle creation(H5Dget_create_plist(set), H5Pclose);
  if (!creation.ok()) return Refuse(dataset.name, "cannot be examined");
  if (H5Pget_layout(creation.get()) != H5D_CONTIGUOUS) {
    return Refuse(dataset.name, "is not contiguous (virtual and chunked layouts are refused)");
  }
  if (H5Pget_external_count(creation.get()) != 0) {
    return Refuse(dataset.name, "external storage is refused");
  }
  if (H5Pget_nfilters(creation.get()) != 0) return Refuse(dataset.name, "filters are refused");
  const Handle type(H5Dget_type(set), H5Tclose);
  const Handle expected = TypeOf(dataset.dtype);
  if (!type.ok() || !expected.ok() || H5Tequal(type.get(), expected.get()) <= 0) {
    return Refuse(dataset.name, "has another element type than the manifest says");
  }
  const Handle space(H5Dget_space(set), H5Sclose);
  std::vector<hsize_t> dims(H5S_MAX_RANK);
  const int rank = space.ok() ? H5Sget_simple_extent_dims(space.get(), dims.data(), nullptr) : -1;
  dims.resize(rank < 0 ? 0 : static_cast<size_t>(rank));
  if (dims != ToHdf5(dataset.dims)) {
    return Refuse(dataset.name, "has other dims than the manifest says");
  }
  if (H5Dget_offset(set) != static_cast<haddr_t>(offset)) {
    return Refuse(dataset.name, "is at another place of the file than the manifest says");
  }
  return absl::OkStatus();
}

Hdf5Reader::Hdf5Reader(std::unique_ptr<State> state) : state_(std::move(state)) {}
Hdf5Reader::~Hdf5Reader() = default;

absl::StatusOr<std::unique_ptr<Hdf5Reader>> Hdf5Reader::Open(const std::string& path) {
  RETURN_IF_ERROR(Prepare(path));
  const Handle access = FileAccess();
  if (!access.ok()) return LibraryError(path, "prepare");
  Handle file(H5Fopen(path.c_str(), H5F_ACC_RDONLY, access.get()), H5Fclose);
  if (!file.ok()) {
    return absl::DataLossError(std::string(LibraryError(path, "open as HDF5").message()));
  }
  return std::unique_ptr<Hdf5Reader>(
      new Hdf5Reader(std::make_unique<State>(State{path, std::move(file)})));
}

absl::Status Hdf5Reader::Read(const Hdf5Dataset& dataset, int64_t offset, void* data) const {
  RETURN_IF_ERROR(state_->CheckLinks(dataset.name));
  const Handle set(H5Dopen2(state_->file.get(), dataset.name.c_str(), H5P_DEFAULT), H5Dclose);
  if (!set.ok()) {
    H5Eclear2(H5E_DEFAULT);
    return state_->Refuse(dataset.name, "cannot be opened");
  }
  RETURN_IF_ERROR(state_->CheckStorage(set.get(), dataset, offset));
  const Handle type = TypeOf(dataset.dtype);
  if (H5Dread(set.get(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0) {
    return absl::DataLossError(
        std::string(LibraryError(state_->path, StrCat("read \"", dataset.name, "\"")).message()));
  }
  return absl::OkStatus();
}

}  // namespace choir
