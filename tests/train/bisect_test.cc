// choir bisect: nothing where layouts agree, and the first number where they do not.
#include "train/bisect.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/strings.h"
#include "tests/train/run_fixture.h"

namespace choir::train_test {
namespace {

RunConfig ConfigNamed(const std::string& name) {
  auto config = LoadConfigFile<RunConfig>(
      ConfigPath(name), {"--run.dir=" + FreshPath("bisect"), "--data.path=" + TinyData()});
  EXPECT_TRUE(config.ok()) << config.status();
  const auto loader = BatchLoader::Open(config->data);
  EXPECT_TRUE(loader.ok()) << loader.status();
  config->train.microbatch_sequences = 2;
  return ResolveConfig(*config, (*loader)->vocab_size()).value();
}

BisectReport BisectOf(const RunConfig& config, const std::string& a, const std::string& b,
                      const BisectOptions& options) {
  const auto report = Bisect(config, ParseLayout(a).value(), ParseLayout(b).value(), options);
  EXPECT_TRUE(report.ok()) << report.status();
  return report.ok() ? *report : BisectReport();
}

// Adds to one element of a parameter, on every rank that has all of it.
void Add(Trainer& trainer, const std::string& name, int64_t element, float amount) {
  for (const auto& entry : trainer.model().parameters()) {
    if (entry.parameter->name != name) continue;
    ASSERT_EQ(entry.parameter->value.shape(), entry.placement.shape) << "split: " << name;
    entry.parameter->value.data<float>()[element] += amount;
  }
}

// Tensors of a step of `microbatches`: two for each norm forward; backward all but the stream's
// gradient before the head, which has no consumer but the head itself; the losses of tokens.
int64_t TensorsOfMicrobatch(int64_t layers) { return 2 * (2 * layers + 1) * 2 - 1 + 1; }

TEST(BisectThreadTest, InvariantLayoutsAreEqualToOneRank) {
  const RunConfig config = ConfigNamed("tiny");
  const BisectReport report = BisectOf(config, "data=2,tensor=2", "data=1", {});
  EXPECT_FALSE(report.difference) << Describe(*report.difference);
  EXPECT_TRUE(report.bits);
  EXPECT_EQ(report.steps, 2);
  // 4 microbatches; by parameter a gradient and, before and after, value and moments.
  const int64_t parameters = 3 + 2 * (2 + 2 + 2);  // tables, final norm; norms, attention, ffn
  EXPECT_EQ(report.tensors, 2 * (4 * TensorsOfMicrobatch(2) + 2 + 4 * parameters) + 3 * parameters);
}

TEST(BisectThreadTest, EveryAxisIsJoinedInGlobalOrder) {
  BisectOptions options;
  options.steps = 1;
  const RunConfig config = ConfigNamed("moe-tiny");
  for (const char* layout :
       {"tensor=2,context=2,expert=2", "data=2,pipeline=2,schedule=zero_bubble",
        "data=2,shard=2,expert=2", "context=2"}) {
    const BisectReport report = BisectOf(config, "data=1", layout, options);
    EXPECT_FALSE(report.difference) << layout << ": " << Describe(*report.difference);
    EXPECT_GT(report.tensors, 4 * TensorsOfMicrobatch(3)) << layout;
  }
}

TEST(BisectThreadTest, FastModeAllowsRoundingOnly) {
  const RunConfig config = ConfigNamed("tiny");
  BisectOptions options;
  options.numerics = Numerics::kFast;
  const BisectReport same = BisectOf(config, "tensor=2,context=2", "data=1", options);
  EXPECT_FALSE(same.difference) << Describe(*same.difference);
  EXPECT_FALSE(same.bits);
  EXPECT_GT(same.bound, 0);

  // Parts of a sequence that are no neighbours.
  for (const char* layout :
       {"context=3,context_method=ring", "tensor=2,context=4,context_method=ring"}) {
    const BisectReport ring = BisectOf(config, layout, "data=1", options);
    EXPECT_FALSE(ring.difference) << layout << ": " << Describe(*ring.difference);
  }

  options.disturb_b = [](Trainer& trainer, int64_t step) {
    if (step == 2) Add(trainer, "layers.1.ffn_norm", 9, 0.25F);
  };
  const BisectReport other = BisectOf(config, "tensor=2", "data=2", options);
  ASSERT_TRUE(other.difference);
  EXPECT_EQ(other.difference->step, 2);
  EXPECT_EQ(other.difference->where.layer, 1);
  EXPECT_EQ(other.difference->where.name, "normed input of feed-forward");
  EXPECT_EQ(other.difference->index.back(), 9);
  EXPECT_GT(other.difference->allowed, 0);
  EXPECT_GT(std::abs(other.difference->a - other.difference->b), other.difference->allowed);
}

// A norm's weight acts on one channel of every token.
TEST(BisectThreadTest, NamesTheFirstActivationThatAChangedWeightReaches) {
  const RunConfig config = ConfigNamed("tiny");
  BisectOptions options;
  options.disturb_b = [](Trainer& trainer, int64_t step) {
    if (step == 2) Add(trainer, "layers.1.attention_norm", 5, 0.25F);
  };
  for (const char* layout : {"data=1", "data=2,tensor=2", "context=2,pipeline=2"}) {
    const BisectReport report = BisectOf(config, "data=1", layout, options);
    ASSERT_TRUE(report.difference) << layout;
    const BisectDifference& d = *report.difference;
    EXPECT_EQ(d.step, 2);
    EXPECT_EQ(d.where.microbatch, 0);
    EXPECT_EQ(d.where.layer, 1);
    EXPECT_EQ(d.where.part, StepPart::kForward);
    EXPECT_EQ(d.where.name, "normed input of attention");
    EXPECT_EQ(d.index, (std::vector<int64_t>{0, 5}));
    EXPECT_EQ(d.differing, 2 * 64);  // a channel of two rows of 64 tokens
    EXPECT_EQ(d.elements, 2 * 64 * 64);
    // a is normed * w, b is normed * (w + 1/4); w is near its start, 1.
    EXPECT_NEAR(d.b / d.a, 1.25, 0.01);
  }
}

// A step that comes to no update is compared as far as it went.
TEST(BisectThreadTest, NamesWhereNaNBegins) {
  const RunConfig config = ConfigNamed("tiny");
  BisectOptions options;
  options.disturb_b = [](Trainer& trainer, int64_t step) {
    if (step == 2) Add(trainer, "layers.0.ffn_norm", 63, NAN);
  };
  const BisectReport report = BisectOf(config, "data=1", "data=2,tensor=2", options);
  ASSERT_TRUE(report.difference);
  const std::string text = Describe(*report.difference);
  EXPECT_TRUE(
      text.starts_with("step 2, microbatch 0, layer 0, normed input of feed-forward, "
                       "token 0, channel 63: A has "))
      << text;
  EXPECT_TRUE(text.ends_with(", B has nan; 128 of 8192 elements differ")) << text;
}

TEST(BisectThreadTest, NamesTheInitialWeight) {
  const RunConfig config = ConfigNamed("tiny");
  BisectOptions options;
  options.disturb_b = [](Trainer& trainer, int64_t step) {
    if (step == 1) Add(trainer, "layers.0.ffn.down", 3 * 160 + 7, 1);
  };
  const BisectReport report = BisectOf(config, "tensor=2", "data=2", options);
  ASSERT_TRUE(report.difference);
  const std::string text = Describe(*report.difference);
  EXPECT_TRUE(text.starts_with("before step 1, model/layers.0.ffn.down[3, 7]: A has ")) << text;
  EXPECT_TRUE(text.ends_with("; 1 of 10240 elements differ")) << text;
}

// The moments are seen only in what the update makes of them.
TEST(BisectThreadTest, NamesWhatTheUpdateMadeDifferent) {
  const RunConfig config = ConfigNamed("tiny");
  BisectOptions options;
  options.disturb_b = [](Trainer& trainer, int64_t step) {
    if (step != 2) return;
    for (const Trainer::StateTensor& t : trainer.State()) {
      if (t.name == "optim/layers.1.ffn_norm/v" && t.mine.defined()) t.mine.data<float>()[4] += 1;
    }
  };
  const BisectReport report = BisectOf(config, "data=1", "tensor=2", options);
  ASSERT_TRUE(report.difference);
  EXPECT_EQ(report.difference->step, 2);
  EXPECT_EQ(report.difference->where.part, StepPart::kState);
  EXPECT_EQ(report.difference->where.name, "model/layers.1.ffn_norm");
  EXPECT_EQ(report.difference->index, (std::vector<int64_t>{4}));
  EXPECT_EQ(report.difference->differing, 1);
}

// Backward, the later part of the model comes first.
TEST(BisectTest, ReportsTheEarliestInTheOrderOfComputation) {
  const auto record = [](const std::vector<float>& early, const std::vector<float>& late) {
    StepRecorder recorder;
    const auto add = [&](const RecordKey& key, const std::vector<float>& values) {
      const Tensor all = Tensor::From<float>({2, 2}, values);
      recorder.AddRows(key, {{1, 1, 0}}, all.Rows(1, 1));  // in any order
      recorder.AddRows(key, {{0, 1, 0}}, all.Rows(0, 1));
      recorder.AddRows(key, {}, all.Rows(1, 0));  // a rank without tokens
    };
    add({3, StepPart::kForward, 0, "late", 0}, late);
    add({2, StepPart::kBackward, 0, "early", 1}, early);
    return recorder.Take();
  };
  int64_t compared = 0;
  const StepRecord a = record({1, 2, 3, 4}, {5, 6, 7, 8});
  EXPECT_FALSE(FirstDifference(a, record({1, 2, 3, 4}, {5, 6, 7, 8}), {}, compared));
  EXPECT_EQ(compared, 2);
  const auto both = FirstDifference(a, record({1, 2, 0, 0}, {0, 6, 7, 8}), {}, compared);
  ASSERT_TRUE(both);
  EXPECT_EQ(both->where.name, "early");
  EXPECT_EQ(both->index, (std::vector<int64_t>{1, 0}));
  EXPECT_EQ(both->a, 3);
  EXPECT_EQ(both->b, 0);
  EXPECT_EQ(both->differing, 2);
  const auto later = FirstDifference(a, record({1, 2, 3, 4}, {5, 6, 7, NAN}), {}, compared);
  ASSERT_TRUE(later);
  EXPECT_EQ(Describe(*later),
            "step 0, microbatch 3, layer 0, late, token 1, channel 1: A has 8, B has nan; "
            "1 of 4 elements differ");
  // A bound allows what is smaller, and never NaN.
  const Comparison bound{.bits = false, .bound = 0.25, .optim = {}, .roundoff = 0};
  EXPECT_FALSE(FirstDifference(a, record({1, 2, 3, 4}, {5, 6, 7, 9}), bound, compared));
  EXPECT_TRUE(FirstDifference(a, record({1, 2, 3, 4}, {5, 6, 7, 11}), bound, compared));
  EXPECT_TRUE(FirstDifference(a, record({1, 2, 3, 4}, {5, 6, 7, NAN}), bound, compared));
}

std::vector<std::string> Arguments(const std::vector<std::string>& more) {
  std::vector<std::string> args = {"bisect", ConfigPath("tiny"), "--data.path=" + TinyData(),
                                   "--steps", "1"};
  args.insert(args.end(), more.begin(), more.end());
  return args;
}

TEST(BisectCommandTest, SaysWhetherLayoutsDiffer) {
  const ProcessResult same = Choir(Arguments({"--layout", "one", "--layout", "data=2,tensor=2"}));
  EXPECT_EQ(same.exit, 0) << same.err;
  EXPECT_NE(same.out.find("\nno difference: "), std::string::npos) << same.out;
  EXPECT_NE(same.out.find("bit for bit"), std::string::npos) << same.out;
  const ProcessResult fast =
      Choir(Arguments({"--numerics=fast", "--layout", "one", "--layout", "tensor=2"}));
  EXPECT_EQ(fast.exit, 0) << fast.out << fast.err;
  EXPECT_NE(fast.out.find("of the largest number"), std::string::npos) << fast.out;
}

TEST(BisectCommandTest, RefusesOtherThanTwoLayoutsThatFit) {
  const ProcessResult one = Choir(Arguments({"--layout", "one"}));
  EXPECT_EQ(one.exit, 2);
  EXPECT_NE(one.err.find("two layouts, got 1"), std::string::npos) << one.err;
  const ProcessResult key = Choir(Arguments({"--layout", "one", "--layout", "tensors=2"}));
  EXPECT_EQ(key.exit, 2);
  EXPECT_NE(key.err.find("tensors"), std::string::npos) << key.err;
  const ProcessResult large = Choir(Arguments({"--layout", "one", "--layout", "data=3,shard=2"}));
  EXPECT_EQ(large.exit, 2) << large.out;
}

}  // namespace
}  // namespace choir::train_test
