// The tape itself: recomputation, views, deferred weight gradients and ready hooks.
#include "ops/tape.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <string>

#include "base/random.h"
#include "ops/elementwise.h"
#include "ops/matmul.h"
#include "tests/ops/recompute_where.h"

namespace choir {
namespace {

constexpr int64_t kRows = 4, kWidth = 8;
constexpr int kBlocks = 3;

Tensor Random(const Shape& shape, const std::string& name) {
  Tensor t = Tensor::Empty(shape, {});
  CounterRandom random(7, name);
  for (int64_t i = 0; i < t.NumElements(); ++i) {
    t.data<float>()[i] = static_cast<float>(0.5 * random.Normal(static_cast<uint64_t>(i)));
  }
  return t;
}

// Three residual blocks x + b(a(x)); the last shares its first weight with the first.
struct Net {
  std::vector<Parameter> a, b;
  std::string ready;

  Net() : a(kBlocks), b(kBlocks) {
    for (int i = 0; i < kBlocks; ++i) {
      Init(a[static_cast<size_t>(i)], "a" + std::to_string(i));
      Init(b[static_cast<size_t>(i)], "b" + std::to_string(i));
    }
  }
  void Init(Parameter& p, const std::string& name) {
    p.name = name;
    p.value = Random({kWidth, kWidth}, name);
    p.grad = Tensor::Zeros({kWidth, kWidth}, {});
    p.on_ready = [this](Parameter& done) { ready += done.name + " "; };
  }
  Var Forward(Tape& tape, Var x) {
    for (size_t i = 0; i < kBlocks; ++i) {
      tape.SetLayer(static_cast<int>(i));
      Var inner = Linear(tape, x, a[i == 2 ? 0 : i], "a");
      Var viewed = tape.Reshape(tape.Reshape(inner, {kRows * kWidth}), {kRows, kWidth});
      x = Add(tape, x, Linear(tape, viewed, b[i], "b"));
    }
    return x;
  }
};

struct Result {
  std::vector<float> numbers;  // output, input gradient and weight gradients
  std::string ready;
  int64_t recomputed;
  int64_t saved_bytes;  // held between forward and backward
};

void Append(std::vector<float>& to, const Tensor& t) {
  to.insert(to.end(), t.span<float>().begin(), t.span<float>().end());
}

Result RunNet(const RecomputePolicy& policy, bool defer) {
  Net net;
  Tape tape;
  tape.SetRecomputePolicy(policy);
  WeightGradQueue queue;
  if (defer) tape.DeferWeightGrads(&queue);
  Tensor x = Random({kRows, kWidth}, "x");
  const int64_t before = CurrentLedger(Device::kCpu).CurrentTotal();
  Result result;
  Var input = tape.Input(x, true);
  Var y = net.Forward(tape, input);
  Append(result.numbers, y.tensor());
  result.saved_bytes = CurrentLedger(Device::kCpu).CurrentTotal() - before;
  tape.RunBackward(y, Random({kRows, kWidth}, "dy"));
  if (defer) {
    EXPECT_EQ(net.ready, "");
    for (auto& run : queue) run();
  }
  Append(result.numbers, input.grad()->grad);
  for (auto* group : {&net.a, &net.b}) {
    for (Parameter& p : *group) Append(result.numbers, p.grad);
  }
  result.ready = net.ready;
  result.recomputed = tape.recomputed();
  return result;
}

TEST(Tape, RecomputationChangesNoBitAndFreesMemory) {
  const Result keep = RunNet(nullptr, false);
  const Result all = RunNet([](std::string_view, int) { return TensorPolicy::kRecompute; }, false);
  const Result some = RunNet(
      RecomputeWhere([](std::string_view tag, int layer) { return tag == "a" && layer > 0; }),
      false);
  EXPECT_EQ(keep.numbers, all.numbers);
  EXPECT_EQ(keep.numbers, some.numbers);
  EXPECT_EQ(keep.recomputed, 0);
  EXPECT_EQ(some.recomputed, 2);  // layers 1 and 2, once each
  EXPECT_GT(all.recomputed, some.recomputed);
  EXPECT_LT(some.saved_bytes, keep.saved_bytes);
  EXPECT_LT(all.saved_bytes, some.saved_bytes);
}

TEST(Tape, DecisionsAreNeverTakenAgain) {
  Tape tape;
  tape.SetRecomputePolicy([](std::string_view, int) { return TensorPolicy::kRecompute; });
  int runs = 0;
  Saved saved;
  {
    Var y = tape.Compute(Tag("choice", true), [&runs] {
      ++runs;
      return Tensor::Zeros({4}, {});
    });
    saved = y.Save();
  }
  saved.Get();
  EXPECT_EQ(runs, 1);
}

TEST(Tape, DeferredWeightGradientsAreTheSame) {
  const Result now = RunNet(nullptr, false);
  const Result later = RunNet(nullptr, true);
  EXPECT_EQ(now.numbers, later.numbers);
}

TEST(Tape, ReadyHooksFireOncePerParameterAndLastForTiedOnes) {
  // a2 is never used; a0 is used by blocks 2 and 0.
  EXPECT_EQ(RunNet(nullptr, false).ready, "b2 b1 a1 b0 a0 ");
  EXPECT_EQ(RunNet([](std::string_view, int) { return TensorPolicy::kRecompute; }, false).ready,
            "b2 b1 a1 b0 a0 ");
}

TEST(Tape, EachTapeReportsItsOwnUses) {
  Net net;
  Tape tapes[2];
  Var y[2];
  for (int i : {0, 1}) y[i] = net.Forward(tapes[i], tapes[i].Input(Random({kRows, kWidth}, "x")));
  const std::string once = "b2 b1 a1 b0 a0 ";
  tapes[0].RunBackward(y[0], Random({kRows, kWidth}, "dy"));
  EXPECT_EQ(net.ready, once);
  EXPECT_EQ(net.a[0].pending, 2);
  tapes[1].RunBackward(y[1], Random({kRows, kWidth}, "dy"));
  EXPECT_EQ(net.ready, once + once);
  EXPECT_EQ(net.a[0].pending, 0);
}

// A gradient that is not there is made; the same bits as one that was zero.
TEST(Tape, GradientsAreMadeWhenFirstAddedTo) {
  const Result zeroed = RunNet(nullptr, false);
  Net net;
  for (auto* group : {&net.a, &net.b}) {
    for (Parameter& p : *group) p.grad = Tensor();
  }
  Tape tape;
  Var input = tape.Input(Random({kRows, kWidth}, "x"), true);
  Var y = net.Forward(tape, input);
  EXPECT_FALSE(net.b[1].grad.defined());
  tape.RunBackward(y, Random({kRows, kWidth}, "dy"));
  EXPECT_EQ(net.b[1].grad.category(), MemoryCategory::kGradients);
  std::vector<float> numbers;
  Append(numbers, y.tensor());
  Append(numbers, input.grad()->grad);
  for (auto* group : {&net.a, &net.b}) {
    for (Parameter& p : *group) {  // one is not used
      Append(numbers, p.grad.defined() ? p.grad : Tensor::Zeros(p.shape(), {}));
    }
  }
  EXPECT_EQ(numbers, zeroed.numbers);
}

TEST(Tape, UnitsAreEnteredUpwardsThenDownwards) {
  Net net;
  Tape tape;
  std::string seen;
  tape.SetUnitHook([&](int unit, bool backward) {
    seen += (backward ? "b" : "f") + std::to_string(unit) + " ";
  });
  Var x = tape.Input(Random({kRows, kWidth}, "x"), true);
  for (int i = 0; i < kBlocks; ++i) {
    tape.SetUnit(10 + i);
    x = Linear(tape, x, net.a[static_cast<size_t>(i)], "a");
    x = Add(tape, x, Linear(tape, x, net.b[static_cast<size_t>(i)], "b"));
  }
  EXPECT_EQ(seen, "f10 f11 f12 ");
  tape.RunBackward(x, Random({kRows, kWidth}, "dy"));
  EXPECT_EQ(seen, "f10 f11 f12 b12 b11 b10 ");
}

bool InBF16(const Tensor& x) {
  const auto values = x.span<float>();
  return std::all_of(values.begin(), values.end(),
                     [](float v) { return ToFloat(ToBFloat16(v)) == v; });
}

TEST(Tape, RoundsActivationsAndNothingElse) {
  Net net;
  Tape tape;
  tape.SetRounding(DType::kBF16);
  const Var x = tape.Input(Random({kRows, kWidth}, "x"), true);
  EXPECT_TRUE(InBF16(Linear(tape, x, net.a[0], "ffn.gate_up").tensor()));
  EXPECT_FALSE(InBF16(Linear(tape, x, net.a[0], "ffn.down").tensor())) << "a part of a sum";
  EXPECT_FALSE(InBF16(Add(tape, x, x).tensor()));
}

TEST(Tape, RecomputedActivationsAreRoundedAgain) {
  Net net;
  std::vector<Tensor> gradients;
  for (bool recompute : {false, true}) {
    Tape tape;
    tape.SetRounding(DType::kBF16);
    if (recompute)
      tape.SetRecomputePolicy([](std::string_view, int) { return TensorPolicy::kRecompute; });
    const Var x = tape.Input(Random({kRows, kWidth}, "x"), true);
    Var y = Linear(tape, x, net.a[0], "attention.qkv");
    y = Linear(tape, y, net.b[0], "ffn.down");
    tape.RunBackward(y, Random({kRows, kWidth}, "dy"));
    gradients.push_back(net.b[0].grad.Clone());
    net.b[0].grad.Zero();
    EXPECT_EQ(tape.recomputed() > 0, recompute);
  }
  EXPECT_EQ(std::memcmp(gradients[0].raw(), gradients[1].raw(),
                        static_cast<size_t>(gradients[0].bytes())),
            0);
}

TEST(Parameter, ReadsSixteenBitValuesAsFloat) {
  Parameter p;
  p.name = "w";
  p.value = Tensor::Empty({2, 3}, {DType::kBF16, Device::kCpu, MemoryCategory::kParameters});
  ConvertInto(p.value, Random({2, 3}, "w"));
  const Tensor wide = p.Value();
  EXPECT_EQ(wide.dtype(), DType::kF32);
  EXPECT_EQ(p.options(MemoryCategory::kGradients).dtype, DType::kF32);
  EXPECT_EQ(p.Stored().dtype(), DType::kBF16);
  for (int64_t i = 0; i < 6; ++i) {
    EXPECT_EQ(wide.data<float>()[i], ToFloat(p.value.data<BFloat16>()[i]));
  }
}

TEST(Tape, SharedGradientsAreNotOverwritten) {
  // y = x + x + x: the gradient that Add hands to both sides is the same tensor.
  Tape tape;
  Var x = tape.Input(Random({kWidth}, "x"), true);
  Var y = Add(tape, Add(tape, x, x), x);
  Tensor dy = Random({kWidth}, "dy");
  Tensor copy = dy.Clone();
  tape.RunBackward(y, dy);
  for (int64_t i = 0; i < kWidth; ++i) {
    EXPECT_EQ(dy.data<float>()[i], copy.data<float>()[i]);
    EXPECT_FLOAT_EQ(x.grad()->grad.data<float>()[i], 3 * dy.data<float>()[i]);
  }
}

TEST(Tape, NotRecordingKeepsNothing) {
  Net net;
  Tape tape(/*recording=*/false);
  Var y = net.Forward(tape, tape.Input(Random({kRows, kWidth}, "x")));
  EXPECT_EQ(y.grad(), nullptr);
  EXPECT_EQ(net.a[0].pending, 0);
}

}  // namespace
}  // namespace choir
