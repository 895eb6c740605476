// Properties of whole models.
#include "model/transformer.h"

#include <gtest/gtest.h>

#include <map>
#include <numeric>

#include "optim/optimizer.h"
#include "tests/model/model_testing.h"
#include "tests/ops/recompute_where.h"

namespace choir {
namespace {

using testing_model::BackwardBound;
using testing_model::DenseConfig;
using testing_model::ForwardBound;
using testing_model::kVocab;
using testing_model::MaxDifference;
using testing_model::MaxMagnitude;
using testing_model::MoeModelConfig;
using testing_model::PackedRows;
using testing_model::RunStep;
using testing_model::SameBits;
using testing_model::TestBatch;
using testing_model::ToDoubles;
using testing_model::ToInput;

class TransformerTest : public ::testing::TestWithParam<bool> {
 protected:
  ModelConfig Config() const { return GetParam() ? MoeModelConfig() : DenseConfig(); }
};

std::vector<Tensor> Gradients(const Transformer& model) {
  std::vector<Tensor> gradients;
  for (const auto& entry : model.parameters()) gradients.push_back(entry.parameter->grad.Clone());
  return gradients;
}

TEST_P(TransformerTest, RecomputationChangesNoBit) {
  ModelConfig config = Config();
  config.layers = 6;
  Transformer model(config, kVocab, {});
  model.Initialize(3);
  const ModelInput input = ToInput(PackedRows(3, true));
  struct Run {
    double loss = 0;
    std::vector<Tensor> gradients;
    int64_t peak = 0, recomputed = 0;
  };
  auto run = [&](const RecomputePolicy& policy) {
    MemoryLedger ledger;
    Run result;
    {
      ScopedLedger scoped(Device::kCpu, ledger);
      Tape tape;
      const ModelLoss loss = RunStep(model, tape, input, {1.0 / 96, policy});
      result.loss = ScalarValue(loss.total.tensor());
      result.recomputed = tape.recomputed();
      result.peak = ledger.Peak(MemoryCategory::kActivations);
    }
    result.gradients = Gradients(model);
    return result;
  };
  const Run keep = run(nullptr);
  const Run all = run([](std::string_view, int) { return TensorPolicy::kRecompute; });
  const Run some = run(
      RecomputeWhere([](std::string_view tag, int) { return tag == "swiglu" || tag == "norm"; }));
  // The input of a block is kept, its inside is made again block by block.
  const Run blocks = run(RecomputeWhere(
      [](std::string_view tag, int layer) { return layer >= 0 && tag != "residual"; }));
  EXPECT_EQ(keep.recomputed, 0);
  EXPECT_LT(0, some.recomputed);
  EXPECT_LT(some.recomputed, blocks.recomputed);
  EXPECT_LT(blocks.recomputed, all.recomputed);
  EXPECT_LT(blocks.peak, keep.peak * 3 / 4);
  for (const Run* other : {&all, &some, &blocks}) {
    EXPECT_EQ(keep.loss, other->loss);
    for (size_t i = 0; i < keep.gradients.size(); ++i) {
      EXPECT_TRUE(SameBits(keep.gradients[i], other->gradients[i]))
          << model.parameters()[i].parameter->name;
    }
  }
}

TEST_P(TransformerTest, MicrobatchesAddUpToTheBatch) {
  Transformer model(Config(), kVocab, {});
  model.Initialize(4);
  const TestBatch whole = PackedRows(4, true);
  const double scale = 1 / static_cast<double>(whole.NumLabels());
  const int64_t row_tokens = whole.NumTokens() / whole.rows;
  Tape tape;
  const double loss = ScalarValue(RunStep(model, tape, ToInput(whole), {scale}).total.tensor());
  const std::vector<Tensor> gradients = Gradients(model);

  double sum = 0;
  for (int64_t r = 0; r < whole.rows; ++r) {
    TestBatch row;
    const auto part = [&](const std::vector<int32_t>& all) {
      return std::vector<int32_t>(all.begin() + r * row_tokens, all.begin() + (r + 1) * row_tokens);
    };
    row.tokens = part(whole.tokens);
    row.labels = part(whole.labels);
    row.positions = part(whole.positions);
    row.boundaries.clear();
    for (int32_t bound : whole.boundaries) {
      const int64_t at = bound - r * row_tokens;
      if (at >= 0 && at <= row_tokens) row.boundaries.push_back(static_cast<int32_t>(at));
    }
    ModelInput input = ToInput(row);
    input.block.batch_share = 1.0 / static_cast<double>(whole.rows);
    Tape part_tape;
    sum += ScalarValue(RunStep(model, part_tape, input, {scale, nullptr, r > 0}).total.tensor());
  }
  EXPECT_NEAR(sum, loss, loss * ForwardBound(Config(), DType::kF32, whole.NumTokens()));
  const double bound = BackwardBound(Config(), DType::kF32, whole.NumTokens());
  for (size_t i = 0; i < gradients.size(); ++i) {
    const Parameter& p = *model.parameters()[i].parameter;
    const std::vector<double> expected = ToDoubles(gradients[i]);
    EXPECT_LE(MaxDifference(ToDoubles(p.grad), expected), bound * MaxMagnitude(expected)) << p.name;
  }
}

// A training step on a device that computes nothing has the bytes of the real one.
TEST_P(TransformerTest, MetaHasTheBytesOfTheCpu) {
  auto peaks = [&](Device device, bool recompute) {
    MemoryLedger ledger;
    ScopedLedger scoped(device, ledger);
    {
      Transformer model(Config(), kVocab, {DType::kF32, device});
      model.Initialize(5);
      std::vector<Parameter*> parameters;
      for (const auto& entry : model.parameters()) parameters.push_back(entry.parameter);
      Optimizer optimizer(OptimConfig(), WholeTargets(parameters));
      const ModelInput input = ToInput(PackedRows(2, true), device);
      Tape tape;
      RecomputePolicy policy;
      if (recompute) policy = [](std::string_view, int) { return TensorPolicy::kRecompute; };
      RunStep(model, tape, input, {1.0 / 66, policy});
      optimizer.Step({1e-3});
    }
    std::map<std::string, int64_t> bytes{{"total", ledger.PeakTotal()}};
    for (int c = 0; c < kNumMemoryCategories; ++c) {
      const auto category = static_cast<MemoryCategory>(c);
      bytes[std::string(Name(category))] = ledger.Peak(category);
      EXPECT_EQ(ledger.Current(category), 0) << Name(category) << " leaks";
    }
    return bytes;
  };
  for (const bool recompute : {false, true}) {
    const auto cpu = peaks(Device::kCpu, recompute);
    EXPECT_GT(cpu.at("activations"), 0);
    EXPECT_EQ(cpu, peaks(Device::kMeta, recompute));
  }
}

TEST(Transformer, DocumentsDoNotSeeEachOther) {
  Transformer model(DenseConfig(), kVocab, {});
  model.Initialize(6);
  const TestBatch batch = PackedRows(1, false);
  TestBatch changed = batch;
  const auto begin = static_cast<size_t>(batch.boundaries[2]);
  const auto end = static_cast<size_t>(batch.boundaries[3]);
  for (size_t t = begin; t < end; ++t) changed.tokens[t] = (changed.tokens[t] + 1) % kVocab;
  const Tensor before = model.Logits(ToInput(batch), nullptr);
  const Tensor after = model.Logits(ToInput(changed), nullptr);
  for (size_t t = 0; t < batch.tokens.size(); ++t) {
    const auto row = static_cast<int64_t>(t);
    EXPECT_EQ(SameBits(before.Rows(row, 1).Clone(), after.Rows(row, 1).Clone()),
              t < begin || t >= end)
        << t;
  }
  // And no token sees a later one.
  TestBatch later = batch;
  later.tokens[end - 1] = (later.tokens[end - 1] + 1) % kVocab;
  const Tensor causal = model.Logits(ToInput(later), nullptr);
  for (size_t t = 0; t < batch.tokens.size(); ++t) {
    const auto row = static_cast<int64_t>(t);
    EXPECT_EQ(SameBits(before.Rows(row, 1).Clone(), causal.Rows(row, 1).Clone()), t != end - 1)
        << t;
  }
}

TEST(Transformer, InitialisationIsAFunctionOfSeedAndName) {
  ModelConfig config = MoeModelConfig();
  Transformer model(config, kVocab, {}), twice(config, kVocab, {}), other(config, kVocab, {});
  model.Initialize(1);
  twice.Initialize(1);
  other.Initialize(2);
  for (size_t i = 0; i < model.parameters().size(); ++i) {
    const ParameterList::Entry& entry = model.parameters()[i];
    const auto& [parameter, init, placement, matrices, units] = entry;
    EXPECT_TRUE(SameBits(parameter->value, twice.parameters()[i].parameter->value));
    EXPECT_EQ(SameBits(parameter->value, other.parameters()[i].parameter->value), init.ones);
    // A shard is drawn alone.
    const int64_t all = parameter->value.NumElements(), begin = all / 3, count = all / 2;
    const Tensor shard = Tensor::Empty({count}, parameter->value.options());
    DrawInitial(entry, model.place(), 1, begin, shard);
    EXPECT_TRUE(SameBits(shard, parameter->value.Reshape({all}).Rows(begin, count).Clone()));
    if (init.ones) continue;
    // Projections into the residual stream start smaller.
    const bool residual = parameter->name.ends_with("output") || parameter->name.ends_with("down");
    const double expected = residual ? 0.2 / std::sqrt(2.0 * config.layers) : 0.2;
    const auto n = static_cast<double>(all);
    const double std = std::sqrt(SumOfSquares(parameter->value) / n);
    // The standard deviation of an estimated standard deviation is std / sqrt(2 n).
    EXPECT_NEAR(std, expected, 5 * expected / std::sqrt(2 * n)) << parameter->name;
  }
}

TEST(RouterBias, MovesAgainstTheLoadAndStopsAtTheMean) {
  Transformer model(MoeModelConfig(), kVocab, {});
  MixtureOfExperts& moe = *model.experts()[0];
  const std::vector<int64_t> counts{4, 0, 5, 3, 4, 4, 12, 4, 0};  // mean 4
  moe.UpdateBias(counts);
  for (size_t e = 0; e < counts.size(); ++e) {
    const float step = counts[e] > 4 ? -0.01f : counts[e] < 4 ? 0.01f : 0.0f;
    EXPECT_EQ(moe.bias.data<float>()[e], step) << e;
  }
  moe.UpdateBias(std::vector<int64_t>(9, 0));
  EXPECT_EQ(moe.bias.data<float>()[6], -0.01f);
}

// Fixed weights: updates alone even out the load.
TEST(RouterBias, EvensOutTheLoad) {
  Transformer model(MoeModelConfig(), kVocab, {});
  model.Initialize(8);
  const ModelInput input = ToInput(PackedRows(16, true));
  auto ratios = [&](bool update) {
    std::vector<double> ratio;
    Tape tape(/*recording=*/false);
    std::vector<RoutingReport> routing;
    model.Hidden(tape, input, &routing);
    for (size_t i = 0; i < routing.size(); ++i) {
      const std::vector<int64_t>& n = routing[i].expert_tokens;
      const int64_t total = std::accumulate(n.begin(), n.end(), int64_t{0});
      EXPECT_EQ(total, 16 * 32 * 3);  // padding is not counted
      ratio.push_back(static_cast<double>(*std::max_element(n.begin(), n.end()) * 9) /
                      static_cast<double>(total));
      if (update) model.experts()[i]->UpdateBias(n);
    }
    return ratio;
  };
  const std::vector<double> before = ratios(false);
  for (int i = 0; i < 150; ++i) ratios(true);
  const std::vector<double> after = ratios(false);
  for (size_t i = 0; i < before.size(); ++i) {
    EXPECT_GT(before[i], 1.4);
    EXPECT_LT(after[i], 1.15);
  }
}

// Central differences in double of everything that a mixture of experts adds to its loss.
TEST(Transformer, GradientsAreFiniteDifferences) {
  ModelConfig config = MoeModelConfig();
  config.qk_norm = true;
  config.moe.balance_loss = 0.05;
  config.moe.z_loss = 0.01;
  config.swiglu_clamp = 1.5;
  Transformer model(config, kVocab, {DType::kF64, Device::kCpu});
  model.Initialize(9);
  const TestBatch batch = PackedRows(2, true);
  const ModelInput input = ToInput(batch);
  const double scale = 1 / static_cast<double>(batch.NumLabels());
  Tape tape;
  const ModelLoss loss = RunStep(model, tape, input, {scale});
  const double value = ScalarValue(loss.total.tensor());

  // Differences are of the order of h^2 (third derivatives), and of rounding divided by h.
  const double h = 1e-5;
  int64_t compared = 0;
  for (const auto& entry : model.parameters()) {
    const Parameter& p = *entry.parameter;
    double* w = p.value.data<double>();
    const double largest = MaxMagnitude(ToDoubles(p.grad));
    const CounterRandom random(10, p.name);
    for (uint64_t i = 0; i < 3; ++i) {
      const uint64_t at = random.Below(i, static_cast<uint64_t>(p.value.NumElements()));
      const double kept = w[at];
      double sides[2];
      bool same_choices = true;
      for (int side = 0; side < 2; ++side) {
        w[at] = kept + (side == 0 ? h : -h);
        Tape forward(/*recording=*/false);
        const ModelLoss moved = model.Loss(forward, input, scale);
        sides[side] = ScalarValue(moved.total.tensor());
        for (size_t l = 0; l < loss.routing.size(); ++l) {
          same_choices =
              same_choices && SameBits(moved.routing[l].indices, loss.routing[l].indices);
        }
      }
      w[at] = kept;
      if (!same_choices) continue;  // the loss jumps between the two sides
      ++compared;
      const double rounding = value * ForwardBound(config, DType::kF64, batch.NumTokens()) / h;
      EXPECT_NEAR((sides[0] - sides[1]) / (2 * h), p.grad.data<double>()[at],
                  100 * h * h * std::max(1.0, largest) + rounding)
          << p.name << "[" << at << "]";
    }
  }
  // Ties within h are rare.
  EXPECT_GE(compared, 3 * static_cast<int64_t>(model.parameters().size()) - 3);
}

INSTANTIATE_TEST_SUITE_P(Models, TransformerTest, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "moe" : "dense"; });

}  // namespace
}  // namespace choir
