#include "optim/adamw.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/config_fields.h"
#include "base/random.h"
#include "ops/parallel_for.h"
#include "tensor/tolerance.h"

namespace choir {
namespace {

// The update as the paper writes it, element by element in double.
struct Twin {
  double w, m = 0, v = 0;
  void Step(double g, const AdamWStep& s) {
    g *= s.grad_scale;
    m = s.beta1 * m + (1 - s.beta1) * g;
    v = s.beta2 * v + (1 - s.beta2) * g * g;
    const double m_hat = m / (1 - std::pow(s.beta1, s.step));
    const double v_hat = v / (1 - std::pow(s.beta2, s.step));
    w -= s.lr * s.weight_decay * w;
    w -= s.lr * m_hat / (std::sqrt(v_hat) + s.eps);
  }
};

template <class T>
void CompareWithTwin(int64_t n, int steps) {
  const TensorOptions options{DTypeOf<T>()};
  Tensor w = Tensor::Empty({n}, options), g = Tensor::Empty({n}, options);
  Tensor m = Tensor::Zeros({n}, options), v = Tensor::Zeros({n}, options);
  std::vector<Twin> twins;
  CounterRandom random(3, "w");
  for (int64_t i = 0; i < n; ++i) {
    w.data<T>()[i] = static_cast<T>(random.Normal(static_cast<uint64_t>(i)));
    twins.push_back({static_cast<double>(w.data<T>()[i])});
  }
  for (int t = 1; t <= steps; ++t) {
    const AdamWStep step{1e-2, 0.9, 0.95, 1e-8, 0.1, 0.5, t};
    CounterRandom grads(4, "g", static_cast<uint64_t>(t));
    for (int64_t i = 0; i < n; ++i) {
      g.data<T>()[i] = static_cast<T>(grads.Normal(static_cast<uint64_t>(i)));
      twins[static_cast<size_t>(i)].Step(static_cast<double>(g.data<T>()[i]), step);
    }
    AdamWUpdate(w, g, m, v, step);
  }
  const double bound = ErrorBound(DTypeOf<T>(), steps);
  for (int64_t i = 0; i < n; ++i) {
    const Twin& twin = twins[static_cast<size_t>(i)];
    ASSERT_NEAR(w.data<T>()[i], twin.w, bound * std::max(1.0, std::abs(twin.w))) << i;
    ASSERT_NEAR(v.data<T>()[i], twin.v, bound * std::max(1.0, twin.v)) << i;
  }
}

TEST(AdamW, EqualsThePaperElementByElement) {
  for (int64_t n : {1, 15, 16, 17, 1000}) {
    CompareWithTwin<float>(n, 20);
    CompareWithTwin<double>(n, 20);
  }
}

TEST(AdamW, DoesNotDependOnTheNumberOfThreads) {
  std::vector<float> results[2];
  for (int threads : {1, 4}) {
    SetNumThreads(threads);
    Tensor w = Tensor::Zeros({100000}, {}), g = Tensor::Zeros({100000}, {});
    Tensor m = Tensor::Zeros({100000}, {}), v = Tensor::Zeros({100000}, {});
    for (int64_t i = 0; i < g.NumElements(); ++i) g.data<float>()[i] = float(i % 97) - 48;
    AdamWUpdate(w, g, m, v, {1e-3, 0.9, 0.95, 1e-8, 0.1});
    auto& r = results[threads == 1 ? 0 : 1];
    r.assign(w.data<float>(), w.data<float>() + w.NumElements());
    SetNumThreads(0);
  }
  EXPECT_EQ(results[0], results[1]);
}

Parameter MakeParameter(const std::string& name, const Shape& shape, float grad) {
  Parameter p;
  p.name = name;
  p.value = Tensor::Zeros(shape, {});
  p.grad = Tensor::Zeros(shape, {});
  for (float& g : p.grad.span<float>()) g = grad;
  return p;
}

TEST(AdamW, GroupsDecideRateAndDecay) {
  Parameter matrix = MakeParameter("layers.0.ffn.down", {2, 2}, 1);
  Parameter norm = MakeParameter("layers.0.ffn_norm", {2}, 1);
  Parameter head = MakeParameter("head", {2, 2}, 1);
  OptimConfig config;
  config.weight_decay = 0.3;
  config.groups = {{"head", 0.5, 0.0}, {"*", 1.0, {}}};
  AdamW optimizer(config, {&matrix, &norm, &head});
  ASSERT_EQ(optimizer.states().size(), 3u);
  EXPECT_EQ(optimizer.states()[0].weight_decay, 0.3);
  EXPECT_EQ(optimizer.states()[1].weight_decay, 0);  // one dim: no decay
  EXPECT_EQ(optimizer.states()[2].weight_decay, 0);
  EXPECT_EQ(optimizer.states()[2].lr_scale, 0.5);
  optimizer.Step(0.1, 1);
  EXPECT_NEAR(matrix.value.data<float>()[0], -0.1, 1e-6);  // the first step is lr in size
  EXPECT_NEAR(head.value.data<float>()[0], -0.05, 1e-6);
}

TEST(AdamW, NormAndClipping) {
  Parameter a = MakeParameter("a", {3}, 2), b = MakeParameter("b", {4}, -1);
  std::vector<Parameter*> all = {&a, &b};
  EXPECT_DOUBLE_EQ(GlobalGradNorm(all), 4.0);
  EXPECT_DOUBLE_EQ(ClipScale(4, 1.0), 0.25);
  EXPECT_DOUBLE_EQ(ClipScale(0.5, 1.0), 1);
  EXPECT_DOUBLE_EQ(ClipScale(4, std::nullopt), 1);
}

TEST(AdamW, Patterns) {
  EXPECT_TRUE(MatchesPattern("layers.3.moe.router", "*router"));
  EXPECT_TRUE(MatchesPattern("layers.3.moe.router", "layers.*.moe.*"));
  EXPECT_TRUE(MatchesPattern("head", "head"));
  EXPECT_FALSE(MatchesPattern("header", "head"));
  EXPECT_FALSE(MatchesPattern("layers.3.moe.router", "layers.*.ffn*"));
  EXPECT_TRUE(MatchesPattern("", "*"));
}

TEST(OptimConfig, VisitListsEveryField) { EXPECT_EQ(ForgottenFields<OptimConfig>(), ""); }

}  // namespace
}  // namespace choir
