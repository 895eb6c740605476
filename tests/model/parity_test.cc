// Against PyTorch: tests/reference/record_model.py recorded what it computes with the same weights.
#include <gtest/gtest.h>

#include "model/transformer.h"
#include "optim/clip.h"
#include "optim/optimizer.h"
#include "optim/schedule.h"
#include "tests/model/model_testing.h"
#include "tests/model/reference_fixture.h"

namespace choir {
namespace {

using testing_model::BackwardBound;
using testing_model::ForwardBound;
using testing_model::MaxDifference;
using testing_model::MaxMagnitude;
using testing_model::TestBatch;
using testing_model::ToDoubles;

void Fill(const Tensor& t, const std::vector<double>& values) {
  ASSERT_EQ(t.NumElements(), static_cast<int64_t>(values.size()));
  DispatchFloat(t.dtype(), [&]<class T>() {
    for (size_t i = 0; i < values.size(); ++i) t.data<T>()[i] = static_cast<T>(values[i]);
  });
}

// The recorded model in one precision; its weights are float32 numbers.
class Parity {
 public:
  Parity(const std::string& name, DType dtype)
      : fixture_(name),
        config_(fixture_.Section<ModelConfig>("model")),
        optim_(fixture_.Section<OptimConfig>("optim")),
        steps_(fixture_.Number("shape", "steps")),
        rows_(fixture_.Number("shape", "rows")),
        dtype_(dtype),
        model_(config_, *config_.vocab_size, {dtype, Device::kCpu}) {
    for (const auto& entry : model_.parameters()) {
      const std::string weight = "weight." + entry.parameter->name;
      // Ours keep groups of heads apart.
      const Shape &ours = entry.parameter->value.shape(), recorded = fixture_.ShapeOf(weight);
      EXPECT_EQ(ours.dim(0), recorded.dim(0)) << weight;
      EXPECT_EQ(ours.NumElements(), recorded.NumElements()) << weight;
      Fill(entry.parameter->value, fixture_.Values<double>(weight));
    }
    for (size_t i = 0; i < model_.experts().size(); ++i) {
      const Tensor& bias = model_.experts()[i]->bias;
      EXPECT_EQ(bias.defined(), fixture_.Has(PerLayer("bias", i)));
      if (bias.defined()) Fill(bias, fixture_.Values<double>(PerLayer("bias", i)));
    }
  }

  void CheckLogits();
  void CheckGradients();
  void CheckTraining();

 private:
  // Name of a recorded tensor of the i-th layer with experts.
  std::string PerLayer(const std::string& what, size_t i) const {
    return what + "." + std::to_string(static_cast<size_t>(config_.moe.dense_layers) + i);
  }
  TestBatch GetBatch(int64_t step) const {
    TestBatch batch;
    batch.rows = rows_;
    const auto n = static_cast<int64_t>(fixture_.ShapeOf("tokens").dim(1));
    auto row = [&](const char* name) {
      const std::vector<int32_t> all = fixture_.Values<int32_t>(name);
      return std::vector<int32_t>(all.begin() + step * n, all.begin() + (step + 1) * n);
    };
    batch.tokens = row("tokens");
    batch.labels = row("labels");
    batch.positions = row("positions");
    batch.boundaries = fixture_.Values<int32_t>("boundaries." + std::to_string(step));
    return batch;
  }
  ModelLoss Step(Tape& tape, const TestBatch& batch) {
    return testing_model::RunStep(model_, tape, ToInput(batch),
                                  {.label_scale = 1.0 / static_cast<double>(batch.NumLabels())});
  }

