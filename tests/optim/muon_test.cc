#include "optim/muon.h"

#include <gtest/gtest.h>

#include <cmath>
#include <deque>

#include "base/strings.h"
#include "parallel/comm/local_world.h"
#include "tensor/tolerance.h"
#include "tests/optim/optimizer_testing.h"

namespace choir {
namespace {

OptimConfig MuonOnly() {
  OptimConfig config;
  config.kind = OptimKind::kMuon;
  config.lr = 0.02;
  config.weight_decay = 0.1;
  return config;
}

struct Case {
  const char* name;
  Shape shape;
  Matrices matrices;
};

// As the model has them: square, wide, tall, one row, fused projections, experts.
const std::vector<Case>& Cases() {
  static const auto& cases = *new std::vector<Case>{
      {"square", {24, 24}, {{{"rc"}}}},
      {"wide", {12, 40}, {{{"rc"}}}},
      {"tall", {50, 8}, {{{"rc"}}}},
      {"row", {1, 33}, {{{"rc"}}}},
      {"gate_up", {10, 2, 16}, {{{"rbc"}}}},
      {"qkv", {3, 4, 6, 20}, {{{"hhrc", 1, 0, 2}, {"hrrc", 1, 2, 1}, {"rrrc", 1, 3, 1}}}},
      {"output", {20, 3, 12}, {{{"rcc"}}}},
      {"experts.gate_up", {4, 6, 2, 16}, {{{"brbc"}}}},
      {"experts.down", {4, 16, 6}, {{{"brc"}}}},
  };
  return cases;
}

std::vector<OptimTarget> TargetsOf(std::deque<Parameter>& parameters, DType dtype) {
  std::vector<Parameter*> list;
  for (const Case& c : Cases()) {
    parameters.push_back(DrawParameter(c.name, c.shape, dtype));
    list.push_back(&parameters.back());
  }
  std::vector<OptimTarget> targets = WholeTargets(list);
  for (size_t i = 0; i < targets.size(); ++i) targets[i].matrices = Cases()[i].matrices;
  return targets;
}

// The twin: elements found one by one from the roles, products by loops, in double.
class Twin {
 public:
  Twin(const Case& c, const std::vector<double>& w) : case_(c), w_(w), m_(w.size()) {}

  void Step(const std::vector<double>& g, const OptimConfig& config) {
    const MuonConfig& muon = config.muon;
    std::vector<double> direction(w_.size());
    for (size_t i = 0; i < w_.size(); ++i) {
      m_[i] = muon.momentum * m_[i] + g[i];
      direction[i] = muon.nesterov ? muon.momentum * m_[i] + g[i] : m_[i];
    }
    for (const MatrixFamily& family : case_.matrices.families) {
      const MatrixShape shape = ShapeOf(family, case_.shape, muon.per_head);
      for (int64_t b = 0; b < shape.batch; ++b) {
        const std::vector<size_t> at = ElementsOf(family, b, muon.per_head);
        std::vector<double> x;
        for (size_t i : at) x.push_back(direction[i]);
        Orthogonalized(x, static_cast<size_t>(shape.rows), muon);
        const double scale =
            muon.scale * std::sqrt(static_cast<double>(std::max(shape.rows, shape.columns)));
        for (size_t k = 0; k < at.size(); ++k) {
          w_[at[k]] = w_[at[k]] * (1 - config.lr * config.weight_decay) - config.lr * scale * x[k];
        }
      }
    }
  }
  const std::vector<double>& w() const { return w_; }

 private:
  // The elements of matrix `b`, in row-major order: those whose batch indices spell b, sorted by
  // their row indices, then their column indices.
  std::vector<size_t> ElementsOf(const MatrixFamily& family, int64_t b, bool per_head) const {
    std::vector<std::pair<std::pair<int64_t, int64_t>, size_t>> found;
    for (int64_t i = 0; i < case_.shape.NumElements(); ++i) {
      int64_t left = i, side[3] = {0, 0, 0}, size[3] = {1, 1, 1};
      bool inside = true;
      for (int d = case_.shape.rank() - 1; d >= 0; --d) {
        int64_t index = left % case_.shape.dim(d), count = case_.shape.dim(d);
        left /= case_.shape.dim(d);
        if (d == family.dim) {
          index -= family.begin;
          count = family.count;
          inside &= index >= 0 && index < count;
        }
        const char role = family.roles[static_cast<size_t>(d)];
        const bool batch = role == 'b' || (role == 'h' && per_head);
        const int s = batch ? 0 : role == 'c' ? 2 : 1;
        side[s] += index * size[s];
        size[s] *= count;
      }
      if (inside && side[0] == b) found.push_back({{side[1], side[2]}, static_cast<size_t>(i)});
    }
    std::sort(found.begin(), found.end());
    std::vector<size_t> at;
    for (const auto& [place, i] : found) at.push_back(i);
    return at;
  }

