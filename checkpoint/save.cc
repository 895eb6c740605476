#include "checkpoint/save.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <set>
#include <utility>

#include "base/file.h"
#include "base/status.h"
#include "base/strings.h"
#include "checkpoint/checkpoint_list.h"
#include "checkpoint/integrity.h"
#include "checkpoint/names.h"
#include "checkpoint/shard_writer.h"
#include "checkpoint/strict_json.h"

namespace choir {
namespace {

// A folder that disappears with its content unless it was published.
class TemporaryFolder {
 public:
  explicit TemporaryFolder(std::string path) : path_(std::move(path)) {}
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }
  void Release() { path_.clear(); }

 private:
  std::string path_;
};

// Renames a folder, which must not replace anything.
absl::Status MoveFolder(const std::string& from, const std::string& to) {
  if (renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0) {
    return absl::OkStatus();
  }
  // File systems without this flag: plain rename still refuses to replace a folder with content.
  if ((errno == EINVAL || errno == ENOSYS) && std::rename(from.c_str(), to.c_str()) == 0) {
    return absl::OkStatus();
  }
  return FileError(from, StrCat("rename to ", to), errno);
}

absl::Status CheckText(std::string_view what, const nlohmann::json& value) {
  std::string text;
  try {
    text = value.dump();
  } catch (const nlohmann::json::exception& error) {
    return absl::InvalidArgumentError(StrCat(what, ": cannot be stored: ", error.what()));
  }
  const absl::StatusOr<nlohmann::json> again = ParseStrictJson(text);
  if (!again.ok()) {
    return absl::InvalidArgumentError(
        StrCat(what, ": cannot be stored: ", std::string(again.status().message())));
  }
  // Text that reads back as something else would resume as something else.
  if (*again != value) {
    return absl::InvalidArgumentError(
        StrCat(what, ": cannot be stored exactly (a number is NaN or infinite, or bytes)"));
  }
  return absl::OkStatus();
}

// Each name is allowed, and none is the folder of another: in HDF5 a path is a group or a dataset.
absl::Status CheckNames(const std::set<std::string>& names) {
  for (const std::string& name : names) {
    RETURN_IF_ERROR(CheckName(name));
    const auto inside = names.lower_bound(name + "/");
    if (inside != names.end() && inside->starts_with(name + "/")) {
      return absl::InvalidArgumentError(
          StrCat("\"", name, "\" and \"", *inside, "\" cannot be stored together: rename one"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckContents(const CheckpointContents& contents) {
  if (contents.step < 0 || contents.step > kMaxStep) {
    return absl::InvalidArgumentError(StrCat("step ", contents.step, " is not in 0..", kMaxStep));
  }
  if (!contents.state.is_object()) return absl::InvalidArgumentError("state is not a JSON object");
  RETURN_IF_ERROR(CheckText("state", contents.state));
  RETURN_IF_ERROR(CheckText("config", contents.config));
  RETURN_IF_ERROR(CheckText("code version", contents.code_version));
  std::set<std::string> names, blob_names;
  for (const NamedTensor& tensor : contents.tensors) {
    const auto refuse = [&](std::string_view why) {
      return absl::InvalidArgumentError(StrCat("tensor \"", tensor.name, "\": ", why));
    };
    if (!tensor.tensor.defined()) return refuse("is undefined");
    if (tensor.tensor.device() == Device::kMeta) return refuse("is on the meta device: no data");
    if (tensor.name.starts_with(kBlobPrefix)) return refuse("the name is reserved for blobs");
    if (!names.insert(tensor.name).second) return refuse("is given twice");
  }
  for (const auto& [name, bytes] : contents.blobs) blob_names.insert(name);
  RETURN_IF_ERROR(CheckNames(names));
  return CheckNames(blob_names);
}

Manifest MakeManifest(const CheckpointContents& contents) {
  Manifest manifest;
  manifest.step = contents.step;
  manifest.config = contents.config;
  manifest.state = contents.state;
  manifest.code_version = contents.code_version;
  return manifest;
}

bool SameTensor(const TensorRecord& saved, const Tensor& tensor, int64_t chunk_bytes) {
  if (saved.dtype != tensor.dtype() || saved.shape != tensor.shape()) return false;
  if (tensor.bytes() == 0) return true;
  if (saved.pieces.size() != 1) return false;  // written by several: cannot be compared cheaply
  const Tensor host = [&] {
    if (tensor.device() == Device::kCpu) return tensor;
    Tensor copy =
        Tensor::Empty(tensor.shape(), {tensor.dtype(), Device::kCpu, MemoryCategory::kWorkspace});
    copy.CopyFrom(tensor);
    return copy;
  }();
  return ChunkChecksums(
             {static_cast<const std::byte*>(host.raw()), static_cast<size_t>(host.bytes())},
             chunk_bytes) == saved.pieces[0].data.checksums;
}

bool SameContents(const Manifest& saved, const CheckpointContents& contents) {
  if (saved.step != contents.step || saved.config != contents.config ||
      saved.state != contents.state || saved.tensors.size() != contents.tensors.size() ||
      saved.blobs.size() != contents.blobs.size()) {
    return false;
  }
  std::map<std::string_view, const TensorRecord*> by_name;
  for (const TensorRecord& tensor : saved.tensors) by_name[tensor.name] = &tensor;
  for (const NamedTensor& tensor : contents.tensors) {
    const auto found = by_name.find(tensor.name);
    if (found == by_name.end()) return false;
    if (!SameTensor(*found->second, tensor.tensor, saved.chunk_bytes)) return false;
  }
  for (const BlobRecord& blob : saved.blobs) {
    const auto found = contents.blobs.find(blob.name);
    if (found == contents.blobs.end()) return false;
    const auto bytes = std::as_bytes(std::span(found->second));
    if (ChunkChecksums(bytes, saved.chunk_bytes) != blob.data.checksums) return false;
  }
  return true;
}

absl::Status CheckShards(const Checkpoint& checkpoint) {
  const std::vector<FileRecord>& files = checkpoint.manifest.files;
  for (size_t i = 0; i < files.size(); ++i) {
    if (!IsShardName(files[i].name)) continue;
    RETURN_IF_ERROR(CheckFile(checkpoint, static_cast<int>(i)));
  }
  return absl::OkStatus();
}

// True if the step is already saved and nothing is to be done.
absl::StatusOr<bool> SettleExisting(const std::string& folder, const std::string& final_path,
                                    const CheckpointContents& contents) {
  struct stat info;
  if (lstat(final_path.c_str(), &info) != 0) {
    if (errno == ENOENT) return false;
    return FileError(final_path, "examine", errno);
  }
  const absl::StatusOr<Checkpoint> saved = OpenCheckpoint(final_path);
  const absl::Status health = saved.ok() ? CheckShards(*saved) : saved.status();
  if (health.ok()) {
    if (SameContents(saved->manifest, contents)) return true;
    return absl::AlreadyExistsError(
        StrCat(final_path,
               ": a checkpoint of this step with other content exists; it is never "
               "overwritten: use another run directory or move it away"));
  }
  if (!absl::IsDataLoss(health) && !absl::IsNotFound(health)) return health;
  const std::string aside = StrCat(folder, "/damaged-", contents.step, "-", Nonce());
  RETURN_IF_ERROR(MoveFolder(final_path, aside));
  RETURN_IF_ERROR(FsyncDirectory(folder));
  return false;
}

absl::Status WriteFiles(const std::string& folder, const CheckpointContents& contents) {
  Manifest manifest = MakeManifest(contents);
  ASSIGN_OR_RETURN(ShardRecords shard,
                   WriteShard(folder, /*writer=*/0, contents.tensors, contents.blobs));
  manifest.files.push_back(std::move(shard.file));
  manifest.tensors = std::move(shard.tensors);
  manifest.blobs = std::move(shard.blobs);
  ASSIGN_OR_RETURN(FileRecord view, WriteModelView(folder, manifest));
  manifest.files.push_back(std::move(view));
  const std::string text = SerializeManifest(manifest);
  // What cannot be read back must not be published.
  if (const absl::Status status = ParseManifest(text).status(); !status.ok()) {
    return absl::InvalidArgumentError(
        StrCat(folder, ": contents that no manifest can describe: ", std::string(status.message()),
               "; put large state into blobs"));
  }
  // Flushes the file and the names in the folder.
  return WriteFileAtomic(StrCat(folder, "/", kManifestFile), text);
}

}  // namespace

absl::StatusOr<std::string> SaveCheckpoint(const std::string& run_dir,
                                           const CheckpointContents& contents) {
  RETURN_IF_ERROR(CheckContents(contents));
  const std::string folder = CheckpointsFolder(run_dir);
  const std::string final_path = StrCat(folder, "/", StepName(contents.step));
  RETURN_IF_ERROR(MakeDirectories(folder));
  RETURN_IF_ERROR(FsyncDirectory(run_dir));
  ASSIGN_OR_RETURN(const bool saved, SettleExisting(folder, final_path, contents));
  if (saved) return final_path;
  TemporaryFolder temporary(StrCat(folder, "/", TemporaryName(contents.step)));
  if (mkdir(temporary.path().c_str(), 0755) != 0) {
    return FileError(temporary.path(), "create the folder", errno);
  }
  RETURN_IF_ERROR(WriteFiles(temporary.path(), contents));
  RETURN_IF_ERROR(MoveFolder(temporary.path(), final_path));
  temporary.Release();
  RETURN_IF_ERROR(FsyncDirectory(folder));
  return final_path;
}

}  // namespace choir
