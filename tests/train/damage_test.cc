// A run whose checkpoints were damaged: it falls back, or ends, but never starts again in silence.
// One whose data is damaged ends.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>

#include "base/strings.h"
#include "checkpoint/names.h"
#include "data/shard/corpus_index.h"
#include "tests/train/run_fixture.h"

namespace choir::train_test {
namespace {

std::string Reference() {
  const std::string run = FreshPath("reference");
  EXPECT_EQ(Choir(TrainArgs("tiny", run)).exit, 0);
  return run;
}

// Stops after two checkpoints of the interval and the one of the stop; two of them are kept.
std::string StoppedRun() {
  const std::string run = FreshPath("damaged");
  Process process(ChoirCommand(TrainArgs("tiny", run)));
  EXPECT_TRUE(process.WaitForStep(run, 22));
  process.Signal(SIGTERM);
  EXPECT_EQ(process.Wait().exit, 75);
  EXPECT_EQ(GoodSteps(run).size(), 2u);
  return run;
}

std::string FileOf(const std::string& run, int64_t step, const std::string& name) {
  return StrCat(CheckpointsFolder(run), "/", StepName(step), "/", name);
}

TEST(DamageTest, SlowFallsBackToTheCheckpointBefore) {
  const std::string run = StoppedRun();
  const std::vector<int64_t> steps = GoodSteps(run);
  DamageCheckpoint(run, steps[1]);
  const ProcessResult result = Choir(TrainArgs("tiny", run, {"--resume"}));
  ASSERT_EQ(result.exit, 0) << result.err;
  EXPECT_NE(result.err.find(FileOf(run, steps[1], "shard-00000.h5")), std::string::npos)
      << result.err;
  EXPECT_NE(result.err.find("warning"), std::string::npos) << result.err;
  EXPECT_NE(result.out.find(StrCat("resumed after step ", steps[0])), std::string::npos);
  ExpectSameRun(run, Reference());
}

TEST(DamageTest, SlowFallsBackFromATruncatedManifest) {
  const std::string run = StoppedRun();
  const std::vector<int64_t> steps = GoodSteps(run);
  const std::string manifest = FileOf(run, steps[1], "manifest.json");
  std::filesystem::resize_file(manifest, 100);
  const ProcessResult result = Choir(TrainArgs("tiny", run, {"--resume"}));
  ASSERT_EQ(result.exit, 0) << result.err;
  EXPECT_NE(result.err.find(manifest), std::string::npos) << result.err;
  ExpectSameRun(run, Reference());
}

TEST(DamageTest, NeverStartsAgainWhenAllAreDamaged) {
  const std::string run = StoppedRun();
  const std::vector<int64_t> steps = GoodSteps(run);
  DamageCheckpoint(run, steps[0]);
  std::filesystem::remove(FileOf(run, steps[1], "manifest.json"));
  const auto before = Snapshot(run);
  const ProcessResult result = Choir(TrainArgs("tiny", run, {"--resume"}));
  EXPECT_EQ(result.exit, 3) << result.err;
  EXPECT_NE(result.err.find(FileOf(run, steps[0], "shard-00000.h5")), std::string::npos)
      << result.err;
  EXPECT_NE(result.err.find(StepName(steps[1])), std::string::npos) << result.err;
  EXPECT_NE(result.err.find("nothing to continue"), std::string::npos) << result.err;
  EXPECT_EQ(result.err.find("from the beginning"), std::string::npos) << result.err;
  EXPECT_EQ(Snapshot(run), before);
}

TEST(DamageTest, VerifyNamesTheFileAndGenerateRefuses) {
  const std::string run = FreshPath("damaged");
  ASSERT_EQ(Choir(TrainArgs("tiny", run, {"--train.steps=5", "--checkpoint.interval=0"})).exit, 0);
  const std::string folder = StrCat(CheckpointsFolder(run), "/", StepName(5));
  EXPECT_EQ(Choir({"checkpoint", "verify", folder}).exit, 0);
  DamageCheckpoint(run, 5);
  const ProcessResult verify = Choir({"checkpoint", "verify", folder});
  EXPECT_EQ(verify.exit, 3);
  EXPECT_NE((verify.out + verify.err).find("shard-00000.h5"), std::string::npos);
  const ProcessResult generate = Choir({"generate", run, "--prompt", "a"});
  EXPECT_EQ(generate.exit, 3);
  EXPECT_NE(generate.err.find("shard-00000.h5"), std::string::npos) << generate.err;
}

// A flipped bit in the tokens: training ends with the file, dataset and place, before a step is
// trained on it; `choir data verify` finds it too.
TEST(DamageTest, DamagedTokensAreNeverTrainedOn) {
  const std::string data = FreshPath("damaged-data");
  std::filesystem::copy(TinyData(), data, std::filesystem::copy_options::recursive);
  const ProcessResult sound = Choir({"data", "verify", data});
  EXPECT_EQ(sound.exit, 0) << sound.err;
  const CorpusIndex index = ReadCorpusIndex(data).value();
  const auto shard = std::ranges::find(index.shards, Split::kTrain, &ShardInfo::split);
  ASSERT_NE(shard, index.shards.end());
  const std::string path = data + "/" + shard->file;
  std::string bytes = Read(path);
  const int64_t at = shard->addresses.arrays[0] + shard->token_bytes * (shard->tokens / 2);
  bytes[static_cast<size_t>(at)] = static_cast<char>(bytes[static_cast<size_t>(at)] ^ 4);
  Write(path, bytes);

  const ProcessResult verify = Choir({"data", "verify", data, "--threads", "2"});
  EXPECT_EQ(verify.exit, 3);
  EXPECT_NE(verify.out.find(path + ": damaged: dataset 'tokens', chunk "), std::string::npos)
      << verify.out;
  const std::string run = FreshPath("damaged-run");
  const ProcessResult train =
      Choir({"train", ConfigPath("tiny"), "--run.dir=" + run, "--data.path=" + data});
  EXPECT_EQ(train.exit, 3) << train.err;
  EXPECT_NE(train.err.find(path + ": damaged: dataset 'tokens', chunk "), std::string::npos)
      << train.err;
}

}  // namespace
}  // namespace choir::train_test
