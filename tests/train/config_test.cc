#include "train/config.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/config_fields.h"
#include "train/overrides.h"

namespace choir {
namespace {

TEST(RunConfigTest, NoFieldIsForgotten) {
  EXPECT_EQ(ForgottenFields<RunConfig>(), "");
  EXPECT_EQ(CountFields<RunConfig>(), CountVisited<RunConfig>());
}

TEST(RunConfigTest, RowsRiseLinearly) {
  RunConfig config;
  config.data.batch_sequences = 10;
  EXPECT_EQ(BatchRows(config, 0), 10) << "no ramp";
  config.train.batch_ramp = {.start_sequences = 2, .steps = 4};
  const int64_t rows[] = {2, 4, 6, 8, 10, 10};
  for (int64_t step = 0; step < 6; ++step) EXPECT_EQ(BatchRows(config, step), rows[step]) << step;
}

std::vector<std::string> Keys(const std::vector<ResumeChange>& changes) {
  std::vector<std::string> keys;
  for (const ResumeChange& change : changes) keys.push_back(change.key);
  return keys;
}
using Strings = std::vector<std::string>;

TEST(CompareForResumeTest, SortsTheDifferences) {
  RunConfig saved;
  RunConfig wanted = saved;
  EXPECT_TRUE(CompareForResume(saved, wanted).honoured.empty());
  EXPECT_TRUE(CompareForResume(saved, wanted).refused.empty());
  wanted.run.dir = "moved";  // not worth a word
  wanted.train.steps = 7;
  wanted.train.seed = 2;
  wanted.train.microbatch_sequences = 2;
  wanted.model.hidden = 32;
  wanted.data.seed = 3;
  wanted.data.sequence_length = 128;
  wanted.data.batch_sequences = 4;
  wanted.data.packing.look_ahead = 3;
  wanted.optim.lr = 1;
  wanted.checkpoint.keep_last = 9;
  const ResumeChanges changes = CompareForResume(saved, wanted);
  EXPECT_EQ(Keys(changes.honoured),
            (Strings{"train.steps", "train.microbatch_sequences", "data.batch_sequences",
                     "optim.lr", "checkpoint.keep_last"}));
  EXPECT_EQ(Keys(changes.refused), (Strings{"train.seed", "model.hidden", "data.sequence_length",
                                            "data.seed", "data.packing.look_ahead"}));
  EXPECT_EQ(changes.refused[1].saved, "64");
  EXPECT_EQ(changes.refused[1].wanted, "32");
}

// The bias is saved state: its speed may change, but it cannot come or go.
TEST(CompareForResumeTest, BalancingBias) {
  RunConfig saved, wanted;
  saved.model.moe.bias_speed = 0.001;
  wanted.model.moe.bias_speed = 0.01;
  EXPECT_EQ(Keys(CompareForResume(saved, wanted).honoured), Strings{"model.moe.bias_speed"});
  wanted.model.moe.bias_speed = 0;
  EXPECT_EQ(Keys(CompareForResume(saved, wanted).refused), Strings{"model.moe.bias_speed"});
  EXPECT_EQ(Keys(CompareForResume(wanted, saved).refused), Strings{"model.moe.bias_speed"});
}

// Layouts may change, but which choices are dropped is what is trained.
// Each rule has a state of its own.
TEST(CompareForResumeTest, RulesOfTheOptimizerStay) {
  RunConfig saved, wanted;
  saved.optim.groups = {{.pattern = "head"}};
  wanted.optim.groups = {{.pattern = "head", .lr_scale = 0.5}};
  EXPECT_TRUE(CompareForResume(saved, wanted).refused.empty());
  wanted.optim.groups[0].kind = OptimKind::kLion;
  EXPECT_FALSE(CompareForResume(saved, wanted).refused.empty());
  EXPECT_FALSE(CompareForResume(wanted, saved).refused.empty());
  // One more group before it takes parameters from it.
  saved = wanted;
  wanted.optim.groups.insert(wanted.optim.groups.begin(), {.pattern = "he*"});
  EXPECT_FALSE(CompareForResume(saved, wanted).refused.empty());
  // One behind it does not.
  wanted = saved;
  wanted.optim.groups.push_back({.pattern = "*norm", .lr_scale = 2});
  EXPECT_TRUE(CompareForResume(saved, wanted).refused.empty());
}

TEST(CompareForResumeTest, AnAverageNeitherBeginsNorEnds) {
  RunConfig saved, wanted;
  wanted.optim.ema.decay = 0.9;
  EXPECT_EQ(Keys(CompareForResume(saved, wanted).refused), Strings{"optim.ema.decay"});
  EXPECT_EQ(Keys(CompareForResume(wanted, saved).refused), Strings{"optim.ema.decay"});
  saved.optim.ema.decay = 0.99;
  EXPECT_TRUE(CompareForResume(saved, wanted).refused.empty());
}

TEST(CompareForResumeTest, CapacityIsNoMatterOfLayout) {
  RunConfig saved, wanted;
  wanted.parallel.tensor = 2;
  wanted.parallel.expert_chunks = 2;
  wanted.parallel.capacity_factor = 1.25;
  const ResumeChanges changes = CompareForResume(saved, wanted);
  EXPECT_EQ(Keys(changes.honoured), (Strings{"parallel.tensor", "parallel.expert_chunks"}));
  EXPECT_EQ(Keys(changes.refused), Strings{"parallel.capacity_factor"});
}

TEST(OverridesTest, AreKnownByTheDotInTheirKey) {
  for (const char* argument : {"--optim.lr=1", "--a.b", "--data.path=x y", "--a.b=--c.d"}) {
    EXPECT_TRUE(IsOverride(argument)) << argument;
  }
  for (const char* argument : {"--resume", "--top-p=0.9", "--seed=1.5", "optim.lr=1", "-a.b=1",
                               "--", "", "--prompt=A.B", "--an answer. Or more"}) {
    EXPECT_FALSE(IsOverride(argument)) << argument;
  }
}

}  // namespace
}  // namespace choir
