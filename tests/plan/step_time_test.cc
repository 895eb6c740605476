#include "plan/step_time.h"

#include <gtest/gtest.h>

#include "tests/plan/time_fixture.h"

namespace choir {
namespace {

WorkItem Bytes(double bytes, double count = 1) { return {{.bytes = bytes}, count}; }

ExchangeItem Gather(double bytes, Overlap overlap, const char* axis = "shard") {
  return {.kind = ExchangeKind::kAllGather,
          .axis = axis,
          .ranks = 2,
          .ranks_per_node = 2,
          .bytes = bytes,
          .overlap = overlap};
}

// Passes of 1, 1.5 and 0.5 seconds.
StageWorkload RoundStage(double scale = 1) {
  StageWorkload stage;
  stage.forward.work = {Bytes(100 * scale)};
  stage.backward_input.work = {Bytes(150 * scale)};
  stage.backward_weight.work = {Bytes(50 * scale)};
  return stage;
}

StepWorkload RoundStep(PipelineKind kind, int ranks, int chunks, int microbatches) {
  StepWorkload step;
  step.schedule = {kind, ranks, chunks, microbatches};
  for (int i = 0; i < ranks * chunks; ++i) step.stages.push_back(RoundStage());
  step.ranks = ranks;
  step.tokens = 1000;
  step.model_flops = 6000;
  return step;
}

StepTime Predict(const StepWorkload& step, const Hardware& hardware = RoundHardware()) {
  const auto time = PredictStep(step, hardware);
  CHECK(time.ok()) << time.status().ToString();
  EXPECT_NEAR(time->parts.Total() + time->bubble, time->seconds, 1e-12 * time->seconds);
  return *time;
}

TEST(PassTimeTest, GapsAndTheHost) {
  Hardware hardware = RoundHardware();
  hardware.host.kernel_seconds = 0.125;
  hardware.host.pass_seconds = 0.25;
  PassWork pass;
  pass.work = {Bytes(100, 4)};
  TimeParts parts = PassTime(pass, hardware);
  EXPECT_DOUBLE_EQ(parts.work[static_cast<size_t>(WorkKind::kMemory)], 4);
  EXPECT_DOUBLE_EQ(parts.gaps, 0.75);
  EXPECT_DOUBLE_EQ(parts.Total(), 4.75);
  hardware.host.issue_seconds = 2;  // slower than the device's 1.125
  parts = PassTime(pass, hardware);
  EXPECT_DOUBLE_EQ(parts.host, 8 - 4.5);
  EXPECT_DOUBLE_EQ(parts.Total(), 8.25);
}

TEST(PassTimeTest, TheHostWaitsForTheCountsOfTokens) {
  Hardware hardware = RoundHardware();
  hardware.host.sync_seconds = 0.5;
  PassWork pass;
  pass.work = {Bytes(100)};
  ExchangeItem tokens = Gather(20, Overlap::kNone, "expert");
  tokens.kind = ExchangeKind::kAllToAll;
  tokens.count = 3;
  pass.exchanges = {tokens, Gather(20, Overlap::kNone)};
  EXPECT_DOUBLE_EQ(PassTime(pass, hardware).gaps, 1.5);
  EXPECT_DOUBLE_EQ(PassTime(pass, hardware).Total(), 1 + 1.5 + 4);
}

TEST(PassTimeTest, ExchangesHideBehindWork) {
  Hardware hardware = RoundHardware();
  hardware.overlap = {.hideable = 0.5, .compute_loss = 0.25};
  PassWork pass;
  pass.work = {Bytes(800)};                       // 8 s, of which 4 hide
  pass.exchanges = {Gather(40, Overlap::kPass)};  // 2 s
  EXPECT_DOUBLE_EQ(PassTime(pass, hardware).Total(), 8 + 2 * 0.25);
  pass.exchanges.push_back(Gather(80, Overlap::kPass, "context"));  // 4 s more
  TimeParts parts = PassTime(pass, hardware);
  EXPECT_DOUBLE_EQ(parts.exposed["shard"], 2.0 / 3);
  EXPECT_DOUBLE_EQ(parts.exposed["context"], 4.0 / 3);
  EXPECT_DOUBLE_EQ(parts.exchanges["context"], 4);
  EXPECT_DOUBLE_EQ(parts.Total(), 8 + 1 + 2);
  pass.exchanges = {Gather(40, Overlap::kNone)};
  EXPECT_DOUBLE_EQ(PassTime(pass, hardware).Total(), 10);
}

TEST(StepTimeTest, OneRankRunsItsMicrobatches) {
  StepWorkload step = RoundStep(PipelineKind::kGpipe, 1, 1, 5);
  step.update.work = {Bytes(250)};
  const StepTime time = Predict(step);
  EXPECT_DOUBLE_EQ(time.seconds, 5 * 3 + 2.5);
  EXPECT_DOUBLE_EQ(time.update, 2.5);
  EXPECT_EQ(time.bubble, 0);
  EXPECT_DOUBLE_EQ(time.tokens_per_second, 1000 / 17.5);
  EXPECT_DOUBLE_EQ(time.mfu, 6000 / 17.5 / 1000);
}

TEST(StepTimeTest, EqualStagesHaveTheBubbleOfTheSchedule) {
  for (const auto& [kind, chunks] : {std::pair{PipelineKind::k1f1b, 1},
                                     {PipelineKind::kInterleaved, 2},
                                     {PipelineKind::kZeroBubble, 1}}) {
    const StepWorkload step = RoundStep(kind, 4, chunks, 8);
    const auto bubble = ScheduleBubble(step.schedule, {1, 1.5, 0.5});
    ASSERT_TRUE(bubble.has_value());
    const StepTime time = Predict(step);
    EXPECT_DOUBLE_EQ(time.bubble, *bubble);
    EXPECT_DOUBLE_EQ(time.seconds, 8 * 3 * chunks + *bubble);
  }
}

TEST(StepTimeTest, TheSlowestStageSetsThePace) {
  StepWorkload step = RoundStep(PipelineKind::k1f1b, 2, 1, 10);
  step.stages[0] = RoundStage(2);
  // Ten times 6 seconds; after two forward passes, at 4, it waits for the first gradient until 5.
  EXPECT_DOUBLE_EQ(Predict(step).seconds, 10 * 6 + 1);
}

TEST(StepTimeTest, HandoversDelayTheNextStage) {
  StepWorkload step = RoundStep(PipelineKind::kGpipe, 2, 1, 1);
  for (StageWorkload& stage : step.stages) stage.handover_bytes = 5;
  EXPECT_DOUBLE_EQ(Predict(step).seconds, 2 * 3 + 2 * 0.5);
  step.ranks = 8;  // two nodes
  EXPECT_DOUBLE_EQ(Predict(step).seconds, 2 * 3 + 2 * 2.5);
}

TEST(StepTimeTest, PairsHideEachOthersExchanges) {
  StepWorkload step = RoundStep(PipelineKind::kDualPipeV, 2, 2, 8);
  const double apart = Predict(step).seconds;
  for (StageWorkload& stage : step.stages) {
    stage.forward.exchanges = {Gather(10, Overlap::kNone)};  // half a second
  }
  int pairs = 0;
  for (const auto& rank : {0, 1}) {
    for (const Action& action : RankActions(step.schedule, rank)) pairs += action.paired;
  }
  const StepTime time = Predict(step);
  // Each rank exchanges for 16 forward passes; those of pairs are hidden.
  EXPECT_DOUBLE_EQ(time.parts.exposed.at("shard"), (32 - pairs) * 0.5 / 2);
  EXPECT_LT(time.seconds, apart + 16 * 0.5);
}

TEST(StepTimeTest, SumsOfTheUpdateHideBehindTheLastBackwardPass) {
  StepWorkload step = RoundStep(PipelineKind::kGpipe, 1, 1, 4);
  ExchangeItem sum = Gather(60, Overlap::kPass);  // 3 s behind 2 s
  sum.kind = ExchangeKind::kReduceScatter;
  step.update.exchanges = {sum, Gather(60, Overlap::kPass)};  // 3 s behind 1 s
  EXPECT_DOUBLE_EQ(Predict(step).update, 1 + 2);
  Hardware hardware = RoundHardware();
  hardware.host.step_seconds = 0.5;
  EXPECT_DOUBLE_EQ(Predict(step, hardware).update, 3.5);
}

TEST(StepTimeTest, WhatIsMissingIsAnError) {
  StepWorkload step = RoundStep(PipelineKind::k1f1b, 2, 1, 2);
  step.ranks = 8;
  Hardware hardware = RoundHardware();
  hardware.links.inter_node.bytes_per_second = 0;
  const auto time = PredictStep(step, hardware);
  EXPECT_NE(time.status().message().find("links.inter_node.bytes_per_second"), std::string::npos);
}

TEST(CostOfRunTest, CountsHoursEnergyAndPrice) {
  StepTime step;
  step.tokens_per_second = 1000;
  Hardware hardware = RoundHardware();
  RunCost cost = CostOfRun(step, hardware, 8, 3.6e7);
  EXPECT_DOUBLE_EQ(cost.hours, 10);
  EXPECT_FALSE(cost.megawatt_hours.has_value() || cost.price.has_value());
  hardware.watts = 1000;
  hardware.price_per_hour = 2;
  cost = CostOfRun(step, hardware, 8, 3.6e7);
  EXPECT_DOUBLE_EQ(*cost.megawatt_hours, 0.08);
  EXPECT_DOUBLE_EQ(*cost.price, 160);
}

}  // namespace
}  // namespace choir
