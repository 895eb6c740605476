// A run folder that disappears after the test, and contents with every dtype and awkward shape.
#pragma once

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/strings.h"
#include "checkpoint/checkpoint_list.h"
#include "checkpoint/contents.h"
#include "checkpoint/load.h"
#include "checkpoint/save.h"
#include "tests/base/scratch_folder.h"

namespace choir::checkpoint_test {

using RunFolder = ScratchFolder;

// A tensor whose bytes are a fixed function of `seed`: every bit pattern, NaN payloads included.
inline Tensor Noise(const Shape& shape, DType dtype, uint64_t seed) {
  Tensor t = Tensor::Empty(shape, {dtype, Device::kCpu, MemoryCategory::kParameters});
  auto* const bytes = static_cast<unsigned char*>(t.raw());
  uint64_t state = seed * 0x9e3779b97f4a7c15 + 1;
  for (int64_t i = 0; i < t.bytes(); ++i) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    bytes[i] = static_cast<unsigned char>(state >> 32);
  }
  return t;
}

inline CheckpointContents SomeContents(int64_t step) {
  CheckpointContents contents;
  const auto seed = static_cast<uint64_t>(step);
  contents.step = step;
  contents.config = StrCat("run:\n  dir: \"größe\"\n  step: ", step, "\n");
  contents.state = {{"tokens", uint64_t{18446744073709551615u}},
                    {"below", -step},
                    {"lr", 0.1 + 1e-9 * static_cast<double>(step)},
                    {"lanes", {1, 2, 3}}};
  contents.blobs = {{"lanes/0", std::string("\0\1\xff binary", 10)}, {"empty", ""}};
  contents.code_version = "test";
  const auto add = [&](const char* name, const Shape& shape, DType dtype) {
    contents.tensors.push_back({name, Noise(shape, dtype, seed + contents.tensors.size() * 1000)});
  };
  add("model/embed", {300, 70}, DType::kF32);
  add("model/layers.0/attn/q", {64, 32}, DType::kBF16);
  add("model/layers.0/attn/k", {3, 5, 7, 2}, DType::kF16);
  add("model/scale", {}, DType::kF32);
  add("model/nothing", {4, 0, 3}, DType::kF32);
  add("optim/embed/m", {300, 70}, DType::kF64);
  add("optim/count", {9}, DType::kI32);
  return contents;
}

// Targets like the tensors of `contents`, filled with other bits.
inline std::vector<NamedTensor> TargetsOf(const CheckpointContents& contents) {
  std::vector<NamedTensor> targets;
  for (const NamedTensor& t : contents.tensors) {
    targets.push_back({t.name, Noise(t.tensor.shape(), t.tensor.dtype(), 77)});
  }
  return targets;
}

inline bool SameBits(const Tensor& a, const Tensor& b) {
  return a.dtype() == b.dtype() && a.shape() == b.shape() &&
         (a.bytes() == 0 || std::memcmp(a.raw(), b.raw(), static_cast<size_t>(a.bytes())) == 0);
}

// The checkpoint at `path` holds exactly `contents`.
inline absl::Status Compare(const std::string& path, const CheckpointContents& contents) {
  const auto checkpoint = OpenCheckpoint(path);
  if (!checkpoint.ok()) return checkpoint.status();
  std::vector<NamedTensor> targets = TargetsOf(contents);
  if (absl::Status status = LoadTensors(*checkpoint, targets); !status.ok()) return status;
  for (size_t i = 0; i < targets.size(); ++i) {
    if (!SameBits(targets[i].tensor, contents.tensors[i].tensor)) {
      return absl::InternalError(StrCat(path, ": other bits in ", targets[i].name));
    }
  }
  const auto blobs = LoadBlobs(*checkpoint);
  if (!blobs.ok()) return blobs.status();
  const Manifest& m = checkpoint->manifest;
  if (*blobs != contents.blobs || m.step != contents.step || m.config != contents.config ||
      m.state != contents.state || m.code_version != contents.code_version) {
    return absl::InternalError(StrCat(path, ": other blobs, state or config"));
  }
  return absl::OkStatus();
}

// Saves, and returns the path ("" after a failure, which is reported).
inline std::string Save(const RunFolder& run, const CheckpointContents& contents) {
  const auto path = SaveCheckpoint(run.path(), contents);
  EXPECT_TRUE(path.ok()) << path.status();
  return path.ok() ? *path : "";
}

inline std::string Read(const std::string& path) {
  const auto text = ReadFile(path);
  EXPECT_TRUE(text.ok()) << text.status();
  return text.ok() ? *text : "";
}

inline void Write(const std::string& path, std::string_view bytes) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << bytes;
  out.close();
  ASSERT_TRUE(out.good()) << path;
}

}  // namespace choir::checkpoint_test
