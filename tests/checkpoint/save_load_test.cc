#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "checkpoint/integrity.h"
#include "checkpoint/names.h"
#include "tests/checkpoint/fixture.h"

namespace choir::checkpoint_test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> NamesIn(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

TEST(SaveLoad, RoundTripOfEveryDtypeIsBitwise) {
  RunFolder run;
  const CheckpointContents contents = SomeContents(1000);
  const std::string path = Save(run, contents);
  EXPECT_EQ(path, run.path() + "/checkpoints/step-0000001000");
  EXPECT_THAT(NamesIn(path), ElementsAre("manifest.json", "model.h5", "shard-00000.h5"));
  EXPECT_THAT(NamesIn(run.path() + "/checkpoints"), ElementsAre("step-0000001000"));
  EXPECT_TRUE(Compare(path, contents).ok()) << Compare(path, contents);
  EXPECT_TRUE(VerifyCheckpoint(path).status().ok()) << VerifyCheckpoint(path).status();
}

TEST(SaveLoad, SignallingNanPayloadsSurvive) {
  RunFolder run;
  CheckpointContents contents;
  contents.step = 1;
  const auto add = [&](const char* name, DType dtype, std::vector<uint64_t> patterns) {
    const int64_t size = SizeOf(dtype);
    Tensor t = Tensor::Empty({static_cast<int64_t>(patterns.size())},
                             {dtype, Device::kCpu, MemoryCategory::kParameters});
    for (size_t i = 0; i < patterns.size(); ++i) {
      std::memcpy(static_cast<char*>(t.raw()) + i * static_cast<size_t>(size), &patterns[i],
                  static_cast<size_t>(size));
    }
    contents.tensors.push_back({name, t});
  };
  add("model/f64", DType::kF64, {0x7ff0000000000001, 0xfff8dead0000beef, 0x8000000000000000, 1});
  add("model/f32", DType::kF32, {0x7f800001, 0xffc0dead, 0x80000000, 1});
  add("model/bf16", DType::kBF16, {0x7f81, 0xffde, 0x8000, 1});
  add("model/f16", DType::kF16, {0x7c01, 0xfead, 0x8000, 1});
  EXPECT_TRUE(Compare(Save(run, contents), contents).ok());
}

TEST(SaveLoad, TensorLargerThanAChunkAndViews) {
  RunFolder run;
  CheckpointContents contents;
  const Tensor big = Noise({3, 1 << 20}, DType::kF32, 5);
  contents.tensors = {{"model/big", big}, {"model/view", big.Rows(1, 1)}};
  const std::string path = Save(run, contents);
  EXPECT_TRUE(Compare(path, contents).ok());
  const auto checkpoint = OpenCheckpoint(path);
  ASSERT_TRUE(checkpoint.ok());
  EXPECT_EQ(checkpoint->manifest.tensors[0].pieces[0].data.checksums.size(), 3u);
}

TEST(SaveLoad, NothingAtAllIsACheckpointToo) {
  RunFolder run;
  EXPECT_TRUE(Compare(Save(run, {}), {}).ok());
}

TEST(SaveLoad, SameContentsMakeTheSameFiles) {
  RunFolder a, b;
  const std::string first = Save(a, SomeContents(3)), second = Save(b, SomeContents(3));
  for (const char* file : {"manifest.json", "model.h5", "shard-00000.h5"}) {
    EXPECT_EQ(Read(first + "/" + file), Read(second + "/" + file)) << file;
  }
}

TEST(SaveLoad, AnExistingStepIsNeverOverwritten) {
  RunFolder run;
  const CheckpointContents contents = SomeContents(5);
  const std::string path = Save(run, contents);
  EXPECT_EQ(Save(run, contents), path);
  for (const int change : {0, 1, 2, 3}) {
    CheckpointContents other = SomeContents(5);
    if (change == 0) other.tensors[1].tensor = Noise({64, 32}, DType::kBF16, 9);
    if (change == 1) other.state["lr"] = 0.2;
    if (change == 2) other.blobs["empty"] = "x";
    if (change == 3) other.tensors.pop_back();
    const absl::Status status = SaveCheckpoint(run.path(), other).status();
    EXPECT_TRUE(absl::IsAlreadyExists(status)) << change << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(path));
  }
  EXPECT_TRUE(Compare(path, contents).ok());
  // The view is not needed to load, so a checkpoint without it is not damaged.
  std::filesystem::remove(path + "/model.h5");
  CheckpointContents other = SomeContents(5);
  other.config = "b: 2\n";
  EXPECT_TRUE(absl::IsAlreadyExists(SaveCheckpoint(run.path(), other).status()));
}

