// `choir train` under mpirun: many ranks train, save and continue as one does.
#ifdef CHOIR_MPIRUN
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/strings.h"
#include "tests/train/run_fixture.h"

namespace choir::train_test {
namespace {

using ::testing::HasSubstr;
using Strings = std::vector<std::string>;

constexpr const char* kEnvironment =
    "OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMP_NUM_THREADS=1 "
    "OMPI_MCA_btl_vader_single_copy_mechanism=none OMPI_MCA_mpi_yield_when_idle=1 ";

// `choir` with these arguments on `ranks` ranks.
Strings OnRanks(int ranks, const Strings& arguments) {
  std::string command = StrCat("exec env ", kEnvironment, CHOIR_MPIRUN,
                               " --oversubscribe --bind-to none --timeout 100 -np ", ranks);
  for (const std::string& argument : ChoirCommand(arguments)) command += " '" + argument + "'";
  return Shell(command);
}

Strings Invariant(const std::string& run, const Strings& more = {}) {
  Strings all = {"--numerics=invariant", "--train.microbatch_sequences=1", "--train.steps=8",
                 "--checkpoint.interval=4"};
  all.insert(all.end(), more.begin(), more.end());
  return TrainArgs("moe-tiny", run, all);
}

// All that layouts have in common to the last bit. The balance losses are sums over the ranks' own
// tokens, each rounded: only reported.
void ExpectSameTraining(const std::string& a, const std::string& b) {
  const Metrics left = ReadMetrics(a), right = ReadMetrics(b);
  ASSERT_EQ(left.steps.size(), right.steps.size());
  EXPECT_EQ(left.losses, right.losses);
  for (size_t i = 0; i < left.steps.size(); ++i) {
    for (const char* key : {"tokens", "grad_norm", "lr", "language_loss", "data_digest",
                            "expert_load_max", "expert_load_mean"}) {
      EXPECT_EQ(left.steps[i][key], right.steps[i][key]) << key << " of line " << i;
    }
  }
  EXPECT_EQ(left.validations, right.validations);
  ExpectSameCheckpoint(a, b);
}

TEST(MpiRunTest, IsTheRunOfOneRank) {
  const std::string one = FreshPath("one"), many = FreshPath("many");
  ASSERT_EQ(Choir(Invariant(one)).exit, 0);
  const ProcessResult result =
      Process(OnRanks(4, Invariant(many, {"--parallel.data=2", "--parallel.tensor=2",
                                          "--parallel.expert=4", "--parallel.shard=2"})))
          .Wait();
  ASSERT_EQ(result.exit, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("4 ranks: data 2"));
  ExpectSameTraining(one, many);
  for (int rank = 0; rank < 4; ++rank) {
    EXPECT_TRUE(Exists(StrCat(many, "/log/rank-", rank, ".txt"))) << rank;
  }
}

TEST(MpiRunTest, ContinuesOnAnotherLayout) {
  const std::string whole = FreshPath("whole"), cut = FreshPath("cut");
  ASSERT_EQ(Choir(Invariant(whole)).exit, 0);
  ASSERT_EQ(Choir(Invariant(cut)).exit, 0);
  std::filesystem::remove_all(cut + "/checkpoints/step-0000000008");
  Strings arguments = Invariant(
      cut, {"--parallel.pipeline=2", "--parallel.context=2", "--parallel.schedule=zero_bubble"});
  arguments.push_back("--resume");
  const ProcessResult result = Process(OnRanks(4, arguments)).Wait();
  ASSERT_EQ(result.exit, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("resumed after step 4"));
  ExpectSameTraining(whole, cut);
}

// Masters, 8-bit moments and whole matrices, cut in another way by each layout.
TEST(MpiRunTest, RoundedStateContinuesOnAnotherLayout) {
  const std::string whole = FreshPath("whole"), cut = FreshPath("cut");
  const auto rounded = [](const std::string& run, const Strings& more) {
    Strings all = {"--precision.recipe=fp8-block", "--precision.moments=int8", "--optim.kind=muon"};
    all.insert(all.end(), more.begin(), more.end());
    return Invariant(run, all);
  };
  ASSERT_EQ(Choir(rounded(whole, {})).exit, 0);
  const Strings first = {"--parallel.data=2", "--parallel.shard=2", "--parallel.zero=3",
                         "--parallel.tensor=2"};
  const ProcessResult started = Process(OnRanks(4, rounded(cut, first))).Wait();
  ASSERT_EQ(started.exit, 0) << started.err;
  std::filesystem::remove_all(cut + "/checkpoints/step-0000000008");
  const Strings second = {"--parallel.pipeline=2", "--resume"};
  const ProcessResult result = Process(OnRanks(2, rounded(cut, second))).Wait();
  ASSERT_EQ(result.exit, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("resumed after step 4"));
  ExpectSameTraining(whole, cut);
}

// From weights in shards to one rank, and back on other shards.
TEST(MpiRunTest, ShardedWeightsContinueOnAnyLayout) {
  const std::string one = FreshPath("one"), sharded = FreshPath("sharded");
  const auto resume = [](const std::string& run, int ranks, const Strings& parallel) {
    std::filesystem::remove_all(run + "/checkpoints/step-0000000008");
    Strings arguments = Invariant(run, parallel);
    arguments.push_back("--resume");
    const ProcessResult result =
        Process(ranks > 1 ? OnRanks(ranks, arguments) : ChoirCommand(arguments)).Wait();
    EXPECT_EQ(result.exit, 0) << result.err;
    EXPECT_THAT(result.out, HasSubstr("resumed after step 4"));
  };
  const Strings two = {"--parallel.data=2", "--parallel.shard=2", "--parallel.zero=3"};
  const Strings four = {"--parallel.data=2", "--parallel.shard=2", "--parallel.zero=3",
                        "--parallel.pipeline=2", "--parallel.expert=2"};
  ASSERT_EQ(Choir(Invariant(one)).exit, 0);
  const ProcessResult result = Process(OnRanks(2, Invariant(sharded, two))).Wait();
  ASSERT_EQ(result.exit, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("shard 2 (zero 3)"));
  ExpectSameTraining(one, sharded);
  resume(sharded, 1, {});
  ExpectSameTraining(one, sharded);
  resume(sharded, 4, four);
  ExpectSameTraining(one, sharded);
  resume(sharded, 2, {"--parallel.data=2", "--parallel.shard=2", "--parallel.zero=2"});
  ExpectSameTraining(one, sharded);
}

TEST(MpiRunTest, WrongDegreesAreRefusedWithTheEquation) {
  const std::string run = FreshPath("refused");
  const ProcessResult result =
      Process(OnRanks(4, TrainArgs("moe-tiny", run, {"--parallel.data=3"}))).Wait();
  EXPECT_EQ(result.exit, 2);
  EXPECT_THAT(result.err, HasSubstr("pipeline 1 x data 3 x context 1 x tensor 1 = 3, but the job "
                                    "has 4 ranks"));
  EXPECT_THAT(result.err, HasSubstr("nearest: "));
  EXPECT_FALSE(Exists(run));
}

TEST(MpiRunTest, AutoLayoutFollowsTheMemoryOfARank) {
  const auto start = [](const std::string& run, Strings parallel) {
    parallel.push_back("--train.microbatch_sequences=1");
    return Process(OnRanks(2, TrainArgs("moe-tiny", run, parallel))).Wait();
  };
  const auto with_gib = [](const std::string& gib) {
    return Strings{"--parallel.auto_layout=true", "--parallel.rank_memory_gib=" + gib,
                   "--parallel.node_size=2"};
  };
  const std::string roomy = FreshPath("roomy"), tight = FreshPath("tight"),
                    none = FreshPath("none");
  const ProcessResult much = start(roomy, {"--parallel=auto"});
  ASSERT_EQ(much.exit, 0) << much.err;
  EXPECT_THAT(much.err, HasSubstr("parallel: auto chose data=2 expert=2"));
  const ProcessResult little = start(tight, with_gib("0.0042"));
  ASSERT_EQ(little.exit, 0) << little.err;
  EXPECT_THAT(little.err, HasSubstr("parallel: auto chose data=2 shard=2 expert=2"));
  const ProcessResult too_little = start(none, with_gib("0.003"));
  EXPECT_EQ(too_little.exit, 2);
  EXPECT_THAT(too_little.err, HasSubstr("finds no layout of 2 ranks that fits"));
  EXPECT_FALSE(Exists(none));
}

// The process of one rank, by its command line and environment.
pid_t FindRank(const std::string& run, int rank) {
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != name.npos) continue;
    auto content = [&](const char* file) {
      std::ifstream in(entry.path() / file, std::ios::binary);
      return std::string(std::istreambuf_iterator<char>(in), {});
    };
    if (content("cmdline").find("--run.dir=" + run) == std::string::npos) continue;
    if (content("environ").find(StrCat("OMPI_COMM_WORLD_RANK=", rank)) == std::string::npos)
      continue;
    return std::atoi(name.c_str());
  }
  return -1;
}

TEST(MpiRunTest, AKilledRankEndsTheJobAndIsNamed) {
  const std::string run = FreshPath("killed");
  Process job(OnRanks(4, TrainArgs("moe-tiny", run,
                                   {"--train.steps=100000", "--parallel.tensor=2",
                                    "--train.microbatch_sequences=1"})));
  ASSERT_TRUE(job.WaitForStep(run, 3));
  const pid_t victim = FindRank(run, 2);
  ASSERT_GT(victim, 0);
  const auto start = std::chrono::steady_clock::now();
  ASSERT_EQ(kill(victim, SIGKILL), 0);
  const ProcessResult result = job.Wait();
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
  EXPECT_NE(result.exit, 0);
  EXPECT_THAT(result.err + result.out, HasSubstr("process rank 2"));
}

}  // namespace
}  // namespace choir::train_test
#endif
