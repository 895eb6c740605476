#include "tests/ops/op_case.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "base/random.h"
#include "base/strings.h"
#include "ops/elementwise.h"
#include "ops/parallel_for.h"
#include "ops/work.h"
#include "tensor/tolerance.h"

namespace choir {
namespace {

using Values = std::vector<std::vector<double>>;  // of every input

Values MakeValues(const OpCase& op) {
  Values values;
  for (size_t i = 0; i < op.inputs.size(); ++i) {
    const OpInput& input = op.inputs[i];
    CounterRandom random(11, op.name + std::to_string(i));
    std::vector<double> v(static_cast<size_t>(input.shape.NumElements()));
    for (size_t j = 0; j < v.size(); ++j) {
      v[j] = input.integers.empty() ? input.offset + input.scale * (2 * random.Uniform(j) - 1)
                                    : input.integers[j];
      if (input.integers.empty()) v[j] = static_cast<float>(v[j]);  // the same in both precisions
    }
    values.push_back(std::move(v));
  }
  return values;
}

Tensor ToTensor(const OpInput& input, const std::vector<double>& values, TensorOptions options) {
  if (!input.integers.empty()) options.dtype = DType::kI32;
  Tensor t = Tensor::Empty(input.shape, options);
  if (options.device == Device::kMeta) return t;
  for (size_t j = 0; j < values.size(); ++j) {
    if (options.dtype == DType::kI32) t.data<int32_t>()[j] = static_cast<int32_t>(values[j]);
    if (options.dtype == DType::kF32) t.data<float>()[j] = static_cast<float>(values[j]);
    if (options.dtype == DType::kF64) t.data<double>()[j] = values[j];
  }
  return t;
}

std::vector<double> ToDoubles(const Tensor& t) {
  std::vector<double> v(static_cast<size_t>(t.NumElements()));
  for (size_t j = 0; j < v.size(); ++j) {
    v[j] = t.dtype() == DType::kF64   ? t.data<double>()[j]
           : t.dtype() == DType::kF32 ? static_cast<double>(t.data<float>()[j])
                                      : t.data<int32_t>()[j];
  }
  return v;
}

std::vector<double> Cotangent(const OpCase& op, size_t output, int64_t n) {
  CounterRandom random(13, op.name + "/out" + std::to_string(output));
  std::vector<double> v(static_cast<size_t>(n));
  for (size_t j = 0; j < v.size(); ++j) v[j] = static_cast<float>(random.Uniform(j) - 0.5);
  return v;
}

struct Mode {
  TensorOptions options;
  bool differentiate = true;
  bool recompute = false;
  bool defer = false;
  Numerics numerics = Numerics::kFast;
  int64_t rows = 0;  // of tokens, where gradients are summed by trees
};

std::shared_ptr<const RowLeaves> LeavesOf(int64_t rows) {
  auto leaves = std::make_shared<RowLeaves>();
  for (int64_t i = 0; i <= kVirtualPieces; ++i) {
    if (i < kVirtualPieces) leaves->index.push_back(i);
    leaves->bounds.push_back(PieceBegin(rows, kVirtualPieces, i));
  }
  return leaves;
}

// What kernels have told of their work.
struct Told {
  std::vector<std::string> kernels;
  double product_flops = 0;

