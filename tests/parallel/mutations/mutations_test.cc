// Would `choir verify` notice? Mistakes that change the maths of a layout are put into the program
// one at a time (base/fault.h), and each must be reported: in invariant mode as other bits, in fast
// mode as a difference beyond the bound.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/fault.h"
#include "tests/train/run_fixture.h"
#include "train/trainer.h"
#include "train/verify.h"

namespace choir {
namespace {

// What a verdict can hold against a layout.
const std::string kInitial = "initial weights", kLoss = "loss", kNorm = "gradient norm",
                  kGradients = "gradients", kWeights = "weights", kCopies = "copies";

struct Mutation {
  Fault fault;
  const char* layout;
  std::string caught_by;                    // among others
  bool fast_only = false;                   // invariant mode refuses the layout
  std::vector<std::string> overrides = {};  // of the config
  // Muon's weights, and recipes that round: the bounds of fast mode (train/verify.h) are wide
  // there.
  bool invariant_only = false;
};

// So small that it limits, in plain SGD, whose steps are as long as the gradient.
const std::vector<std::string> kGroupLimit = {
    "--optim.kind=sgd", "--optim.groups=[{pattern: '*.down', clip_norm: 0.01}]"};
const std::vector<std::string> kMuon = {"--optim.kind=muon"};
const std::vector<std::string> kFp16 = {"--precision.recipe=fp16"};
const std::vector<std::string> kFp8Block = {"--precision.recipe=fp8-block"};
const std::vector<std::string> kMxfp8 = {"--precision.recipe=mxfp8"};
const std::vector<std::string> kRamp = {"--train.length_ramp.start_length=32",
                                        "--train.length_ramp.steps=4"};

const std::vector<Mutation>& Mutations() {
  static const auto& mutations = *new std::vector<Mutation>{
      {Fault::kTensorSumMissing, "tensor=2", kGradients},
      {Fault::kContextSumMissing, "context=2", kGradients},
      {Fault::kReplicaSumMissing, "data=2", kGradients},
      {Fault::kExpertDataSumMissing, "data=4,expert=2", kGradients},
      {Fault::kHeadSumMissing, "tensor=2", kGradients},
      {Fault::kGradientAveraged, "data=2", kGradients},
      {Fault::kTiedHeadTwice, "pipeline=2", kGradients},
      {Fault::kTiedHeadMissing, "pipeline=2", kCopies},
      {Fault::kGatherGradientScaled, "tensor=2", kGradients},
      {Fault::kPartialNotSummed, "tensor=2", kLoss},
      {Fault::kValuesNotGathered, "data=2,shard=2", kWeights},
      {Fault::kShardOfNeighbour, "data=2,shard=2", kWeights},
      {Fault::kNeighboursPieceSummed, "data=2,shard=2", kGradients},
      {Fault::kGradientShardOverwritten, "data=2,shard=2,zero=2", kGradients},
      {Fault::kStaleGather, "data=2,shard=2,zero=3", kGradients},
      {Fault::kGatheredForAnotherUnit, "data=2,shard=2,zero=3", kLoss},
      {Fault::kNormCountsReplicas, "data=2", kNorm},
      {Fault::kNormMissesExperts, "data=2,expert=2", kNorm},
      {Fault::kNormMissesStages, "pipeline=2", kNorm},
      {Fault::kGroupNormOfRank, "data=2,shard=2", kWeights, false, kGroupLimit},
      {Fault::kRampOnFirstRankOnly, "data=2", kGradients, false, kRamp},
      {Fault::kLocalLabelCount, "data=2", kGradients},
      {Fault::kLossOnTensorRanks, "tensor=2", kLoss},
      {Fault::kMicrobatchDropped, "data=2", kLoss},
      {Fault::kLabelLogitTwice, "tensor=2", kLoss},
      {Fault::kEmbeddingRowsFromZero, "tensor=2", kLoss},
      {Fault::kPositionsRestart, "context=2", kGradients},
      {Fault::kBoundariesOfPiece, "context=2", kLoss},
      {Fault::kRingBlockSkipped, "context=2,context_method=ring", kLoss, true},
      {Fault::kRingMaskByLocalIndex, "context=2,context_method=ring", kLoss, true},
      {Fault::kRingPartialLse, "context=3,context_method=ring", kGradients, true},
      {Fault::kRingGradientLost, "context=3,context_method=ring", kGradients, true},
      {Fault::kBiasFromLocalCounts, "data=2", kWeights},
      {Fault::kSlopesFromLocalCounts, "context=2", kGradients},
      {Fault::kSourcesSwapped, "data=2,expert=2", kGradients},
      {Fault::kPartsNotSummed, "tensor=2,expert_tensor=2", kGradients},
      {Fault::kChunkOrderSwapped, "data=2,expert=2,expert_chunks=2", kGradients},
      {Fault::kCapacityFromLocalCounts, "tensor=2,capacity_factor=0.8", kGradients},
      {Fault::kDroppedStillSummed, "data=2,capacity_factor=0.8", kGradients},
      {Fault::kTwoLevelWeightMissing, "data=4,expert=4,two_level_exchange=true,node_size=2",
       kGradients, /*fast_only=*/true},
      {Fault::kWrongMicrobatch, "pipeline=2,schedule=gpipe", kLoss},
      {Fault::kInitByLocalIndex, "tensor=2", kInitial},
      {Fault::kMatrixLacksSlice, "tensor=2", kWeights, false, kMuon, true},
      {Fault::kMatrixHasNoOwner, "data=2,shard=2", kWeights, false, kMuon, true},
      {Fault::kMomentumOfNeighbour, "data=2,shard=2", kWeights, false, kMuon, true},
      {Fault::kBlocksFromOwnElement, "tensor=2", kGradients, false, kMxfp8, true},
      {Fault::kSquaresFromOwnRow, "tensor=2", kGradients, false, kFp8Block, true},
      {Fault::kHeadPartNotRounded, "tensor=2", kLoss, false, kFp16, true},  // its weights are F32
  };
  return mutations;
}

// configs/moe-tiny.yaml, with balance losses large enough for fast mode to see their slopes, and
// rows so long that documents leave some of them unfilled: ranks have different numbers of labels.
RunConfig Config(const std::vector<std::string>& more = {}) {
  std::vector<std::string> overrides = {"--data.path=" + train_test::TinyData(),
                                        "--train.microbatch_sequences=1",
                                        "--data.sequence_length=256",
                                        "--data.batch_sequences=4",
                                        "--data.packing.look_ahead=1",
                                        "--model.moe.sequence_loss=0.01",
                                        "--model.moe.balance_loss=0.01"};
  overrides.insert(overrides.end(), more.begin(), more.end());
  auto config = LoadConfigFile<RunConfig>(train_test::ConfigPath("moe-tiny"), overrides);
  EXPECT_TRUE(config.ok()) << config.status();
  return *config;
}

std::vector<LayoutVerdict> Verify(const std::set<std::string>& layouts, Numerics numerics,
                                  int steps = 2, const RunConfig& config = Config()) {
  std::vector<VerifyLayout> parsed;
  for (const std::string& text : layouts) {
    const auto layout = ParseLayout(text);
    EXPECT_TRUE(layout.ok()) << layout.status();
    parsed.push_back(*layout);
  }
  VerifyOptions options;
  options.numerics = numerics;
  options.steps = steps;
  std::vector<LayoutVerdict> verdicts;
  const absl::Status status =
      VerifyLocal(config, parsed, options, [&](const LayoutVerdict& v) { verdicts.push_back(v); });
  EXPECT_TRUE(status.ok()) << status;
  return verdicts;
}

std::vector<std::string> CaughtBy(const LayoutVerdict& v) {
  std::vector<std::string> by;
  if (!v.initial.equal) by.push_back(kInitial);
  const auto ask = [&](const Deviation& d, const std::string& name) {
    if (v.promises_bits ? !d.equal : !d.within()) by.push_back(name);
  };
  ask(v.loss, kLoss);
  ask(v.grad_norm, kNorm);
  ask(v.gradients, kGradients);
  ask(v.weights, kWeights);
  if (v.status.ok()) return by;
  const bool copies = v.status.message().find("copies differ") != std::string::npos;
  by.push_back(copies ? kCopies : "failed: " + std::string(v.status.message()));
  return by;
}

bool Runs(const Mutation& m, Numerics numerics) {
  return numerics == Numerics::kFast ? !m.invariant_only : !m.fast_only;
}

std::string Joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

void ExpectAllCaught(Numerics numerics) {
  std::printf("%-42s %-26s %s\n", "fault", "layout", "caught by");
  for (const Mutation& m : Mutations()) {
    if (!Runs(m, numerics)) continue;
    SCOPED_TRACE(Name(m.fault));
    const ScopedFault fault(m.fault);
    const std::vector<LayoutVerdict> verdicts =
        Verify({m.layout}, numerics, 2, Config(m.overrides));
    ASSERT_EQ(verdicts.size(), 1u);
    EXPECT_GT(fault.hits(), 0) << "not reached";
    EXPECT_FALSE(verdicts[0].ok()) << "not caught";
    EXPECT_EQ(verdicts[0].promises_bits, numerics == Numerics::kInvariant);
    const std::vector<std::string> by = CaughtBy(verdicts[0]);
    EXPECT_TRUE(std::find(by.begin(), by.end(), m.caught_by) != by.end())
        << "caught by " << Joined(by) << ", not by " << m.caught_by;
    std::printf("%-42s %-26s %s\n", std::string(Name(m.fault)).c_str(), m.layout,
                Joined(by).c_str());
    std::fflush(stdout);
  }
}

TEST(MutationsTest, EveryFaultHasOne) {
  std::set<Fault> listed;
  for (const Mutation& m : Mutations()) {
    EXPECT_TRUE(listed.insert(m.fault).second) << Name(m.fault);
  }
  EXPECT_EQ(static_cast<int>(listed.size()), static_cast<int>(Fault::kGradientOverflows) - 1);
  EXPECT_FALSE(listed.contains(Fault::kNone));
}

TEST(MutationsTest, LayoutsPassWithoutFaults) {
  for (Numerics numerics : {Numerics::kInvariant, Numerics::kFast}) {
    std::map<std::vector<std::string>, std::set<std::string>> layouts;  // by overrides
    for (const Mutation& m : Mutations()) {
      if (Runs(m, numerics)) layouts[m.overrides].insert(m.layout);
    }
    for (const auto& [overrides, of_config] : layouts) {
      const auto verdicts = Verify(of_config, numerics, 2, Config(overrides));
      EXPECT_EQ(verdicts.size(), of_config.size());
      for (const LayoutVerdict& v : verdicts) {
        EXPECT_TRUE(v.ok()) << v.layout.name << " by " << Joined(CaughtBy(v)) << " " << v.status;
      }
    }
  }
}

// What layouts are compared with is free of the fault.
TEST(MutationsTest, OneRankReachesNoFault) {
  for (const Mutation& m : Mutations()) {
    const auto layout = ParseLayout(m.layout);
    ASSERT_TRUE(layout.ok()) << layout.status();
    RunConfig config = Config(m.overrides);
    config.parallel.capacity_factor = layout->parallel.capacity_factor;
    const ScopedFault fault(m.fault);
    EXPECT_TRUE(Verify({}, Numerics::kInvariant, /*steps=*/1, config).empty());
    EXPECT_EQ(fault.hits(), 0) << Name(m.fault);
  }
}

TEST(MutationsTest, InvariantModeCatchesEveryFault) { ExpectAllCaught(Numerics::kInvariant); }

TEST(MutationsTest, FastModeCatchesEveryFault) { ExpectAllCaught(Numerics::kFast); }

}  // namespace
}  // namespace choir
