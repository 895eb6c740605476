// Policies of train.recompute change no bit of a training step, on any schedule and layout; what
// could go wrong is noticed; and the one that rounds rounds alike on all layouts.
#include "train/recompute.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/fault.h"
#include "base/hash.h"
#include "base/random.h"
#include "base/strings.h"
#include "parallel/comm/local_world.h"
#include "tensor/number_format.h"
#include "tests/train/run_fixture.h"
#include "train/trainer.h"
#include "train/verify.h"

namespace choir {
namespace {

RunConfig Config(const std::string& name, std::vector<std::string> more = {}) {
  more.insert(more.end(),
              {"--data.path=" + train_test::TinyData(), "--train.microbatch_sequences=1"});
  auto config = LoadConfigFile<RunConfig>(train_test::ConfigPath(name), more);
  EXPECT_TRUE(config.ok()) << config.status();
  return *config;
}

// Of two steps (the second one's routing has a bias): losses, norms, and a hash of every rank's
// gradients.
using Bits = std::vector<uint64_t>;

uint64_t HashOf(std::span<const Shard> shards) {
  uint64_t hash = 0;
  for (const Shard& shard : shards) {
    const std::span bytes(static_cast<const std::byte*>(shard.grad.raw()),
                          static_cast<size_t>(shard.grad.bytes()));
    hash = hash * 31 + HashOf64(bytes);
  }
  return hash;
}

Bits Train(RunConfig config, const std::string& layout, std::vector<std::string> policy) {
  const VerifyLayout parsed = ParseLayout(layout.empty() ? "data=1" : layout).value();
  config.parallel = parsed.parallel;
  config.train.recompute = std::move(policy);
  std::vector<Bits> ranks(static_cast<size_t>(parsed.world));
  const absl::Status status = RunLocal(parsed.world, WorldOptionsOf(config), [&](World& world) {
    auto trainer = Trainer::Make(config, &world);
    ASSERT_TRUE(trainer.ok()) << trainer.status();
    Bits& bits = ranks[static_cast<size_t>(world.rank())];
    for (int i = 0; i < 2; ++i) {
      auto report = (*trainer)->ComputeGradients();
      ASSERT_TRUE(report.ok()) << report.status();
      bits.push_back(HashOf((*trainer)->gradients().shards()));
      ASSERT_TRUE((*trainer)->Update(*report).ok());
      bits.push_back(std::bit_cast<uint64_t>(report->loss));
      bits.push_back(std::bit_cast<uint64_t>(report->grad_norm));
    }
  });
  EXPECT_TRUE(status.ok()) << status;
  Bits all;
  for (const Bits& bits : ranks) all.insert(all.end(), bits.begin(), bits.end());
  EXPECT_EQ(all.size(), ranks.size() * 6);
  return all;
}

std::set<std::string> Tags(const RunConfig& config) {
  RunConfig resolved = config;
  if (!resolved.model.vocab_size) resolved.model.vocab_size = 1030;
  return RecomputableTags(resolved);
}

// Each tag of each layer does something of its own.
std::vector<std::string> Mixed(const RunConfig& config, uint64_t seed) {
  constexpr const char* kActions[] = {"keep", "recompute", "offload"};
  const CounterRandom random(seed, "mix");
  std::vector<std::string> rules;
  uint64_t i = 0;
  for (const std::string& tag : Tags(config)) {
    rules.push_back(StrCat(tag, "=", kActions[random.Below(i++, 3)]));
    for (int layer = 0; layer < config.model.layers; ++layer) {
      rules.push_back(StrCat(tag, "@", layer, "=", kActions[random.Below(i++, 3)]));
    }
  }
  return rules;
}

std::vector<std::vector<std::string>> Policies(const RunConfig& config) {
  return {{"full"}, {"selective"}, {"*"}, {"*=offload"}, Mixed(config, 1), Mixed(config, 2)};
}

TEST(RecomputeTest, SlowEveryTagAloneChangesNoBit) {
  for (const char* name : {"tiny", "moe-tiny"}) {
    const RunConfig config = Config(name);
    const Bits kept = Train(config, "", {});
    for (const std::string& tag : Tags(config)) {
      EXPECT_EQ(Train(config, "", {tag}), kept) << name << " " << tag;
    }
    for (const auto& policy : Policies(config)) EXPECT_EQ(Train(config, "", policy), kept) << name;
  }
}

TEST(RecomputeTest, SlowLayoutsAndSchedulesKeepTheirBits) {
  struct Case {
    const char* name;
    const char* layout;
    std::vector<std::string> more = {};
  };
  const std::vector<std::string> four = {"--model.layers=4"};
  const std::vector<Case> cases = {
      {"tiny", "pipeline=2"},
      {"tiny", "pipeline=2,virtual_stages=2,schedule=interleaved", four},
      {"tiny", "pipeline=2,schedule=zero_bubble"},
      {"tiny", "pipeline=2,virtual_stages=2,schedule=dualpipev", four},
      {"tiny", "data=2,shard=2,zero=3"},
      {"tiny", "tensor=2"},
      {"tiny", "context=2", {"--numerics=invariant"}},
      {"tiny", "context=2,context_method=ring"},
      {"moe-tiny", "pipeline=2,schedule=zero_bubble"},
      {"moe-tiny", "data=2,shard=2,expert=2,zero=3,capacity_factor=0.8"},
      {"moe-tiny", "data=2,tensor=2,expert=4,expert_chunks=2"},
      {"moe-tiny", "data=4,expert=4,two_level_exchange=true,node_size=2"},
      {"moe-tiny", "data=2,expert=2", {"--precision.recipe=bf16"}}};
  for (const Case& c : cases) {
    const RunConfig config = Config(c.name, c.more);
    const Bits kept = Train(config, c.layout, {});
    for (const auto& policy : Policies(config)) {
      EXPECT_EQ(Train(config, c.layout, policy), kept)
          << c.name << " " << c.layout << ", " << policy[0] << (policy.size() > 1 ? " ..." : "");
    }
  }
}

TEST(RecomputeTest, FaultsAreNoticed) {
  struct Case {
    Fault fault;
    std::vector<std::string> policy, more;
  };
  const std::vector<Case> cases = {
      {Fault::kOffloadOfNeighbour, {"*=offload"}, {}},
      {Fault::kReplayNotRounded, {"full"}, {"--precision.recipe=bf16"}},
      // A bias that decides otherwise in the second step.
      {Fault::kRoutingDecidedAgain, {"router.weights"}, {"--model.moe.bias_speed=1"}}};
  for (const Case& c : cases) {
    const RunConfig config = Config("moe-tiny", c.more);
    const Bits kept = Train(config, "", {});
    EXPECT_EQ(Train(config, "", c.policy), kept) << Name(c.fault);
    const ScopedFault fault(c.fault);
    EXPECT_NE(Train(config, "", c.policy), kept) << Name(c.fault);
    EXPECT_GT(fault.hits(), 0) << Name(c.fault);
  }
}

// The largest difference of a gradient, in units of the largest number of its parameter.
double Difference(const RunConfig& config, const std::vector<std::string>& policy) {
  std::vector<std::vector<float>> gradients[2];
  for (const bool rounded : {false, true}) {
    RunConfig with = config;
    if (rounded) with.train.recompute = policy;
    auto trainer = Trainer::Make(with);
    EXPECT_TRUE(trainer.ok()) << trainer.status();
    EXPECT_TRUE((*trainer)->ComputeGradients().ok());
    for (const Shard& shard : (*trainer)->gradients().shards()) {
      const auto g = shard.grad.span<float>();
      gradients[rounded].emplace_back(g.begin(), g.end());
    }
  }
  double worst = 0;
  for (size_t p = 0; p < gradients[0].size(); ++p) {
    double largest = 0, off = 0;
    for (size_t i = 0; i < gradients[0][p].size(); ++i) {
      const double a = gradients[0][p][i], b = gradients[1][p][i];
      largest = std::max(largest, std::abs(a));
      off = std::max(off, std::abs(a - b));
    }
    if (largest > 0) worst = std::max(worst, off / largest);
  }
  return worst;
}

// Every number that backward reads is off by at most u of itself (8 bits: of the largest of its
// row). Those errors add up as roundings do: r of them between a weight's gradient and the loss.
TEST(RecomputeTest, FewerBitsChangeGradientsWithinABound) {
  const RunConfig config = Config("tiny");
  const double r = 2 * 10 * config.model.layers;  // reads of a block, forward order and back
  for (const auto& [format, name] :
       {std::pair{NumberFormat::kBF16, "*=bf16"}, {NumberFormat::kE4M3, "*=e4m3"}}) {
    const double off = Difference(config, {name});
    EXPECT_GT(off, 0) << name;
    EXPECT_LT(off, 8 * std::sqrt(r + 16) * UnitRoundoff(format)) << name;
  }
}

TEST(RecomputeTest, RoundingToBF16IsTheSameOnAllLayouts) {
  RunConfig config = Config("moe-tiny");
  for (const char* tag : {"attention.qkv", "ffn.gate_up", "swiglu", "moe.gate_up", "moe.swiglu"}) {
    config.train.recompute.push_back(StrCat(tag, "=bf16"));
    EXPECT_THAT(RoundedAlike(), testing::HasSubstr(tag));
  }
  std::vector<VerifyLayout> layouts;
  for (const char* text : {"data=2,tensor=2,expert=4", "pipeline=2,data=2,shard=2,zero=3",
                           "context=2", "tensor=2,expert_tensor=2"}) {
    layouts.push_back(ParseLayout(text).value());
  }
  VerifyOptions options;
  options.steps = 1;
  const absl::Status status = VerifyLocal(config, layouts, options, [](const LayoutVerdict& v) {
    EXPECT_TRUE(v.promises_bits);
    EXPECT_TRUE(v.ok() && v.gradients.compared && v.gradients.equal)
        << v.layout.name << " " << v.status << " " << v.gradients.where;
  });
  EXPECT_TRUE(status.ok()) << status;
}

}  // namespace
}  // namespace choir
