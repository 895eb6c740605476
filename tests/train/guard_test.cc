// Training that cannot go on: numbers that are not finite, a disk that is full.
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>

#include "base/strings.h"
#include "tests/train/run_fixture.h"

namespace choir::train_test {
namespace {

TEST(NumericGuardTest, NamesStepAndParameterAndKeepsTheCheckpoints) {
  const std::string run = FreshPath("diverges");
  ASSERT_EQ(Choir(TrainArgs("tiny", run, {"--train.steps=10", "--checkpoint.interval=5"})).exit, 0);
  const ProcessResult result =
      Choir(TrainArgs("tiny", run,
                      {"--train.steps=30", "--checkpoint.interval=5", "--resume", "--optim.lr=1e30",
                       "--optim.clip_norm=auto"}));
  EXPECT_EQ(result.exit, 4) << result.err;
  EXPECT_NE(result.err.find("step 12: the gradient of "), std::string::npos) << result.err;
  EXPECT_NE(result.err.find(" is not finite"), std::string::npos) << result.err;
  EXPECT_EQ(GoodSteps(run), (std::vector<int64_t>{5, 10}));
  EXPECT_EQ(ReadMetrics(run).steps.size(), 11u) << "the step that failed is not reported as done";

  const ProcessResult resumed =
      Choir(TrainArgs("tiny", run, {"--train.steps=14", "--checkpoint.interval=5", "--resume"}));
  EXPECT_EQ(resumed.exit, 0) << resumed.err;
  EXPECT_EQ(GoodSteps(run).back(), 14);
  for (const nlohmann::json& line : ReadMetrics(run).steps) EXPECT_TRUE(line["loss"].is_number());
}

TEST(NumericGuardTest, NamesAParameterOfTheModel) {
  const std::string run = FreshPath("huge");
  const ProcessResult result = Choir(TrainArgs("moe-tiny", run, {"--model.init_std=1e30"}));
  EXPECT_EQ(result.exit, 4) << result.err;
  EXPECT_NE(result.err.find("step 1: the gradient of "), std::string::npos) << result.err;
  EXPECT_TRUE(GoodSteps(run).empty());
}

// The run ends at the save that does not fit, and continues when there is room.
TEST(DiskFullTest, SlowFileLimit) {
  const std::string reference = FreshPath("reference");
  ASSERT_EQ(Choir(TrainArgs("tiny", reference, {"--train.steps=15"})).exit, 0);
  const std::string run = FreshPath("limited");
  const std::vector<std::string> more = {"--train.steps=15", "--resume"};
  {
    Process process(ChoirCommand(TrainArgs("tiny", run, more)));
    ASSERT_TRUE(process.WaitForStep(run, 3));
    process.Signal(SIGTERM);
    ASSERT_EQ(process.Wait().exit, 75);
  }
  const std::vector<int64_t> saved = GoodSteps(run);
  ASSERT_EQ(saved.size(), 1u);
  const ProcessResult full = Choir(TrainArgs("tiny", run, more), {.max_file_size = 500'000});
  EXPECT_EQ(full.exit, 1) << full.err;
  EXPECT_NE(full.err.find(run + "/checkpoints/"), std::string::npos) << full.err;
  EXPECT_NE(full.err.find(std::strerror(EFBIG)), std::string::npos) << full.err;
  EXPECT_EQ(GoodSteps(run), saved);
  EXPECT_EQ(Names(run + "/checkpoints").size(), 1u) << "nothing half written is left";

  const ProcessResult resumed = Choir(TrainArgs("tiny", run, more));
  ASSERT_EQ(resumed.exit, 0) << resumed.err;
  ExpectSameRun(run, reference);
}

// A small file system of its own.
class SmallDisk {
 public:
  explicit SmallDisk(const std::string& path) : path_(path) {
    std::filesystem::create_directories(path);
    mounted_ = mount("tmpfs", path.c_str(), "tmpfs", 0, "size=9m") == 0;
  }
  ~SmallDisk() {
    if (mounted_) umount(path_.c_str());
  }
  bool mounted() const { return mounted_; }
  bool Grow() const { return mount("tmpfs", path_.c_str(), "tmpfs", MS_REMOUNT, "size=64m") == 0; }

 private:
  std::string path_;
  bool mounted_ = false;
};

TEST(DiskFullTest, SlowSmallDisk) {
  const std::string disk_path = FreshPath("disk");
  const SmallDisk disk(disk_path);
  if (!disk.mounted()) GTEST_SKIP() << "only root may mount: " << std::strerror(errno);
  const std::string reference = FreshPath("reference");
  const std::vector<std::string> steps = {"--train.steps=40", "--checkpoint.keep_last=4"};
  ASSERT_EQ(Choir(TrainArgs("tiny", reference, steps)).exit, 0);

  const std::string run = disk_path + "/run";
  const ProcessResult full = Choir(TrainArgs("tiny", run, steps));
  EXPECT_EQ(full.exit, 1) << full.err;
  EXPECT_NE(full.err.find(run + "/checkpoints/"), std::string::npos) << full.err;
  EXPECT_NE(full.err.find(std::strerror(ENOSPC)), std::string::npos) << full.err;
  const std::vector<int64_t> saved = GoodSteps(run);
  EXPECT_FALSE(saved.empty());
  EXPECT_EQ(Names(run + "/checkpoints").size(), saved.size()) << "nothing half written is left";

  ASSERT_TRUE(disk.Grow());
  std::vector<std::string> resume = steps;
  resume.push_back("--resume");
  const ProcessResult resumed = Choir(TrainArgs("tiny", run, resume));
  ASSERT_EQ(resumed.exit, 0) << resumed.err;
  ExpectSameRun(run, reference);
}

}  // namespace
}  // namespace choir::train_test