  static void Orthogonalized(std::vector<double>& x, size_t rows, const MuonConfig& muon) {
    const size_t columns = x.size() / rows;
    double squares = 0;
    for (double v : x) squares += v * v;
    for (double& v : x) v /= std::sqrt(squares);
    for (int step = 0; step < muon.steps + muon.final_steps; ++step) {
      const auto& c = step < muon.steps ? muon.coefficients : muon.final_coefficients;
      std::vector<double> gram(rows * rows), first(x.size()), second(x.size());
      for (size_t i = 0; i < rows; ++i) {
        for (size_t j = 0; j < rows; ++j) {
          for (size_t k = 0; k < columns; ++k) {
            gram[i * rows + j] += x[i * columns + k] * x[j * columns + k];
          }
        }
      }
      const auto times = [&](const std::vector<double>& from, std::vector<double>& to) {
        for (size_t i = 0; i < rows; ++i) {
          for (size_t k = 0; k < rows; ++k) {
            for (size_t j = 0; j < columns; ++j) {
              to[i * columns + j] += gram[i * rows + k] * from[k * columns + j];
            }
          }
        }
      };
      times(x, first);
      times(first, second);
      for (size_t i = 0; i < x.size(); ++i) x[i] = c[0] * x[i] + c[1] * first[i] + c[2] * second[i];
    }
  }

  const Case& case_;
  std::vector<double> w_, m_;
};

// In double the iteration forgets its roundings: its map is flat at one.
TEST(MuonTest, EqualsTheTwin) {
  for (bool per_head : {false, true}) {
    OptimConfig config = MuonOnly();
    config.muon.per_head = per_head;
    std::deque<Parameter> parameters;
    Optimizer optimizer(config, TargetsOf(parameters, DType::kF64));
    std::vector<Twin> twins;
    for (size_t i = 0; i < Cases().size(); ++i) {
      twins.emplace_back(Cases()[i], AsDoubles(parameters[i].value));
    }
    for (int64_t t = 1; t <= 5; ++t) {
      for (size_t i = 0; i < twins.size(); ++i) {
        DrawGradient(parameters[i], t);
        twins[i].Step(AsDoubles(parameters[i].grad), config);
      }
      optimizer.Step({config.lr});
    }
    for (size_t i = 0; i < twins.size(); ++i) {
      const std::vector<double> got = AsDoubles(parameters[i].value);
      for (size_t k = 0; k < got.size(); ++k) {
        ASSERT_NEAR(got[k], twins[i].w()[k], 5 * 9 * ErrorBound(DType::kF64, 120))
            << Cases()[i].name << " " << k << (per_head ? " per head" : "");
      }
    }
  }
}

// Singular values in [1, 1.00202] (newton_schulz_test.cc) make the root mean square of a matrix
// 0.18 to within as much, in float too.
TEST(MuonTest, TheUpdateHasItsRootMeanSquareWhateverTheShape) {
  OptimConfig config = MuonOnly();
  config.weight_decay = 0;
  std::deque<Parameter> parameters;
  Optimizer optimizer(config, TargetsOf(parameters, DType::kF32));
  std::vector<std::vector<double>> before;
  for (const Parameter& p : parameters) {
    before.push_back(AsDoubles(p.value));
    DrawGradient(p, 1);
    p.value.Zero();
  }
  optimizer.Step({1.0});
  for (const Parameter& p : parameters) {
    double squares = 0;
    for (double x : AsDoubles(p.value)) squares += x * x;
    const double rms = std::sqrt(squares / static_cast<double>(p.value.NumElements()));
    EXPECT_GE(rms, 0.18 * (1 - 1e-3)) << p.name;
    EXPECT_LE(rms, 0.18 * (1.00201734 + 1e-3)) << p.name;
  }
}

TEST(MuonTest, LeavesVectorsAndTablesToAdamW) {
  const OptimConfig config = MuonOnly();
  EXPECT_EQ(SettingsOf(config, "norm", ParameterForm::kVector).kind, OptimKind::kAdamW);
  EXPECT_EQ(SettingsOf(config, "embedding", ParameterForm::kTable).kind, OptimKind::kAdamW);
  EXPECT_EQ(SettingsOf(config, "ffn.down", ParameterForm::kMatrix).kind, OptimKind::kMuon);
  OptimConfig all = config;
  all.kind = OptimKind::kAdamW;
  ParameterGroupConfig group;
  group.pattern = "*";
  group.kind = OptimKind::kMuon;
  all.groups = {group};
  EXPECT_EQ(SettingsOf(all, "norm", ParameterForm::kVector).kind, OptimKind::kAdamW);
  EXPECT_EQ(SettingsOf(all, "embedding", ParameterForm::kTable).kind, OptimKind::kMuon);
}

// Values in BF16 with a master, moments in BF16: the first update is that of F32 but for roundings
// of the momentum, which the products see before it is stored.
TEST(MuonTest, FormatsOfValueAndMomentum) {
  const OptimConfig config = MuonOnly();
  Parameter exact = DrawParameter("w", {16, 24});
  Parameter rounded = DrawParameter("w", {16, 24}, DType::kBF16);
  const std::vector<double> start = AsDoubles(rounded.value);
  for (int64_t i = 0; i < exact.value.NumElements(); ++i) {
    exact.value.data<float>()[i] = static_cast<float>(start[static_cast<size_t>(i)]);
  }
  TargetPrecision precision{.master = true, .m = MomentFormat::kBF16};
  auto of_exact = WholeTargets({&exact}), of_rounded = WholeTargets({&rounded}, precision);
  of_exact[0].matrices = of_rounded[0].matrices = {{{"rc"}}};
  Optimizer one(config, of_exact), other(config, of_rounded);
  DrawGradient(exact, 1);
  DrawGradient(rounded, 1);
  one.Step({config.lr});
  other.Step({config.lr});
  EXPECT_EQ(AsDoubles(other.ReadValue(0)), AsDoubles(exact.value));
  EXPECT_EQ(other.StateBytes(0), 16 * 24 * (4 + 2));
  EXPECT_EQ(one.StateBytes(0), 16 * 24 * 4);
}

}  // namespace
}  // namespace choir
