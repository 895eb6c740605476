#include "optim/optimizer.h"

#include <gtest/gtest.h>

#include "base/config_fields.h"
#include "ops/parallel_for.h"
#include "optim/clip.h"
#include "tensor/tolerance.h"
#include "tests/optim/optimizer_testing.h"

namespace choir {
namespace {

OptimConfig ConfigOf(OptimKind kind) {
  OptimConfig config;
  config.kind = kind;
  config.clip_value = 0.8;
  return config;
}

void CompareWithTwin(const OptimConfig& config, const Shape& shape, DType dtype) {
  constexpr int kSteps = 20;
  Parameter p = DrawParameter("w", shape, dtype);
  Optimizer optimizer(config, WholeTargets({&p}));
  std::vector<RuleTwin> twins;
  for (double w : AsDoubles(p.value)) twins.push_back({w});
  RuleStep step{optimizer.settings(0), 1e-2, 0.5, *config.clip_value, config.nesterov};
  for (step.step = 1; step.step <= kSteps; ++step.step) {
    DrawGradient(p, step.step);
    const std::vector<double> grad = AsDoubles(p.grad);
    for (size_t i = 0; i < twins.size(); ++i) twins[i].Step(grad[i], step);
    optimizer.Step({step.lr, step.grad_scale});
  }
  const double bound = ErrorBound(dtype, kSteps);
  const std::vector<double> w = AsDoubles(p.value), m = AsDoubles(optimizer.ReadState(0, "m"));
  for (size_t i = 0; i < twins.size(); ++i) {
    const double scale = std::max({1.0, std::abs(twins[i].w), std::abs(twins[i].m)});
    ASSERT_NEAR(w[i], twins[i].w, bound * scale) << EnumToString(config.kind) << " " << i;
    ASSERT_NEAR(m[i], twins[i].m, bound * scale) << EnumToString(config.kind) << " " << i;
  }
}

TEST(Optimizer, EqualsThePapersElementByElement) {
  for (int64_t n : {1, 15, 16, 17, 1000, 1025}) {
    for (const DType dtype : {DType::kF32, DType::kF64}) {
      CompareWithTwin(ConfigOf(OptimKind::kAdamW), {n, 1}, dtype);
      CompareWithTwin(ConfigOf(OptimKind::kSgd), {n, 1}, dtype);
      OptimConfig nesterov = ConfigOf(OptimKind::kSgd);
      nesterov.nesterov = true;
      CompareWithTwin(nesterov, {n, 1}, dtype);
    }
    // A float's momentum may have the other sign where it is nearly zero.
    CompareWithTwin(ConfigOf(OptimKind::kLion), {n, 1}, DType::kF64);
  }
}

TEST(Optimizer, DoesNotDependOnTheNumberOfThreads) {
  std::vector<double> results[2];
  for (int threads : {1, 4}) {
    SetNumThreads(threads);
    Parameter large = DrawParameter("large", {300, 700}), small = DrawParameter("small", {5});
    Optimizer optimizer({}, WholeTargets({&large, &small}));
    for (int64_t step = 1; step <= 2; ++step) {
      DrawGradient(large, step);
      DrawGradient(small, step);
      optimizer.Step({1e-3});
    }
    results[threads == 1 ? 0 : 1] = AsDoubles(large.value);
    SetNumThreads(0);
  }
  EXPECT_EQ(results[0], results[1]);
}

TEST(Optimizer, ZeroGradientsMoveNothingWithTheSmallestEps) {
  OptimConfig config;
  config.eps = kSmallestEps;
  config.weight_decay = 0;
  Parameter p = DrawParameter("w", {3, 7});
  const std::vector<double> before = AsDoubles(p.value);
  Optimizer optimizer(config, WholeTargets({&p}));
  optimizer.Step({1e-2});
  EXPECT_EQ(AsDoubles(p.value), before);
}

// With the smallest eps, down to gradients whose squares a float hardly holds: a first step is
// lr g / (g + eps), up to what update_rule.h says is lost.
TEST(Optimizer, SmallGradientsMakeTheirStepsWithTheSmallestEps) {
  OptimConfig config;
  config.eps = kSmallestEps;
  config.weight_decay = 0;
  for (const double size : {1.0, 1e-12, 1e-17, 1e-19, 1e-20, 1e-21, 1e-23}) {
    Parameter p = DrawParameter("w", {1, 4});
    p.value.Zero();
    Optimizer optimizer(config, WholeTargets({&p}));
    for (float& g : p.grad.span<float>()) g = static_cast<float>(size);
    optimizer.Step({1e-2});
    const double want = -1e-2 * size / (size + kSmallestEps);
    for (double w : AsDoubles(p.value)) EXPECT_NEAR(w / want, 1, 0.012) << size;
  }
}

TEST(Optimizer, SettingsComeFromTheFirstGroupThatMatches) {
  OptimConfig config;
  config.weight_decay = 0.3;
  config.no_decay = {"embed*"};
  ParameterGroupConfig head{.pattern = "head", .lr_scale = 0.5, .weight_decay = 0.0};
  head.kind = OptimKind::kLion;
  head.beta1 = 0.95;
  head.beta2 = 0.98;
  head.eps = 1e-12;
  head.clip_norm = 2;
  config.groups = {head, {.pattern = "*"}};
  const ParameterSettings s = SettingsOf(config, "head", ParameterForm::kMatrix);
  EXPECT_EQ(s.kind, OptimKind::kLion);
  EXPECT_EQ(s.lr_scale, 0.5);
  EXPECT_EQ(s.weight_decay, 0);
  EXPECT_EQ(s.beta1, 0.95);
  EXPECT_EQ(s.beta2, 0.98);
  EXPECT_EQ(s.eps, 1e-12);
  EXPECT_EQ(s.clip_group, std::optional<size_t>(0));
  const ParameterSettings ffn = SettingsOf(config, "layers.0.ffn.down", ParameterForm::kMatrix);
  EXPECT_EQ(ffn.kind, OptimKind::kAdamW);
  EXPECT_EQ(ffn.weight_decay, 0.3);
  EXPECT_EQ(ffn.clip_group, std::nullopt);
  EXPECT_EQ(SettingsOf(config, "layers.0.ffn_norm", ParameterForm::kVector).weight_decay, 0);
  EXPECT_EQ(SettingsOf(config, "embedding", ParameterForm::kMatrix).weight_decay, 0);
}

TEST(Optimizer, GroupsAreUpdatedWithTheirSettings) {
  Parameter ffn = DrawParameter("ffn", {2, 2}), head = DrawParameter("head", {2, 2});
  for (Parameter* p : {&ffn, &head}) {
    p->value.Zero();
    for (float& g : p->grad.span<float>()) g = 1;
  }
  OptimConfig config;
  ParameterGroupConfig group{.pattern = "head", .lr_scale = 0.5};
  group.kind = OptimKind::kSgd;
  group.clip_norm = 1;
  config.groups = {group};
  Optimizer optimizer(config, WholeTargets({&ffn, &head}));
  optimizer.Step({.lr = 0.1, .grad_scale = 1, .group_scales = {0.25}});
  EXPECT_NEAR(ffn.value.data<float>()[0], -0.1, 1e-6);  // the first step is lr in size
  EXPECT_NEAR(head.value.data<float>()[0], -0.1 * 0.5 * 0.25, 1e-8);
  EXPECT_EQ(optimizer.StateNames(0), (std::vector<std::string>{"m", "v"}));
  EXPECT_EQ(optimizer.StateNames(1), (std::vector<std::string>{"m"}));
}

TEST(Optimizer, NormAndClipping) {
  Parameter a = DrawParameter("a", {3}), b = DrawParameter("b", {4});
  for (float& g : a.grad.span<float>()) g = 2;
  for (float& g : b.grad.span<float>()) g = -1;
  std::vector<Parameter*> all = {&a, &b};
  EXPECT_DOUBLE_EQ(GlobalGradNorm(all), 4.0);
  EXPECT_DOUBLE_EQ(ClipScale(4, 1.0), 0.25);
  EXPECT_DOUBLE_EQ(ClipScale(0.5, 1.0), 1);
  EXPECT_DOUBLE_EQ(ClipScale(4, std::nullopt), 1);
}

std::string LoadErrors(const std::string& yaml) {
  auto tree = ConfigTree::ParseString(yaml, "o.yaml");
  CHECK(tree.ok());
  return std::string(LoadConfig<OptimConfig>(*tree).status().message());
}

TEST(OptimConfig, ContradictionsAreReported) {
  EXPECT_NE(LoadErrors("nesterov: true\n").find("is only for sgd"), std::string::npos);
  EXPECT_EQ(LoadErrors("nesterov: true\nkind: sgd\n"), "");
  EXPECT_NE(LoadErrors("eps: 1e-21\n").find("must be at least 1e-20"), std::string::npos);
}

TEST(OptimConfig, VisitListsEveryField) {
  EXPECT_EQ(ForgottenFields<OptimConfig>(), "");
  EXPECT_EQ(ForgottenFields<ParameterGroupConfig>(), "");
}

}  // namespace
}  // namespace choir
