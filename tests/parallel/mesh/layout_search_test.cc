#include "parallel/mesh/layout_search.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <tuple>

#include "tests/parallel/mesh/layout_cases.h"

namespace choir {
namespace {

using ::testing::HasSubstr;

ModelLimits Limits() {
  return {.layers = 6,
          .hidden = 64,
          .heads = 4,
          .kv_heads = 2,
          .ffn = 48,
          .experts = 6,
          .expert_width = 3,
          .vocab = 512,
          .microbatches = 12,
          .tokens = 8};
}

auto Order(const Degrees& d) {
  return std::tuple(d.pipe, d.replica * d.shard, d.context, d.tensor, d.shard, d.expert,
                    d.expert_tensor);
}

// The rules once more, as one expression.
bool Keeps(const Degrees& d, const ModelLimits& limits, const ParallelConfig& config) {
  const int data = d.replica * d.shard, v = config.virtual_stages;
  return d.pipe * v <= limits.layers && d.tensor <= limits.heads && d.context <= limits.tokens &&
         (config.context_method == ContextMethod::kRing || d.context == 1 ||
          d.context * d.tensor <= limits.heads) &&
         limits.microbatches % data == 0 && d.expert <= std::max(limits.experts, 1) &&
         d.expert_tensor <= (limits.experts == 0 ? 1 : limits.expert_width) &&
         (!config.zero || (*config.zero > 0) == (d.shard > 1)) &&
         (config.layers_per_stage.empty() ||
          config.layers_per_stage.size() == static_cast<size_t>(d.pipe * v)) &&
         (config.schedule != PipelineKind::kDualPipeV || limits.microbatches / data >= 2 * d.pipe);
}

std::vector<Degrees> AllThatKeep(int world, const ModelLimits& limits,
                                 const ParallelConfig& config) {
  std::vector<Degrees> all;
  for (const Degrees& d : AllDegrees(world)) {
    if (Keeps(d, limits, config)) all.push_back(d);
  }
  std::sort(all.begin(), all.end(),
            [](const Degrees& a, const Degrees& b) { return Order(a) < Order(b); });
  return all;
}

std::vector<ParallelConfig> Configs() {
  ParallelConfig ring, interleaved, dualpipev, zero, none, listed;
  ring.context_method = ContextMethod::kRing;
  interleaved.schedule = PipelineKind::kInterleaved;
  interleaved.virtual_stages = 2;
  dualpipev.schedule = PipelineKind::kDualPipeV;
  dualpipev.virtual_stages = 2;
  zero.zero = 2;
  none.zero = 0;
  listed.layers_per_stage = {1, 2, 3};
  return {{}, ring, interleaved, dualpipev, zero, none, listed};
}

TEST(ValidLayouts, AreAllThatKeepTheRules) {
  ModelLimits dense = Limits();
  dense.experts = 0;
  for (const ParallelConfig& config : Configs()) {
    for (int world : {1, 2, 3, 4, 6, 8, 12, 16, 24}) {
      for (const ModelLimits& limits : {Limits(), dense}) {
        EXPECT_EQ(ValidLayouts(world, limits, config), AllThatKeep(world, limits, config))
            << world << " ranks, " << EnumToString(config.schedule);
      }
    }
  }
  EXPECT_EQ(ValidLayouts(1, Limits()), (std::vector<Degrees>{Degrees()}));
  EXPECT_GT(ValidLayouts(24, Limits()).size(), 100u);
}

// What is listed is accepted as it is printed, and resolves to itself.
TEST(ValidLayouts, AreResolvedToThemselves) {
  for (int world : {1, 6, 12, 16}) {
    for (const Degrees& degrees : ValidLayouts(world, Limits())) {
      const auto resolved = ResolveDegrees(WithDegrees({}, degrees), world, Limits());
      ASSERT_TRUE(resolved.ok()) << resolved.status();
      EXPECT_EQ(*resolved, degrees);
      EXPECT_EQ(Mesh(degrees).size(), world);
    }
  }
}

// What is not listed is refused.
TEST(ValidLayouts, OthersAreRefused) {
  const std::vector<Degrees> valid = ValidLayouts(8, Limits());
  int refused = 0;
  for (const Degrees& degrees : AllDegrees(8)) {
    const bool listed = std::find(valid.begin(), valid.end(), degrees) != valid.end();
    EXPECT_EQ(ResolveDegrees(WithDegrees({}, degrees), 8, Limits()).ok(), listed);
    refused += listed ? 0 : 1;
  }
  EXPECT_GT(refused, 0);
}

// The factor by which degrees change, as an exact fraction.
struct TwinDistance {
  int changed = 0;
  int64_t above = 1, below = 1;
  void Add(int from, int to) {
    changed += from == to ? 0 : 1;
    above *= std::max(from, to);
    below *= std::min(from, to);
  }
  bool operator<(const TwinDistance& o) const {
    if (changed != o.changed) return changed < o.changed;
    return above * o.below < o.above * below;
  }
};

TwinDistance DistanceOf(const ParallelConfig& wanted, const Degrees& d) {
  TwinDistance distance;
  const int data = d.replica * d.shard;
  distance.Add(wanted.data.value_or(data), data);
  distance.Add(wanted.shard, d.shard);
  distance.Add(wanted.pipeline, d.pipe);
  distance.Add(wanted.context, d.context);
  distance.Add(wanted.tensor, d.tensor);
  distance.Add(wanted.expert, d.expert);
  distance.Add(wanted.expert_tensor, d.expert_tensor);
  return distance;
}

std::vector<Degrees> TwinNearest(const ParallelConfig& wanted, int world) {
  std::vector<Degrees> all = AllThatKeep(world, Limits(), wanted);
  const auto ties = [](const Degrees& d) {
    return std::tuple(d.pipe, d.tensor, d.context, d.expert_tensor, d.expert, d.shard);
  };
  std::sort(all.begin(), all.end(), [&](const Degrees& a, const Degrees& b) {
    const TwinDistance to_a = DistanceOf(wanted, a), to_b = DistanceOf(wanted, b);
    if (to_a < to_b) return true;
    if (to_b < to_a) return false;
    return ties(a) < ties(b);
  });
  if (all.size() > 3) all.resize(3);
  return all;
}

TEST(NearestLayouts, AreThoseOfAFullSearch) {
  int searches = 0;
  for (int world : {1, 6, 8, 12, 24}) {
    for (ParallelConfig wanted : Configs()) {
      for (int i = 0; i < 64; ++i) {
        // Mostly wrong, in all keys.
        wanted.data = std::nullopt;
        if (i % 4 != 0) wanted.data = 1 + i % 5;
        wanted.shard = 1 + i / 2 % 3;
        wanted.pipeline = 1 + i / 3 % 4;
        wanted.tensor = 1 + i / 5 % 5;
        wanted.context = 1 + i / 7 % 3;
        wanted.expert = 1 + i * 5 % 9;
        wanted.expert_tensor = 1 + i / 11 % 3;
        ASSERT_EQ(NearestLayouts(wanted, world, Limits()), TwinNearest(wanted, world))
            << world << " ranks, number " << i;
        ++searches;
      }
    }
  }
  EXPECT_EQ(searches, 5 * 7 * 64);
}

TEST(NearestLayouts, OfALargeJob) {
  ModelLimits limits = Limits();
  limits.layers = 61;
  limits.heads = limits.kv_heads = 128;
  limits.experts = 256;
  limits.expert_width = 2048;
  limits.microbatches = 4096;
  ParallelConfig wanted;
  wanted.pipeline = 16;
  wanted.expert = 60;
  const auto nearest = NearestLayouts(wanted, 4096, limits);
  ASSERT_EQ(nearest.size(), 3u);
  EXPECT_EQ(nearest[0], (Degrees{.pipe = 16, .replica = 256, .expert = 64}));
  EXPECT_EQ(nearest[1], (Degrees{.pipe = 16, .replica = 256, .expert = 32}));
  EXPECT_EQ(nearest[2], (Degrees{.pipe = 16, .replica = 256, .expert = 128}));
}

// 100 dense parameters of 1 + 3 bytes, activations of 40 bytes.
MemoryNeeds Needs(double rank_bytes) {
  return {.dense_parameters = 100,
          .parameter_bytes = 1,
          .optimizer_bytes = 3,
          .activation_bytes = 40,
          .rank_bytes = rank_bytes};
}

ModelLimits DenseLimits() {
  ModelLimits limits = Limits();
  limits.layers = 8;
  limits.experts = 0;
  limits.kv_heads = 4;
  limits.microbatches = 8;
  return limits;
}

std::string Chosen(int world, const ModelLimits& limits, const MemoryNeeds& needs) {
  const auto degrees = ChooseDegrees({.auto_layout = true}, world, limits, needs);
  return degrees.ok() ? ToString(*degrees) : std::string(degrees.status().message());
}

TEST(RoughBytes, ByHand) {
  const ModelLimits limits = DenseLimits();
  const MemoryNeeds needs = Needs(0);
  EXPECT_EQ(RoughBytes({}, {.replica = 8}, limits, needs), 100 * 4 + 40);
  EXPECT_EQ(RoughBytes({}, {.shard = 4}, limits, needs), 100 + 300. / 4 + 40);
  EXPECT_EQ(RoughBytes({}, {.replica = 2, .tensor = 4}, limits, needs), 100 + 10);
  EXPECT_EQ(RoughBytes({}, {.context = 4}, limits, needs), 400 + 10);
  // Four stages, four microbatches in flight on the first: the activations of all layers.
  EXPECT_EQ(RoughBytes({}, {.pipe = 4}, limits, needs), 100 + 40);
  // But a step that has only two microbatches has two in flight.
  EXPECT_EQ(RoughBytes({}, {.pipe = 4, .replica = 4}, limits, needs), 100 + 20);
  // Of 8 layers on 3 ranks the fullest has 3.
  EXPECT_EQ(RoughBytes({}, {.pipe = 3}, limits, needs), 400 * 3. / 8 + 40 * 3. / 8 * 3);
  ParallelConfig schedule{.schedule = PipelineKind::kGpipe};
  EXPECT_EQ(RoughBytes(schedule, {.pipe = 4}, limits, needs), 100 + 80);
  schedule = {.schedule = PipelineKind::kInterleaved, .virtual_stages = 2};
  EXPECT_EQ(RoughBytes(schedule, {.pipe = 4}, limits, needs), 100 + 40. / 8 * 11);
  schedule = {.schedule = PipelineKind::kDualPipeV, .virtual_stages = 2};
  EXPECT_EQ(RoughBytes(schedule, {.pipe = 4}, limits, needs), 100 + 40. / 8 * 9);
}

TEST(RoughBytes, ExpertsHaveTheirOwnDegrees) {
  ModelLimits limits = DenseLimits();
  limits.experts = 8;
  MemoryNeeds needs = Needs(0);
  needs.dense_parameters = 0;
  needs.activation_bytes = 0;
  needs.expert_parameters = 800;
  EXPECT_EQ(RoughBytes({}, {.replica = 8}, limits, needs), 3200);
  EXPECT_EQ(RoughBytes({}, {.replica = 8, .expert = 4}, limits, needs), 800);
  EXPECT_EQ(RoughBytes({}, {.shard = 8, .expert = 4}, limits, needs), 200 + 300);
  EXPECT_EQ(RoughBytes({}, {.shard = 8, .expert = 4, .expert_tensor = 2}, limits, needs), 400);
}

// As memory shrinks: data alone, its optimizer state sharded, tensor, then pipeline.
TEST(ChooseDegrees, TakesTheSmallestCopyThatFits) {
  const ModelLimits limits = DenseLimits();
  EXPECT_EQ(Chosen(8, limits, Needs(440)), "data=8");
  EXPECT_EQ(Chosen(8, limits, Needs(439)), "data=8 shard=8");
  EXPECT_EQ(Chosen(8, limits, Needs(177.5)), "data=8 shard=8");
  EXPECT_EQ(Chosen(8, limits, Needs(177)), "data=4 shard=4 tensor=2");
  EXPECT_EQ(Chosen(8, limits, Needs(80)), "data=2 shard=2 tensor=4");
  EXPECT_EQ(Chosen(8, limits, Needs(60)), "data=1 pipeline=2 tensor=4");
  EXPECT_EQ(Chosen(8, limits, Needs(40)),
            "parallel.auto_layout finds no layout of 8 ranks that fits 0.00 MiB a rank: data=1 "
            "pipeline=2 tensor=4 needs least, about 0.00 MiB");
}

TEST(ChooseDegrees, KeepsTensorInsideANodeAndEven) {
  ModelLimits limits = DenseLimits();
  MemoryNeeds needs = Needs(177);
  needs.node_size = 1;
  EXPECT_EQ(Chosen(8, limits, needs), "data=4 shard=4 pipeline=2");
  limits.kv_heads = 1;
  needs.node_size = 8;
  EXPECT_EQ(Chosen(8, limits, needs), "data=4 shard=4 pipeline=2");
}

TEST(ChooseDegrees, SpreadsExpertsOverDataContextTensor) {
  ModelLimits limits = DenseLimits();
  limits.experts = 12;
  MemoryNeeds needs = Needs(1e9);
  EXPECT_EQ(Chosen(8, limits, needs), "data=8 expert=4");
  limits.experts = 256;
  EXPECT_EQ(Chosen(8, limits, needs), "data=8 expert=8");
  needs.rank_bytes = 100;
  EXPECT_THAT(Chosen(8, limits, needs), HasSubstr("tensor=4 expert=8"));
}

// Against the rule read literally: of all valid layouts of its kind that fit, the least in order.
TEST(ChooseDegrees, IsTheFirstThatFits) {
  ModelLimits limits = Limits();
  MemoryNeeds needs = Needs(0);
  needs.expert_parameters = 300;
  int found = 0;
  for (int world : {1, 4, 6, 12, 24}) {
    for (double bytes = 30; bytes < 2000; bytes *= 1.1) {
      needs.rank_bytes = bytes;
      const Degrees* first = nullptr;
      const auto order = [](const Degrees& d) {
        return std::tuple(d.pipe * d.context * d.tensor, d.context, d.pipe, d.shard);
      };
      const std::vector<Degrees> all = AllThatKeep(world, limits, {});
      for (const Degrees& d : all) {
        const int ranks = world / d.pipe;
        const bool widest = std::none_of(all.begin(), all.end(), [&](const Degrees& o) {
          return ranks % o.expert == 0 && limits.experts % o.expert == 0 && o.expert > d.expert;
        });
        if (limits.kv_heads % d.tensor != 0 || (d.shard != 1 && d.replica != 1)) continue;
        if (!widest || limits.experts % d.expert != 0 || d.expert_tensor != 1) continue;
        if (RoughBytes({}, d, limits, needs) > bytes) continue;
        if (first == nullptr || order(d) < order(*first)) first = &d;
      }
      const auto chosen = ChooseDegrees({}, world, limits, needs);
      ASSERT_EQ(chosen.ok(), first != nullptr) << world << " ranks of " << bytes;
      if (first == nullptr) continue;
      EXPECT_EQ(*chosen, *first) << ToString(*chosen) << " or " << ToString(*first);
      ++found;
    }
  }
  EXPECT_GT(found, 50);
}

TEST(ChooseDegrees, ReportsWhatNoLayoutMends) {
  ModelLimits limits = DenseLimits();
  limits.microbatches = limits.tokens = 1;
  limits.heads = limits.kv_heads = 1;
  EXPECT_EQ(Chosen(16, limits, Needs(1e9)),
            "parallel.auto_layout finds no layout of 16 ranks that keeps all rules for this model");
  const ParallelConfig config{
      .tensor = 2, .virtual_stages = 3, .node_size = 3, .auto_layout = true};
  const auto degrees = ChooseDegrees(config, 16, DenseLimits(), Needs(1e9));
  EXPECT_EQ(degrees.status().message(),
            "parallel.virtual_stages must be 1 for 1f1b, got 3; interleaved takes more\n"
            "parallel.auto_layout chooses the layout: leave out tensor\n"
            "parallel.node_size 3 does not divide the job's 16 ranks");
}

}  // namespace
}  // namespace choir
