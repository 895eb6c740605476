// model.h5 as other programs see it: h5dump always, h5py where the system's
// python3 (or $CHOIR_PYTHON) has it; another python3 may come first on the path.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <iostream>

#include "checkpoint/names.h"
#include "checkpoint/shard_writer.h"
#include "tests/checkpoint/fixture.h"

namespace choir::checkpoint_test {
namespace {

// Runs a shell command in the root folder: relative names in model.h5 must not depend on ours.
int Shell(const std::string& command) { return std::system(("cd / && " + command).c_str()); }

// The bits of parameter `name` as a reader sees them.
using ReadParameter = std::function<std::string(const std::string& name)>;

bool AllNan(const std::string& bytes, DType dtype) {
  const size_t size = static_cast<size_t>(SizeOf(dtype));
  for (size_t i = 0; i < bytes.size(); i += size) {
    uint64_t bits = 0;
    std::memcpy(&bits, bytes.data() + i, size);
    const uint64_t infinity = dtype == DType::kF64    ? 0x7ff0000000000000
                              : dtype == DType::kF32  ? 0x7f800000
                              : dtype == DType::kBF16 ? 0x7f80
                                                      : 0x7c00;
    const uint64_t sign = uint64_t{1} << (8 * size - 1);
    if ((bits & ~sign) <= infinity) return false;
  }
  return true;
}

std::string BytesOf(const Tensor& t) {
  return {static_cast<const char*>(t.raw()), static_cast<size_t>(t.bytes())};
}

// Every parameter reads as saved, or as NaN if its shard is gone.
void ExpectModel(const CheckpointContents& contents, bool there, const ReadParameter& read) {
  int parameters = 0;
  for (const NamedTensor& t : contents.tensors) {
    if (!t.name.starts_with(kModelPrefix) || t.tensor.bytes() == 0) continue;
    const std::string bytes = read(t.name.substr(kModelPrefix.size()));
    ASSERT_EQ(bytes.size(), static_cast<size_t>(t.tensor.bytes())) << t.name;
    if (there) {
      EXPECT_TRUE(bytes == BytesOf(t.tensor)) << t.name;
    } else {
      EXPECT_TRUE(AllNan(bytes, t.tensor.dtype())) << t.name;
    }
    ++parameters;
  }
  EXPECT_EQ(parameters, 5);
}

// Reads with the saved shard, after the run was moved, and without the shard.
void TryReader(
    const std::function<ReadParameter(const std::string& model, const std::string& out)>& reader) {
  RunFolder run, elsewhere, out;
  CheckpointContents contents = SomeContents(4);
  contents.tensors.push_back({"model/wide", Noise({5, 4}, DType::kF64, 3)});
  const std::string path = Save(run, contents);
  ExpectModel(contents, true, reader(path + "/model.h5", out.path()));
  const std::string moved = elsewhere.path() + "/moved";
  std::filesystem::rename(path, moved);
  ExpectModel(contents, true, reader(moved + "/model.h5", out.path()));
  std::filesystem::remove(moved + "/shard-00000.h5");
  ExpectModel(contents, false, reader(moved + "/model.h5", out.path()));
}

TEST(ModelView, H5dumpReadsEveryParameter) {
  ASSERT_EQ(Shell("h5dump --version > /dev/null"), 0) << "install hdf5-tools";
  TryReader([](const std::string& model, const std::string& out) -> ReadParameter {
    return [=](const std::string& name) {
      const std::string file = out + "/h5dump.bin";
      EXPECT_EQ(
          Shell(StrCat("h5dump -d '/", name, "' -b FILE -o ", file, " ", model, " > /dev/null")),
          0);
      return Read(file);
    };
  });
  std::cout << "ModelView: read with h5dump\n";
}

TEST(ModelView, H5pyReadsEveryParameter) {
  const char* const chosen = std::getenv("CHOIR_PYTHON");
  const std::string python = chosen == nullptr ? "/usr/bin/python3" : chosen;
  if (Shell(python + " -c 'import h5py' 2> /dev/null") != 0) {
    ASSERT_EQ(chosen, nullptr) << "CHOIR_PYTHON=" << python << " has no h5py";
    GTEST_SKIP() << "ModelView: " << python << " has no h5py, read with h5dump only";
  }
  TryReader([&](const std::string& model, const std::string& out) -> ReadParameter {
    EXPECT_EQ(Shell(StrCat(python, " " CHOIR_SOURCE_DIR "/tests/checkpoint/read_model_h5.py ",
                           model, " ", out)),
              0);
    return [=](std::string name) {
      std::replace(name.begin(), name.end(), '/', '+');
      const std::string file = StrCat(out, "/", name, ".bin");
      const std::string bytes = Read(file);
      std::filesystem::remove(file);
      return bytes;
    };
  });
  std::cout << "ModelView: read with h5py\n";
}

// Tensors split over shards of two writers, as the sharded save will make them.
TEST(Pieces, TensorsInPiecesLoadAsOneAndShowAsOne) {
  RunFolder run, out;
  const Tensor w = Noise({4, 6, 2}, DType::kF32, 1), v = Noise({10}, DType::kBF16, 2);
  const auto columns = [&](int64_t begin, int64_t count) {
    Tensor t = Tensor::Empty({4, count, 2}, w.options());
    for (int64_t i = 0; i < 4; ++i) {
      std::memcpy(t.data<float>() + i * count * 2, w.data<float>() + (i * 6 + begin) * 2,
                  static_cast<size_t>(count * 2) * sizeof(float));
    }
    return t;
  };
  const std::string folder = run.path() + "/checkpoints/step-0000000007";
  ASSERT_TRUE(MakeDirectories(folder).ok());
  Manifest manifest;
  manifest.step = 7;
  manifest.state = nlohmann::json::object();
  manifest.tensors = {{"model/w", DType::kF32, w.shape(), {}},
                      {"model/v", DType::kBF16, v.shape(), {}}};
  const std::vector<NamedTensor> parts[] = {{{"w", columns(0, 4)}, {"v", v.Rows(3, 7)}},
                                            {{"w", columns(4, 2)}, {"v", v.Rows(0, 3)}}};
  const std::vector<int64_t> starts[] = {{0, 0, 0}, {0, 4, 0}};
  for (int writer = 0; writer < 2; ++writer) {
    const auto shard = WriteShard(folder, writer, parts[writer], {});
    ASSERT_TRUE(shard.ok()) << shard.status();
    for (size_t i = 0; i < 2; ++i) {
      TensorPiece piece = shard->tensors[i].pieces[0];
      piece.data.file = writer;
      piece.start = i == 0 ? starts[writer] : std::vector<int64_t>{writer == 0 ? 3 : 0};
      manifest.tensors[i].pieces.push_back(piece);
    }
    manifest.files.push_back(shard->file);
  }
  const auto view = WriteModelView(folder, manifest);
  ASSERT_TRUE(view.ok()) << view.status();
  manifest.files.push_back(*view);
  ASSERT_TRUE(WriteFileAtomic(folder + "/manifest.json", SerializeManifest(manifest)).ok());
  const auto latest = FindLatest(run.path());
  ASSERT_TRUE(latest.ok()) << latest.status();
  std::vector<NamedTensor> targets = {{"model/v", Noise({10}, DType::kBF16, 8)},
                                      {"model/w", Noise({4, 6, 2}, DType::kF32, 9)}};
  const absl::Status status = LoadTensors(latest->checkpoint, targets);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_TRUE(SameBits(targets[0].tensor, v));
  EXPECT_TRUE(SameBits(targets[1].tensor, w));
  const auto dump = [&](const char* name) {
    EXPECT_EQ(Shell(StrCat("h5dump -d /", name, " -b FILE -o ", out.path(), "/x ", folder,
                           "/model.h5 > /dev/null")),
              0);
    return Read(out.path() + "/x");
  };
  EXPECT_EQ(dump("w"), BytesOf(w));
  EXPECT_EQ(dump("v"), BytesOf(v));
  // Without the second shard its part, and only its part, is NaN.
  std::filesystem::remove(folder + "/shard-00001.h5");
  EXPECT_EQ(dump("v").substr(6), BytesOf(v).substr(6));
  EXPECT_TRUE(AllNan(dump("v").substr(0, 6), DType::kBF16));
  const absl::Status lost = LoadTensors(latest->checkpoint, targets);
  EXPECT_TRUE(absl::IsDataLoss(lost));
  EXPECT_THAT(std::string(lost.message()), ::testing::HasSubstr("shard-00001.h5: is missing"));
}

}  // namespace
}  // namespace choir::checkpoint_test