  void Add(const Work& w) {
    // Values decide: the gradient of a loss is scaled unless it is 1, as meta takes it to be.
    if (std::string_view(w.name) == "scale") return;
    kernels.push_back(StrCat(w.name, ": kind ", static_cast<int>(w.kind), " flops ", w.flops,
                             " bytes ", w.bytes, " m ", w.m, " n ", w.n, " k ", w.k, " groups ",
                             w.groups, " operands ", static_cast<int>(w.operands)));
    if (w.kind != WorkKind::kMemory) product_flops += w.flops;
  }
};

struct Outcome {
  std::vector<Shape> shapes;
  Values outputs;
  Values gradients;  // of every input; empty where there is none
  double objective = 0;
  int64_t peak_bytes = 0;
  int64_t recomputed = 0;
  Told work;
};

OpArguments MakeArguments(const OpCase& op, const Values& values, const Mode& mode, Tape& tape) {
  OpArguments arguments;
  arguments.options = mode.options;
  for (size_t i = 0; i < op.inputs.size(); ++i) {
    const OpInput& input = op.inputs[i];
    arguments.tensors.push_back(ToTensor(input, values[i], mode.options));
    arguments.vars.emplace_back();
    arguments.parameters.push_back(std::make_unique<Parameter>());
    if (input.parameter) {
      Parameter& p = *arguments.parameters.back();
      p.name = op.name + "." + std::to_string(i);
      p.value = arguments.tensors.back();
      p.grad = Tensor::Zeros(p.value.shape(), mode.options);
      if (mode.rows > 0) {
        p.tree = std::make_shared<GradTree>(std::make_shared<LeafTree>(1, kVirtualPieces));
      }
    } else if (input.integers.empty()) {
      arguments.vars.back() = tape.Input(arguments.tensors.back(), input.wants_grad);
    }
  }
  return arguments;
}

void Differentiate(const OpCase& op, Tape& tape, const std::vector<Var>& outputs,
                   const Mode& mode) {
  std::vector<Var> starts;
  std::vector<Tensor> seeds;
  for (size_t o = 0; o < outputs.size(); ++o) {
    if (outputs[o].grad() == nullptr) continue;
    const OpInput like{outputs[o].shape()};
    starts.push_back(outputs[o]);
    seeds.push_back(ToTensor(like, Cotangent(op, o, like.shape.NumElements()), mode.options));
  }
  WeightGradQueue queue;
  if (mode.defer) tape.DeferWeightGrads(&queue);
  tape.RunBackward(starts, seeds);
  for (auto& run : queue) run();
}

Tensor GradientOf(const Parameter& parameter) {
  if (parameter.tree == nullptr) return parameter.grad;
  std::vector<GradTree::Node> nodes = parameter.tree->Take();
  CHECK(nodes.size() == 1 && nodes[0].level == 0) << parameter.name << " " << nodes.size();
  return nodes[0].sum;
}

Outcome RunCase(const OpCase& op, const Values& values, const Mode& mode) {
  MemoryLedger ledger;
  ScopedLedger scoped(mode.options.device, ledger);
  Outcome outcome;
  const WorkListener listener = [&](const Work& work) { outcome.work.Add(work); };
  const ScopedWorkListener listening(listener);
  {
    Tape tape;
    tape.SetNumerics(mode.numerics);
    if (mode.rows > 0) tape.SetRows(LeavesOf(mode.rows));
    if (mode.recompute)
      tape.SetRecomputePolicy([](std::string_view, int) { return TensorPolicy::kRecompute; });
    OpArguments arguments = MakeArguments(op, values, mode, tape);
    const bool meta = mode.options.device == Device::kMeta;
    std::vector<Var> outputs = op.run(tape, arguments);
    for (size_t o = 0; o < outputs.size(); ++o) {
      outcome.shapes.push_back(outputs[o].shape());
      if (meta) continue;
      outcome.outputs.push_back(ToDoubles(outputs[o].tensor()));
      if (outputs[o].grad() == nullptr) continue;
      const auto cotangent = Cotangent(op, o, outputs[o].tensor().NumElements());
      for (size_t j = 0; j < cotangent.size(); ++j) {
        outcome.objective += cotangent[j] * outcome.outputs[o][j];
      }
    }
    if (mode.differentiate) Differentiate(op, tape, outputs, mode);
    for (size_t i = 0; i < op.inputs.size(); ++i) {
      outcome.gradients.emplace_back();
      if (meta || !mode.differentiate) continue;
      if (op.inputs[i].parameter) {
        EXPECT_EQ(arguments.parameter(static_cast<int>(i)).pending, 0);
        outcome.gradients.back() = ToDoubles(GradientOf(arguments.parameter(static_cast<int>(i))));
      } else if (arguments.vars[i].defined() && arguments.vars[i].grad() != nullptr &&
                 arguments.vars[i].grad()->grad.defined()) {
        outcome.gradients.back() = ToDoubles(arguments.vars[i].grad()->grad);
      }
    }
    outcome.recomputed = tape.recomputed();
    outcome.peak_bytes = ledger.PeakTotal();
  }
  EXPECT_EQ(ledger.CurrentTotal(), 0) << "memory is left after the tape is gone";
  return outcome;
}

double MaxMagnitude(const std::vector<double>& v) {
  double m = 0;
  for (double x : v) m = std::max(m, std::abs(x));
  return m;
}

// The objective with one element moved, by a central difference of fourth order.
double Derivative(const OpCase& op, Values& values, const Mode& mode, double& element) {
  constexpr double kStep = 1e-4;
  const double at = element;
  auto objective = [&](double offset) {
    element = at + offset;
    return RunCase(op, values, mode).objective;
  };
  const double near = objective(kStep) - objective(-kStep);
  const double far = objective(2 * kStep) - objective(-2 * kStep);
  element = at;
  return (8 * near - far) / (12 * kStep);
}

void CheckFiniteDifferences(const OpCase& op) {
  Values values = MakeValues(op);
  Mode mode{{DType::kF64, Device::kCpu, MemoryCategory::kActivations}};
  const Outcome exact = RunCase(op, values, mode);
  mode.differentiate = false;
  for (size_t i = 0; i < op.inputs.size(); ++i) {
    const OpInput& input = op.inputs[i];
    if (!input.integers.empty() || (!input.parameter && !input.wants_grad)) continue;
    ASSERT_EQ(exact.gradients[i].size(), values[i].size()) << "input " << i << " has no gradient";
    // Step 1e-4: truncation is below 1e-15, rounding of the objective about 1e-12 of it.
    const double tolerance = 1e-8 * (MaxMagnitude(exact.gradients[i]) + std::abs(exact.objective));
    const size_t stride = 1 + values[i].size() / 60;
    for (size_t j = 0; j < values[i].size(); j += stride) {
      const double numeric = Derivative(op, values, mode, values[i][j]);
      ASSERT_NEAR(exact.gradients[i][j], numeric, tolerance) << "input " << i << " element " << j;
    }
  }
}

void ExpectNear(const Values& a, const Values& b, double bound, const char* what) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    ASSERT_EQ(a[i].size(), b[i].size()) << what << " " << i;
    const double tolerance = bound * std::max(MaxMagnitude(b[i]), 1e-30);
    for (size_t j = 0; j < a[i].size(); ++j) {
      ASSERT_NEAR(a[i][j], b[i][j], tolerance) << what << " " << i << " element " << j;
    }
  }
}