  ReferenceFixture fixture_;
  ModelConfig config_;
  OptimConfig optim_;
  int64_t steps_, rows_;
  DType dtype_;
  Transformer model_;
};

void Parity::CheckLogits() {
  const TestBatch batch = GetBatch(0);
  const std::vector<double> logits = ToDoubles(model_.Logits(ToInput(batch), nullptr));
  const std::vector<double> expected = fixture_.Values<double>("logits");
  const double bound = ForwardBound(config_, dtype_, batch.NumTokens());
  const double error = MaxDifference(logits, expected) / MaxMagnitude(expected);
  EXPECT_LE(error, bound);
}

void Parity::CheckGradients() {
  const TestBatch batch = GetBatch(0);
  Tape tape;
  const ModelLoss loss = Step(tape, batch);
  const double forward = ForwardBound(config_, dtype_, batch.NumTokens());
  const double total = fixture_.Values<double>("loss.total")[0];
  EXPECT_NEAR(ScalarValue(loss.total.tensor()), total, forward * total);
  for (size_t i = 0; i < loss.routing.size(); ++i) {
    if (!model_.experts()[i]->bias.defined()) continue;
    EXPECT_EQ(loss.routing[i].expert_tokens,
              fixture_.Values<int64_t>(PerLayer("expert_tokens", i)));
  }
  // The recorded gradients were rounded to float32.
  const double bound =
      BackwardBound(config_, dtype_, batch.NumTokens()) + UnitRoundoff(DType::kF32);
  for (const auto& entry : model_.parameters()) {
    const std::vector<double> expected =
        fixture_.Values<double>("gradient." + entry.parameter->name);
    EXPECT_GT(MaxMagnitude(expected), 0) << entry.parameter->name;
    const double error =
        MaxDifference(ToDoubles(entry.parameter->grad), expected) / MaxMagnitude(expected);
    EXPECT_LE(error, bound) << entry.parameter->name;
  }
}

// The steps of Trainer::Step.
void Parity::CheckTraining() {
  std::vector<Parameter*> parameters;
  for (const auto& entry : model_.parameters()) parameters.push_back(entry.parameter);
  Optimizer optimizer(optim_, WholeTargets(parameters));
  const bool single = dtype_ == DType::kF32;
  const std::vector<double> expected = fixture_.Values<double>(single ? "curve.f32" : "curve.f64");
  // In double, where the twin's clipping has no epsilon, less by the ratio of the roundoffs.
  const double bound = single ? 1e-4 : 1e-4 * UnitRoundoff(dtype_) / UnitRoundoff(DType::kF32);
  bool clipped = false;
  for (int64_t step = 0; step < steps_; ++step) {
    const TestBatch batch = GetBatch(step);
    Tape tape;
    const ModelLoss loss = Step(tape, batch);
    double nll = 0;
    for (double x : ToDoubles(loss.token_nll.tensor())) nll += x;
    nll /= static_cast<double>(batch.NumLabels());
    const double reference = expected[static_cast<size_t>(step)];
    EXPECT_NEAR(nll, reference, bound * reference) << "step " << step;
    const double lr = optim_.lr * ScheduleFactor(optim_.schedule, AtStep(step, steps_));
    const double clip = ClipScale(GlobalGradNorm(parameters), optim_.clip_norm);
    clipped = clipped || clip < 1;
    optimizer.Step({lr, clip});
    for (size_t i = 0; i < model_.experts().size(); ++i) {
      model_.experts()[i]->UpdateBias(loss.routing[i].expert_tokens);
    }
  }
  EXPECT_TRUE(clipped);
  // It has learnt, so the steps went somewhere.
  EXPECT_LT(expected.back(), expected.front() - 0.2);
  // Every balancing decision was the same.
  for (size_t i = 0; i < model_.experts().size(); ++i) {
    if (!model_.experts()[i]->bias.defined()) continue;
    const std::vector<double> bias = fixture_.Values<double>(PerLayer("final_bias", i));
    EXPECT_LE(MaxDifference(ToDoubles(model_.experts()[i]->bias), bias),
              ErrorBound(dtype_, steps_) * MaxMagnitude(bias));
  }
}

// (fixture, dtype)
class ParityTest : public ::testing::TestWithParam<std::tuple<const char*, DType>> {
 protected:
  Parity Make() const { return Parity(std::get<0>(GetParam()), std::get<1>(GetParam())); }
};

TEST_P(ParityTest, LogitsAreThoseOfPyTorch) { Make().CheckLogits(); }
TEST_P(ParityTest, GradientsAreThoseOfPyTorch) { Make().CheckGradients(); }
TEST_P(ParityTest, TwentyAdamWStepsGiveTheCurveOfPyTorch) { Make().CheckTraining(); }

INSTANTIATE_TEST_SUITE_P(Models, ParityTest,
                         ::testing::Combine(::testing::Values("dense", "moe", "moe_softmax"),
                                            ::testing::Values(DType::kF32, DType::kF64)),
                         [](const auto& info) {
                           return std::string(std::get<0>(info.param)) + "_" +
                                  std::string(Name(std::get<1>(info.param)));
                         });

}  // namespace
}  // namespace choir
