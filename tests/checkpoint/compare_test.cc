#include "checkpoint/compare.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/checkpoint/fixture.h"

namespace choir::checkpoint_test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Checkpoint Saved(const std::string& run, const CheckpointContents& contents) {
  return OpenCheckpoint(SaveCheckpoint(run, contents).value()).value();
}

// Two tensors of known values besides the noise.
CheckpointContents Known(int64_t step) {
  CheckpointContents contents = SomeContents(0);
  contents.step = step;
  contents.tensors.push_back(
      {"model/small", Tensor::From<float>({4}, std::vector<float>{3, 0, 0, 4})});
  contents.tensors.push_back({"model/other", Tensor::From<float>({2}, std::vector<float>{1, 1})});
  return contents;
}

float* Values(CheckpointContents& contents, const std::string& name) {
  for (NamedTensor& t : contents.tensors) {
    if (t.name == name) return t.tensor.data<float>();
  }
  return nullptr;
}

TEST(CompareCheckpoints, TheSameBitsAreNoDifference) {
  RunFolder one, two;
  const auto difference =
      CompareCheckpoints(Saved(one.path(), Known(1)), Saved(two.path(), Known(2))).value();
  EXPECT_TRUE(difference.empty());
  EXPECT_EQ(difference.equal_tensors, static_cast<int64_t>(Known(1).tensors.size()));
  EXPECT_THAT(DifferenceText(difference, 9), HasSubstr("no difference"));
  EXPECT_EQ(DifferenceJson(difference).at("same"), true);
}

TEST(CompareCheckpoints, RanksTensorsByRelativeDifference) {
  RunFolder one, two;
  CheckpointContents a = Known(1), b = Known(1);
  Values(b, "model/small")[1] = 0.5f;  // |a| = 5, |b| = sqrt(25.25)
  Values(b, "model/other")[0] = 2;     // |a| = sqrt(2), |b| = sqrt(5)
  const auto difference = CompareCheckpoints(Saved(one.path(), a), Saved(two.path(), b)).value();
  ASSERT_EQ(difference.tensors.size(), 2);
  EXPECT_EQ(difference.tensors[0].name, "model/other");
  EXPECT_DOUBLE_EQ(difference.tensors[0].relative, 1 / std::sqrt(5.0));
  EXPECT_EQ(difference.tensors[0].differing, 1);
  EXPECT_EQ(difference.tensors[1].name, "model/small");
  EXPECT_DOUBLE_EQ(difference.tensors[1].relative, 0.5 / std::sqrt(25.25));
  EXPECT_EQ(difference.tensors[1].largest, 0.5);
  EXPECT_EQ(difference.tensors[1].elements, 4);
  EXPECT_THAT(DifferenceText(difference, 1), HasSubstr("and 1 more"));
}

// Zeros of both signs differ in a bit and not in value; what is not finite comes first.
TEST(CompareCheckpoints, BitsAndValuesThatAreNotFinite) {
  RunFolder one, two;
  CheckpointContents a = Known(1), b = Known(1);
  Values(b, "model/small")[1] = -0.0f;
  Values(b, "model/other")[1] = std::numeric_limits<float>::quiet_NaN();
  const auto difference = CompareCheckpoints(Saved(one.path(), a), Saved(two.path(), b)).value();
  ASSERT_EQ(difference.tensors.size(), 2);
  EXPECT_EQ(difference.tensors[0].name, "model/other");
  EXPECT_EQ(difference.tensors[0].not_finite, 1);
  EXPECT_TRUE(std::isinf(difference.tensors[0].relative));
  EXPECT_EQ(difference.tensors[1].relative, 0);
  EXPECT_EQ(difference.tensors[1].differing, 1);
  EXPECT_TRUE(DifferenceJson(difference).at("tensors")[0].at("relative").is_null());
}

TEST(CompareCheckpoints, TellsWhatElseDiffers) {
  RunFolder one, two;
  CheckpointContents a = Known(1), b = Known(1);
  a.tensors.erase(a.tensors.begin());  // model/embed
  b.tensors.pop_back();                // model/other
  b.tensors.back() = {"model/small", Noise({2, 2}, DType::kBF16, 1)};
  b.blobs["lanes/0"] = "another";
  b.blobs["new"] = "x";
  b.state["lr"] = 2;
  b.config += "x: 1\n";
  const auto difference = CompareCheckpoints(Saved(one.path(), a), Saved(two.path(), b)).value();
  EXPECT_THAT(difference.only_a, ElementsAre("model/other"));
  EXPECT_THAT(difference.only_b, ElementsAre("model/embed", "blobs/new"));
  EXPECT_THAT(difference.mismatched, ElementsAre("model/small: f32 [4] and bf16 [2, 2]"));
  EXPECT_THAT(difference.blobs, ElementsAre("lanes/0"));
  EXPECT_THAT(difference.state, ElementsAre("lr"));
  EXPECT_TRUE(difference.config);
  EXPECT_THAT(difference.tensors, IsEmpty());
  EXPECT_FALSE(difference.empty());
}

TEST(CompareCheckpoints, DamageIsAnError) {
  RunFolder one, two;
  const Checkpoint a = Saved(one.path(), Known(1)), b = Saved(two.path(), Known(1));
  std::fstream file(b.path + "/shard-00000.h5", std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(b.manifest.tensors[0].pieces[0].data.offset);
  file.put('!');
  file.close();
  const auto status = CompareCheckpoints(a, b).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr("shard-00000.h5"));
}

}  // namespace
}  // namespace choir::checkpoint_test