void ExpectSameBits(const Outcome& a, const Outcome& b) {
  EXPECT_EQ(a.outputs, b.outputs);
  EXPECT_EQ(a.gradients, b.gradients);
}

// All that must hold in one mode (its device: CPU, float32).
void CheckMode(const OpCase& op, const Values& values, const Mode& mode) {
  const Outcome kept = RunCase(op, values, mode);
  {
    SCOPED_TRACE("float32 against float64");
    Mode wide = mode;
    wide.options.dtype = DType::kF64;
    const Outcome reference = RunCase(op, values, wide);
    const double bound = ErrorBound(DType::kF32, op.reduction);
    ExpectNear(kept.outputs, reference.outputs, bound, "output");
    ExpectNear(kept.gradients, reference.gradients, bound, "gradient of input");
  }
  {
    SCOPED_TRACE("recompute");
    Mode recompute = mode;
    recompute.recompute = true;
    ExpectSameBits(kept, RunCase(op, values, recompute));
  }
  {
    SCOPED_TRACE("deferred weight gradients");
    Mode defer = mode;
    defer.defer = true;
    const Outcome deferred = RunCase(op, values, defer);
    ExpectSameBits(kept, deferred);
    EXPECT_EQ(deferred.work.kernels.size(), kept.work.kernels.size());
  }
  for (int threads : {1, 3}) {
    SCOPED_TRACE("threads: " + std::to_string(threads));
    SetNumThreads(threads);
    ExpectSameBits(kept, RunCase(op, values, mode));
    SetNumThreads(0);
  }
  SCOPED_TRACE("meta");
  Mode meta = mode;
  meta.options.device = Device::kMeta;
  const Outcome planned = RunCase(op, values, meta);
  EXPECT_EQ(planned.shapes, kept.shapes);
  if (op.data_decide_memory) {
    EXPECT_GE(planned.peak_bytes, kept.peak_bytes);
  } else {
    EXPECT_EQ(planned.work.kernels, kept.work.kernels);
    EXPECT_EQ(planned.peak_bytes, kept.peak_bytes);
  }
}

}  // namespace

void CheckOpCase(const OpCase& op) {
  SCOPED_TRACE(op.name);
  CheckFiniteDifferences(op);
  CheckMode(op, MakeValues(op), Mode{{DType::kF32, Device::kCpu, MemoryCategory::kActivations}});
}

void CheckInvariantOpCase(const OpCase& op, int64_t rows) {
  SCOPED_TRACE(op.name + ", invariant");
  const Values values = MakeValues(op);
  Mode mode{{DType::kF32, Device::kCpu, MemoryCategory::kActivations}};
  const Outcome fast = RunCase(op, values, mode);
  mode.numerics = Numerics::kInvariant;
  mode.rows = rows;
  const Outcome invariant = RunCase(op, values, mode);
  const double bound = ErrorBound(DType::kF32, op.reduction);
  EXPECT_EQ(invariant.work.product_flops, fast.work.product_flops) << "products count once";
  ExpectNear(invariant.outputs, fast.outputs, bound, "output");
  ExpectNear(invariant.gradients, fast.gradients, bound, "gradient of input");
  CheckMode(op, values, mode);
}

}  // namespace choir
