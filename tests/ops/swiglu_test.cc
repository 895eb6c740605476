#include "ops/swiglu.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tensor/tolerance.h"
#include "tests/ops/attention_twin.h"
#include "tests/ops/op_case.h"

namespace choir {
namespace {

OpCase Case(const std::string& name, const Shape& shape, double scale,
            std::optional<double> clamp) {
  return {"swiglu/" + name, {{shape, false, scale}}, [clamp](Tape& tape, OpArguments& in) {
            return std::vector<Var>{SwiGlu(tape, in.var(0), clamp)};
          }};
}

// CheckOpCase differentiates every n-th element; these sizes make n odd: gates and ups.
TEST(SwiGlu, OpCases) {
  CheckOpCase(Case("plain", {2, 64}, 2, {}));
  CheckOpCase(Case("tail", {3, 14}, 2, {}));
  CheckOpCase(Case("one", {1, 2}, 1, {}));
  CheckOpCase(Case("saturated", {4, 40}, 30, {}));
  // No test point lies within the step of a difference of the kink (any would fail the check).
  CheckOpCase(Case("clamped", {4, 38}, 2, 0.75));
}

TEST(SwiGlu, EqualsTheFormula) {
  const Tensor x = RandomTensor({6, 50}, "x");
  for (std::optional<double> clamp : {std::optional<double>(), std::optional<double>(0.5)}) {
    Tape tape;
    Var in = tape.Input(x, true);
    Var y = SwiGlu(tape, in, clamp);
    tape.RunBackward(y, RandomTensor({6, 25}, "dy"));
    for (int64_t i = 0; i < 6 * 25; ++i) {
      double gate = x.data<double>()[2 * i], up = x.data<double>()[2 * i + 1];
      const double* gradient = in.grad()->grad.data<double>() + 2 * i;
      // Only what was clamped has no gradient; a gate below -clamp is not clamped.
      EXPECT_EQ(gradient[0] == 0, clamp && gate > *clamp);
      EXPECT_EQ(gradient[1] == 0, clamp && std::abs(up) > *clamp);
      if (clamp) {
        gate = std::min(gate, *clamp);
        up = std::clamp(up, -*clamp, *clamp);
      }
      EXPECT_NEAR(y.tensor().data<double>()[i], gate / (1 + std::exp(-gate)) * up,
                  ErrorBound(DType::kF64, 1));
    }
  }
}

TEST(SwiGlu, ExtremeInputsGiveFiniteValues) {
  const std::vector<float> values = {-1e4f, 3, 1e4f, 3, -88, 2, 88, 2, 0, 1e4f};
  Tape tape;
  Var x = tape.Input(Tensor::From<float>({1, 10}, values), true);
  Var y = SwiGlu(tape, x);
  tape.RunBackward(y, Tensor::From<float>({1, 5}, std::vector<float>(5, 1)));
  for (float v : y.tensor().span<float>()) EXPECT_TRUE(std::isfinite(v));
  for (float v : x.grad()->grad.span<float>()) EXPECT_TRUE(std::isfinite(v));
  EXPECT_EQ(y.tensor().data<float>()[1], 3e4f);
}

}  // namespace
}  // namespace choir
