// Training steps of rank threads, whose order of execution differs from run to run.
#include <gtest/gtest.h>

#include <bit>
#include <set>
#include <string>
#include <vector>

#include "parallel/comm/local_world.h"
#include "tests/train/run_fixture.h"
#include "train/recompute.h"
#include "train/trainer.h"
#include "train/verify.h"

namespace choir {
namespace {

RunConfig Config() {
  auto config = LoadConfigFile<RunConfig>(
      train_test::ConfigPath("moe-tiny"),
      {"--data.path=" + train_test::TinyData(), "--train.microbatch_sequences=1"});
  EXPECT_TRUE(config.ok()) << config.status();
  return *config;
}

// Bits of the losses and gradient norms of a run's first two steps, as rank 0 reports them.
std::vector<uint64_t> LossBits(const RunConfig& config, int ranks) {
  std::vector<uint64_t> bits;
  const absl::Status status = RunLocal(ranks, {}, [&](World& world) {
    auto trainer = Trainer::Make(config, &world);
    ASSERT_TRUE(trainer.ok()) << trainer.status();
    for (int i = 0; i < 2; ++i) {
      const auto report = (*trainer)->Step();
      ASSERT_TRUE(report.ok()) << report.status();
      if (world.rank() != 0) continue;
      bits.push_back(std::bit_cast<uint64_t>(report->loss));
      bits.push_back(std::bit_cast<uint64_t>(report->grad_norm));
    }
  });
  EXPECT_TRUE(status.ok()) << status;
  return bits;
}

// In fast mode, where nothing but the fixed order of every sum makes runs equal.
TEST(Steps, TwoHundredRepeatsGiveTheSameBits) {
  RunConfig config = Config();
  config.parallel = ParseLayout("data=2,shard=2,tensor=2,pipeline=2,expert=4")->parallel;
  const std::vector<uint64_t> first = LossBits(config, 8);
  ASSERT_EQ(first.size(), 4u);
  for (int i = 1; i < 200; ++i) ASSERT_EQ(LossBits(config, 8), first) << "run " << i;
}

TEST(Steps, LayoutsAreFreeOfRaces) {
  const std::vector<const char*> both = {
      "data=2,shard=2,tensor=2,pipeline=2,expert=4,expert_chunks=2", "data=2,context=2,pipeline=2",
      "tensor=2,context=2,expert=2,expert_tensor=2", "pipeline=2,schedule=zero_bubble",
      "data=4,shard=2,expert=4,zero=3"};
  const std::vector<const char*> fast_only = {
      "data=2,context=2,context_method=ring,expert=4",
      "data=4,expert=4,two_level_exchange=true,node_size=2,capacity_factor=0.8"};
  for (const Numerics numerics : {Numerics::kFast, Numerics::kInvariant}) {
    std::vector<VerifyLayout> layouts;
    for (const char* text : both) layouts.push_back(ParseLayout(text).value());
    if (numerics == Numerics::kFast) {
      for (const char* text : fast_only) layouts.push_back(ParseLayout(text).value());
    }
    VerifyOptions options;
    options.numerics = numerics;
    options.steps = 1;
    options.timeout_s = 500;
    const absl::Status status =
        VerifyLocal(Config(), layouts, options, [](const LayoutVerdict& verdict) {
          EXPECT_TRUE(verdict.ok()) << verdict.layout.name << " " << verdict.status;
        });
    EXPECT_TRUE(status.ok()) << status;
  }
}

// Tags of results that some rank of the layout makes, but for decisions.
std::set<std::string> TagsOf(const std::string& layout) {
  RunConfig config = Config();
  const VerifyLayout parsed = ParseLayout(layout).value();
  config.parallel = parsed.parallel;
  std::set<std::string> tags;
  const absl::Status status = RunLocal(parsed.world, {}, [&](World& world) {
    std::set<std::string> mine;
    const TapeObserver observer{.made = [] {},
                                .result =
                                    [&](std::string_view tag, int, const Tensor& result) {
                                      if (result.dtype() != DType::kI32) mine.emplace(tag);
                                      return -1;
                                    },
                                .gradient = [](int, const Tensor&) {}};
    ObserveTapes(&observer);
    auto trainer = Trainer::Make(config, &world);
    ASSERT_TRUE(trainer.ok()) << trainer.status();
    ASSERT_TRUE((*trainer)->Step().ok());
    ObserveTapes(nullptr);
    if (world.rank() == 0) tags = std::move(mine);
  });
  EXPECT_TRUE(status.ok()) << status;
  return tags;
}

// What `train.recompute` may name is what layouts have.
TEST(Steps, TagsOfExchangesAreRecomputable) {
  std::set<std::string> seen;
  for (const char* layout :
       {"tensor=2", "context=2", "context=2,context_method=ring", "data=2,expert=2,expert_chunks=2",
        "data=4,expert=4,two_level_exchange=true,node_size=2"}) {
    seen.merge(TagsOf(layout));
  }
  const std::set<std::string> recomputable = RecomputableTags(Config());
  seen.erase("balance.slope");  // decisions
  for (const std::string& tag : seen) EXPECT_TRUE(recomputable.contains(tag)) << tag;
  for (const std::string& tag : recomputable) EXPECT_TRUE(seen.contains(tag)) << tag;
}

TEST(Steps, ExchangesCanBeRecomputed) {
  RunConfig config = Config();
  config.parallel = ParseLayout("data=2,tensor=2,expert=4")->parallel;
  const std::vector<uint64_t> kept = LossBits(config, 4);
  config.train.recompute = {"gather", "moe.to_experts", "moe.from_experts", "scatter"};
  EXPECT_EQ(LossBits(config, 4), kept);
}

}  // namespace
}  // namespace choir
