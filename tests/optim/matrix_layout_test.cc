// Muon and factored moments on layouts of ranks against one rank: given the same gradients, the
// same bits, in fast numerics too.
#include <gtest/gtest.h>

#include <cstring>
#include <deque>
#include <functional>

#include "base/strings.h"
#include "optim/matrix_plan.h"
#include "parallel/assemble.h"
#include "parallel/comm/local_world.h"
#include "tests/optim/optimizer_testing.h"

namespace choir {
namespace {

struct Case {
  std::string name;
  Placement placement;
  Matrices matrices;
};

std::vector<Case> Model() {
  Layout up = Layout::Split(0, Axis::kExpert), back = up;
  up.split[1] = back.split[2] = Axis::kExpertTensor;
  const Layout first = Layout::Split(0, Axis::kTensor), second = Layout::Split(1, Axis::kTensor);
  return {
      {"embedding", {{30, 20}, first}, {{{"rc"}}, /*table=*/true}},
      {"gate_up", {{10, 2, 20}, first}, {{{"rbc"}}}},
      {"down", {{20, 10}, second}, {{{"rc"}}}},
      {"qkv", {{3, 4, 6, 20}, first}, {{{"hhrc", 1, 0, 2}, {"hrrc", 1, 2, 1}, {"rrrc", 1, 3, 1}}}},
      {"output", {{20, 3, 12}, second}, {{{"rcc"}}}},
      {"router", {{8, 20}, {}}, {{{"rc"}}}},
      {"experts.gate_up", {{8, 6, 2, 20}, up}, {{{"brbc"}}}},
      {"experts.down", {{8, 20, 6}, back}, {{{"brc"}}}},
      {"norm", {{20}, {}}, {}},
  };
}

struct Setting {
  OptimConfig config;
  TargetPrecision precision;
  DType storage;
};

Setting SettingOf(OptimKind kind, TargetPrecision precision = {}, DType storage = DType::kF32) {
  Setting setting{{}, precision, storage};
  setting.config.kind = kind;
  setting.config.muon.per_head = storage == DType::kBF16;
  return setting;
}

constexpr int kSteps = 3;
constexpr double kLr = 0.01;

// The gradient of a rank's part, as if all ranks had summed it.
Tensor GradientPart(const Case& c, const Slice& slice, int64_t step) {
  Parameter whole = DrawParameter(c.name, c.placement.shape);
  DrawGradient(whole, step);
  const Tensor part = Tensor::Empty({slice.count.NumElements()}, {});
  TakePart(whole.grad, slice, {0, part.NumElements()}, part);
  return part;
}

std::vector<Tensor> OneRank(const Setting& setting, const std::vector<Case>& model) {
  std::deque<Parameter> parameters;
  std::vector<Parameter*> list;
  for (const Case& c : model) {
    parameters.push_back(DrawParameter(c.name, c.placement.shape, setting.storage));
    list.push_back(&parameters.back());
  }
  auto targets = WholeTargets(list, setting.precision);
  for (size_t i = 0; i < targets.size(); ++i) {
    targets[i].placement = model[i].placement;  // which blocks of 8-bit moments depend on
    targets[i].matrices = model[i].matrices;
  }
  Optimizer optimizer(setting.config, targets);
  for (int64_t step = 1; step <= kSteps; ++step) {
    for (const Parameter& p : parameters) DrawGradient(p, step);
    optimizer.Step({kLr});
  }
  std::vector<Tensor> values;
  for (const Parameter& p : parameters) values.push_back(p.value);
  return values;
}

// One rank's shard of a parameter.
struct Held {
  Parameter parameter;
  Slice slice;
  AxisSet shard_axes;
  int64_t begin = 0, count = 0;
};

Held MakeHeld(const Case& c, const ShardCut& cut, const Place& place, DType storage) {
  Held held;
  held.slice = LocalSlice(c.placement.shape, c.placement.layout, place.mesh(), place.rank());
  const Shape& local = held.slice.count;
  held.count = local.NumElements();
  if (const AxisSet axes = c.placement.ZeroAxes(); place.Size(axes) > 1) {
    held.shard_axes = axes;
    held.begin = ShardBegin(local, cut, place.Size(axes), place.Coord(axes));
    held.count = ShardBegin(local, cut, place.Size(axes), place.Coord(axes) + 1) - held.begin;
  }
  const Parameter whole = DrawParameter(c.name, c.placement.shape, storage);
  held.parameter.name = c.name;
  held.parameter.value = Tensor::Empty({held.count}, {storage});
  held.parameter.grad = Tensor::Empty({held.count}, {});
  TakePart(whole.value, held.slice, {held.begin, held.begin + held.count}, held.parameter.value);
  return held;
}

void CompareRank(const Setting& setting, const std::vector<Case>& model,
                 const std::vector<Tensor>& want, const Place& place) {
  std::vector<PlannedParameter> planned;
  for (const Case& c : model) {
    planned.push_back({c.name, c.placement, &c.matrices, 0});
    // As blocks of 8-bit moments need it where the rule is element-wise.
    planned.back().placement.cut = ShardCut::Rows(c.placement.shape.rank() - 1);
  }
  const MatrixPlan plan = PlanMatrices(setting.config, planned, place.mesh());
  std::deque<Held> all;
  std::vector<OptimTarget> targets;
  for (size_t i = 0; i < model.size(); ++i) {
    const Held& h = all.emplace_back(MakeHeld(model[i], plan.cuts[i], place, setting.storage));
    Placement placement = model[i].placement;
    placement.cut = plan.cuts[i];
    targets.push_back({&h.parameter, placement, h.slice, h.begin, h.parameter.value,
                       h.parameter.grad, setting.precision, model[i].matrices, h.shard_axes});
  }
  Optimizer optimizer(setting.config, targets, {.place = &place});
  for (int64_t step = 1; step <= kSteps; ++step) {
    for (size_t i = 0; i < model.size(); ++i) {
      const Tensor part = GradientPart(model[i], all[i].slice, step);
      all[i].parameter.grad.CopyFrom(part.Rows(all[i].begin, all[i].count));
    }
    optimizer.Step({kLr});
  }
  for (size_t i = 0; i < model.size(); ++i) {
    const Tensor& got = all[i].parameter.value;
    const Tensor part = Tensor::Empty(got.shape(), {setting.storage});
    TakePart(want[i], all[i].slice, {all[i].begin, all[i].begin + all[i].count}, part);
    if (got.bytes() == 0) continue;
    EXPECT_EQ(std::memcmp(got.raw(), part.raw(), static_cast<size_t>(got.bytes())), 0)
        << model[i].name << " on rank " << place.rank();
  }
}

void ExpectSameBits(const Setting& setting) {
  const std::vector<Case> model = Model();
  const std::vector<Tensor> want = OneRank(setting, model);
  for (const Degrees& degrees :
       {Degrees{.shard = 2}, Degrees{.tensor = 2}, Degrees{.tensor = 4},
        Degrees{.shard = 3, .tensor = 2, .expert = 2},
        Degrees{.replica = 2, .shard = 2, .expert_tensor = 2},
        Degrees{.shard = 2, .tensor = 2, .expert = 2, .expert_tensor = 2}, Degrees{.shard = 8}}) {
    const Mesh mesh(degrees);
    const absl::Status status = RunLocal(mesh.size(), {}, [&](World& world) {
      CompareRank(setting, model, want, Place(mesh, &world, Numerics::kFast));
    });
    EXPECT_TRUE(status.ok()) << status;
  }
}

TEST(MatrixLayoutThreadTest, MuonHasTheBitsOfOneRank) {
  ExpectSameBits(SettingOf(OptimKind::kMuon));
}

TEST(MatrixLayoutThreadTest, MuonInLowPrecisionToo) {
  const TargetPrecision lean{.master = false, .m = MomentFormat::kBF16};
  ExpectSameBits(SettingOf(OptimKind::kMuon, lean, DType::kBF16));
  const TargetPrecision blocks{.master = true, .m = MomentFormat::kInt8};
  ExpectSameBits(SettingOf(OptimKind::kMuon, blocks, DType::kBF16));
}

TEST(MatrixLayoutThreadTest, FactoredHasTheBitsOfOneRank) {
  ExpectSameBits(SettingOf(OptimKind::kFactored));
  ExpectSameBits(SettingOf(OptimKind::kFactored, {}, DType::kBF16));
}

}  // namespace
}  // namespace choir
