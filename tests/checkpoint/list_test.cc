#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "checkpoint/describe.h"
#include "checkpoint/names.h"
#include "tests/checkpoint/fixture.h"

namespace choir::checkpoint_test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<int64_t> StepsOf(const RunFolder& run) {
  const auto entries = ListCheckpoints(run.path());
  EXPECT_TRUE(entries.ok()) << entries.status();
  std::vector<int64_t> steps;
  for (const CheckpointEntry& entry : *entries) steps.push_back(entry.step);
  return steps;
}

TEST(List, AnEmptyRunHasNone) {
  RunFolder run;
  EXPECT_THAT(StepsOf(run), IsEmpty());
  EXPECT_TRUE(absl::IsNotFound(FindLatest(run.path()).status()));
  EXPECT_TRUE(CleanTemporaries(run.path()).ok());
  EXPECT_TRUE(PruneCheckpoints(run.path(), 1).ok());
}

TEST(List, NewestByStepAndPruned) {
  RunFolder run;
  for (const int64_t step : {20, 3, 100, 7}) Save(run, SomeContents(step));
  EXPECT_THAT(StepsOf(run), ElementsAre(3, 7, 20, 100));
  EXPECT_EQ(FindLatest(run.path())->checkpoint.manifest.step, 100);
  EXPECT_EQ(FindLatest(run.path(), 99)->checkpoint.manifest.step, 20);
  EXPECT_TRUE(absl::IsNotFound(FindLatest(run.path(), 2).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(PruneCheckpoints(run.path(), 0).status()));
  // A damaged one is not counted as kept, and not removed.
  Write(run.path() + "/checkpoints/step-0000000100/shard-00000.h5", "short");
  EXPECT_THAT(*PruneCheckpoints(run.path(), 2), ElementsAre(3));
  EXPECT_THAT(StepsOf(run), ElementsAre(7, 20, 100));
  EXPECT_THAT(*PruneCheckpoints(run.path(), 2), IsEmpty());
}

TEST(List, OnlyTemporariesAreCleaned) {
  RunFolder run;
  Save(run, SomeContents(1));
  const std::string folder = run.path() + "/checkpoints/";
  const std::string temporary = TemporaryName(2);
  for (const std::string& name : {temporary, std::string(".tmp-mine"), std::string("step-2")}) {
    ASSERT_TRUE(MakeDirectories(folder + name).ok());
    Write(folder + name + "/shard-00000.h5", "half");
  }
  EXPECT_THAT(StepsOf(run), ElementsAre(1));
  EXPECT_THAT(*CleanTemporaries(run.path()), ElementsAre(temporary));
  EXPECT_FALSE(std::filesystem::exists(folder + temporary));
  EXPECT_TRUE(std::filesystem::exists(folder + ".tmp-mine"));
  EXPECT_TRUE(std::filesystem::exists(folder + "step-2"));
}

TEST(Names, StepAndShardNames) {
  EXPECT_EQ(StepName(1000), "step-0000001000");
  EXPECT_EQ(ParseStepName(StepName(kMaxStep)), kMaxStep);
  for (const char* bad : {"step-1", "step-00000010000", "step--000000001", "stop-0000000001",
                          "step-000000001x", "step-0000000001 "}) {
    EXPECT_FALSE(ParseStepName(bad).has_value()) << bad;
  }
  EXPECT_TRUE(IsShardName(ShardName(0)));
  EXPECT_TRUE(IsShardName(ShardName(99999)));
  for (const char* bad : {"shard-0.h5", "shard-0000a.h5", "../shard-00000.h5", "shard-00000.h5x"}) {
    EXPECT_FALSE(IsShardName(bad)) << bad;
  }
  EXPECT_NE(TemporaryName(3), TemporaryName(3));
}

TEST(Describe, TextAndJsonSayWhatIsThere) {
  RunFolder run;
  const std::string path = Save(run, SomeContents(8));
  Save(run, SomeContents(9));
  const std::string shard = run.path() + "/checkpoints/step-0000000009/shard-00000.h5";
  std::string bytes = Read(shard);
  const auto damaged = OpenCheckpoint(run.path() + "/checkpoints/step-0000000009");
  bytes[static_cast<size_t>(damaged->manifest.tensors[0].pieces[0].data.offset)] ^= 1;
  Write(shard, bytes);

  EXPECT_THAT(DescribeText(*OpenCheckpoint(path)),
              AllOf(HasSubstr("step          8"), HasSubstr("shard-00000.h5"),
                    HasSubstr("model                   5 tensors"), HasSubstr("optim/embed/m"),
                    HasSubstr("bf16"), HasSubstr("lanes/0")));
  const nlohmann::json json = DescribeJson(*OpenCheckpoint(path));
  EXPECT_EQ(json["kinds"]["model"]["tensors"], 5);
  EXPECT_EQ(json["kinds"]["model"]["elements"], 300 * 70 + 64 * 32 + 3 * 5 * 7 * 2 + 1);
  EXPECT_EQ(json["tensors"].size(), 7u);
  EXPECT_EQ(json["state"]["below"], -8);

  const VerifyReport good = VerifyCheckpoint(path), bad = VerifyCheckpoint(damaged->path);
  EXPECT_THAT(VerifyText(good), HasSubstr("ok: step 8, 2 files"));
  EXPECT_EQ(VerifyJson(good)["ok"], true);
  EXPECT_EQ(good.chunks, 7);
  EXPECT_THAT(VerifyText(bad), AllOf(HasSubstr(shard + ": checksum differs"),
                                     HasSubstr("lost: model/embed\n"), HasSubstr("damaged: ")));
  EXPECT_EQ(VerifyJson(bad)["damaged"], nlohmann::json({"model/embed"}));

  std::filesystem::remove(shard);
  const auto entries = ListCheckpoints(run.path());
  ASSERT_TRUE(entries.ok());
  EXPECT_THAT(ListText(*entries), AllOf(HasSubstr("ok"), HasSubstr("damaged"), HasSubstr(path),
                                        HasSubstr("is missing")));
  EXPECT_EQ(ListJson(*entries)[0]["state"], "ok");
  EXPECT_EQ(ListJson(*entries)[1]["state"], "damaged");
  EXPECT_THAT(VerifyText(VerifyCheckpoint(run.path())), HasSubstr("cannot open"));
}

}  // namespace
}  // namespace choir::checkpoint_test
