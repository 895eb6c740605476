// Writes and reads one checkpoint beside plain write(2) + fsync and read(2) of the same bytes in
// the same run, best of interleaved repeats. Reading a checkpoint verifies every checksum.
//
//   checkpoint_bench [FOLDER [MIB [REPEATS]]]     defaults: the current folder, 512, 5
//
// Writing is into fresh files and includes fsync of files and folders; reading is from the page
// cache, so that checksums and copies are measured and not the disk.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "base/check.h"
#include "base/file.h"
#include "base/strings.h"
#include "checkpoint/checkpoint_list.h"
#include "checkpoint/load.h"
#include "checkpoint/save.h"

namespace choir {
namespace {

constexpr int64_t kBlock = int64_t{8} << 20;
constexpr int kTensors = 64;

double Seconds(const std::chrono::steady_clock::time_point& since) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - since).count();
}

// Tensors of unequal size that sum to about `bytes`.
CheckpointContents MakeContents(int64_t bytes) {
  CheckpointContents contents;
  contents.code_version = "bench";
  uint32_t value = 1;
  for (int i = 0; i < kTensors; ++i) {
    const int64_t elements = bytes / 4 * 2 * (i + 1) / (kTensors * (kTensors + 1));
    Tensor t = Tensor::Empty({elements}, {DType::kF32, Device::kCpu, MemoryCategory::kParameters});
    for (float& x : t.span<float>()) {
      value = value * 1664525 + 1013904223;
      x = static_cast<float>(value);
    }
    contents.tensors.push_back({StrCat("model/t", i), t});
  }
  return contents;
}

double PlainWrite(const std::string& path, const CheckpointContents& contents) {
  const auto start = std::chrono::steady_clock::now();
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL, 0644);
  CHECK(fd >= 0) << path << " errno " << errno;
  for (const NamedTensor& t : contents.tensors) {
    const char* const bytes = static_cast<const char*>(t.tensor.raw());
    for (int64_t done = 0; done < t.tensor.bytes();) {
      const auto count = static_cast<size_t>(std::min(kBlock, t.tensor.bytes() - done));
      const ssize_t written = write(fd, bytes + done, count);
      CHECK(written > 0) << path << " errno " << errno;
      done += written;
    }
  }
  CHECK(fsync(fd) == 0) << path << " errno " << errno;
  CHECK(close(fd) == 0);
  return Seconds(start);
}

double PlainRead(const std::string& path, std::vector<NamedTensor>& targets) {
  const auto start = std::chrono::steady_clock::now();
  const int fd = open(path.c_str(), O_RDONLY);
  CHECK(fd >= 0) << path << " errno " << errno;
  for (NamedTensor& t : targets) {
    char* const bytes = static_cast<char*>(t.tensor.raw());
    for (int64_t done = 0; done < t.tensor.bytes();) {
      const auto count = static_cast<size_t>(std::min(kBlock, t.tensor.bytes() - done));
      const ssize_t got = read(fd, bytes + done, count);
      CHECK(got > 0) << path << " errno " << errno;
      done += got;
    }
  }
  CHECK(close(fd) == 0);
  return Seconds(start);
}

bool Same(const std::vector<NamedTensor>& targets, const CheckpointContents& contents) {
  for (size_t i = 0; i < targets.size(); ++i) {
    const auto a = targets[i].tensor.span<float>(), b = contents.tensors[i].tensor.span<float>();
    if (!std::equal(a.begin(), a.end(), b.begin(), b.end())) return false;
  }
  return true;
}

struct Best {
  double seconds = 1e30;
  void Add(double s) { seconds = std::min(seconds, s); }
};

int Run(const std::string& folder, int64_t mebibytes, int repeats) {
  const std::string root = StrCat(folder, "/checkpoint-bench-", getpid());
  const CheckpointContents contents = MakeContents(mebibytes << 20);
  std::vector<NamedTensor> targets;
  int64_t bytes = 0;
  for (const NamedTensor& t : contents.tensors) {
    targets.push_back({t.name, Tensor::Zeros(t.tensor.shape(), t.tensor.options())});
    bytes += t.tensor.bytes();
  }
  Best plain_write, save, plain_read, load;
  bool same = true;
  for (int i = 0; i < repeats; ++i) {
    CHECK(MakeDirectories(root).ok()) << root;
    plain_write.Add(PlainWrite(root + "/plain", contents));
    auto start = std::chrono::steady_clock::now();
    const auto path = SaveCheckpoint(root, contents);
    CHECK(path.ok()) << path.status();
    save.Add(Seconds(start));
    plain_read.Add(PlainRead(root + "/plain", targets));
    same = same && Same(targets, contents);
    for (NamedTensor& t : targets) t.tensor.Zero();
    start = std::chrono::steady_clock::now();
    const auto checkpoint = OpenCheckpoint(*path);
    CHECK(checkpoint.ok()) << checkpoint.status();
    const absl::Status status = LoadTensors(*checkpoint, targets);
    load.Add(Seconds(start));
    CHECK(status.ok()) << status;
    same = same && Same(targets, contents);
    std::filesystem::remove_all(root);
  }
  const auto rate = [&](const Best& best) {
    return static_cast<double>(bytes) / best.seconds / 1e9;
  };
  std::printf("check            %s: %d tensors, %.1f MB, best of %d\n",
              same ? "read = written" : "FAILED: read differs from written", kTensors,
              static_cast<double>(bytes) / 1e6, repeats);
  std::printf("plain write+sync %6.2f GB/s\n", rate(plain_write));
  std::printf("save             %6.2f GB/s  %3.0f %% of plain\n", rate(save),
              100 * plain_write.seconds / save.seconds);
  std::printf("plain read       %6.2f GB/s\n", rate(plain_read));
  std::printf("verified load    %6.2f GB/s  %3.0f %% of plain\n", rate(load),
              100 * plain_read.seconds / load.seconds);
  return same ? 0 : 1;
}

}  // namespace
}  // namespace choir

int main(int argc, char** argv) {
  const std::string folder = argc > 1 ? argv[1] : ".";
  const long mebibytes = argc > 2 ? std::strtol(argv[2], nullptr, 10) : 512;
  const long repeats = argc > 3 ? std::strtol(argv[3], nullptr, 10) : 5;
  if (argc > 4 || mebibytes < 1 || repeats < 1) {
    std::fprintf(stderr, "usage: checkpoint_bench [FOLDER [MIB [REPEATS]]]\n");
    return 2;
  }
  return choir::Run(folder, mebibytes, static_cast<int>(repeats));
}