TEST(SaveLoad, ADamagedStepIsMovedAsideAndReplaced) {
  RunFolder run;
  const CheckpointContents contents = SomeContents(5);
  const std::string path = Save(run, contents);
  std::string shard = Read(path + "/shard-00000.h5");
  shard[shard.size() / 2] ^= 1;
  Write(path + "/shard-00000.h5", shard);
  EXPECT_EQ(Save(run, contents), path);
  EXPECT_TRUE(Compare(path, contents).ok());
  const auto names = NamesIn(run.path() + "/checkpoints");
  ASSERT_EQ(names.size(), 2u);
  EXPECT_THAT(names[0], HasSubstr("damaged-5-"));
  EXPECT_EQ(Read(run.path() + "/checkpoints/" + names[0] + "/shard-00000.h5"), shard);
}

TEST(SaveLoad, ListsEveryMissingUnexpectedAndMismatchedTensor) {
  RunFolder run;
  const CheckpointContents contents = SomeContents(5);
  const auto checkpoint = OpenCheckpoint(Save(run, contents));
  ASSERT_TRUE(checkpoint.ok());
  std::vector<NamedTensor> targets = TargetsOf(contents);
  targets[0].tensor = Noise({70, 300}, DType::kF32, 1);
  targets[1].tensor = Noise({64, 32}, DType::kF16, 1);
  targets[2].name = "model/new1";
  targets[3].name = "model/new2";
  const Tensor before = targets[5].tensor.Clone();
  const absl::Status status = LoadTensors(*checkpoint, targets);
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("mismatch: model/embed is f32 [300, 70] in the checkpoint, "
                              "f32 [70, 300] in this run"),
                    HasSubstr("mismatch: model/layers.0/attn/q is bf16 [64, 32]"),
                    HasSubstr("missing in the checkpoint: model/new1"),
                    HasSubstr("missing in the checkpoint: model/new2"),
                    HasSubstr("unexpected in the checkpoint: model/scale"),
                    HasSubstr("unexpected in the checkpoint: model/layers.0/attn/k")));
  EXPECT_TRUE(SameBits(before, targets[5].tensor)) << "a failed load wrote into a target";
}

TEST(SaveLoad, NotStrictLoadsAPart) {
  RunFolder run;
  const CheckpointContents contents = SomeContents(5);
  const auto checkpoint = OpenCheckpoint(Save(run, contents));
  ASSERT_TRUE(checkpoint.ok());
  std::vector<NamedTensor> targets = {TargetsOf(contents)[1]};
  EXPECT_TRUE(absl::IsFailedPrecondition(LoadTensors(*checkpoint, targets)));
  EXPECT_TRUE(LoadTensors(*checkpoint, targets, {.strict = false}).ok());
  EXPECT_TRUE(SameBits(targets[0].tensor, contents.tensors[1].tensor));
  targets[0].name = "model/other";
  EXPECT_TRUE(absl::IsFailedPrecondition(LoadTensors(*checkpoint, targets, {.strict = false})));
}

TEST(SaveLoad, RefusesWhatCannotBeStored) {
  const auto refused = [](auto&& change) {
    RunFolder run;
    CheckpointContents contents = SomeContents(5);
    change(contents);
    const absl::Status status = SaveCheckpoint(run.path(), contents).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_FALSE(std::filesystem::exists(run.path() + "/checkpoints/step-0000000005"));
    return std::string(status.message());
  };
  using C = CheckpointContents;
  const Tensor one = Noise({1}, DType::kF32, 1);
  EXPECT_THAT(refused([&](C& c) { c.state["x"] = std::nan(""); }), HasSubstr("state"));
  EXPECT_THAT(refused([&](C& c) { c.state["x"] = "\xff"; }), HasSubstr("state"));
  EXPECT_THAT(refused([&](C& c) { c.config = "\xff"; }), HasSubstr("config"));
  EXPECT_THAT(refused([&](C& c) { c.step = -1; }), HasSubstr("step"));
  EXPECT_THAT(refused([&](C& c) {
                c.tensors.push_back({"model/scale", one});
              }),
              HasSubstr("twice"));
  EXPECT_THAT(refused([&](C& c) {
                c.tensors.push_back({"model/scale/x", one});
              }),
              HasSubstr("together"));
  EXPECT_THAT(refused([&](C& c) { c.tensors.push_back({"../x", one}); }), HasSubstr("\"..\""));
  EXPECT_THAT(refused([&](C& c) { c.tensors.push_back({"/x", one}); }), HasSubstr("empty part"));
  EXPECT_THAT(refused([&](C& c) { c.tensors.push_back({"a%b", one}); }), HasSubstr("letters"));
  EXPECT_THAT(refused([&](C& c) { c.tensors.push_back({"blobs/x", one}); }), HasSubstr("blobs"));
  EXPECT_THAT(refused([&](C& c) {
                c.tensors.push_back({"model/u", Tensor()});
              }),
              HasSubstr("undefined"));
  EXPECT_THAT(refused([&](C& c) {
                nlohmann::json deep = 1;
                for (int i = 0; i < 64; ++i) deep = nlohmann::json::array({deep});
                c.state["deep"] = deep;
              }),
              HasSubstr("deeper"));
}

}  // namespace
}  // namespace choir::checkpoint_test
