#include "optim/factored.h"

#include <gtest/gtest.h>

#include <cmath>
#include <deque>

#include "ops/parallel_for.h"
#include "tensor/tolerance.h"
#include "tests/optim/optimizer_testing.h"

namespace choir {
namespace {

OptimConfig Factored() {
  OptimConfig config;
  config.kind = OptimKind::kFactored;
  return config;
}

// The paper's algorithm 4 with its sums, element by element in double; a vector keeps all of V.
struct Twin {
  size_t rows, columns;  // columns 0: a vector
  std::vector<double> w, row_sums, column_sums, v;

  void Step(const std::vector<double>& g, int64_t t, const OptimConfig& config) {
    const FactoredConfig& f = config.factored;
    const double b = 1 - std::pow(static_cast<double>(t), -f.decay_exponent);
    std::vector<double> u(g.size());
    if (columns == 0) {
      v.resize(g.size());
      for (size_t i = 0; i < g.size(); ++i) {
        v[i] = b * v[i] + (1 - b) * (g[i] * g[i] + f.epsilon);
        u[i] = g[i] / std::sqrt(v[i]);
      }
    } else {
      row_sums.resize(rows);
      column_sums.resize(columns);
      for (double& x : row_sums) x *= b;
      for (double& x : column_sums) x *= b;
      for (size_t i = 0; i < g.size(); ++i) {
        const double square = (1 - b) * (g[i] * g[i] + f.epsilon);
        row_sums[i / columns] += square;
        column_sums[i % columns] += square;
      }
      double all = 0;
      for (double x : row_sums) all += x;
      for (size_t i = 0; i < g.size(); ++i) {
        u[i] = g[i] / std::sqrt(row_sums[i / columns] * column_sums[i % columns] / all);
      }
    }
    double squares = 0;
    for (double x : u) squares += x * x;
    const double rms = std::sqrt(squares / static_cast<double>(u.size()));
    const double decay = columns == 0 ? 0 : config.weight_decay;
    for (size_t i = 0; i < g.size(); ++i) {
      w[i] = w[i] * (1 - config.lr * decay) - config.lr * u[i] / std::max(1.0, rms / f.clip);
    }
  }
};

struct Sizes {
  int64_t rows, columns;
};

TEST(FactoredTest, EqualsThePaper) {
  const OptimConfig config = Factored();
  for (const Sizes& size :
       {Sizes{12, 40}, Sizes{70, 9}, Sizes{1, 8}, Sizes{65, 130}, Sizes{30, 0}}) {
    const bool vector = size.columns == 0;
    const Shape shape = vector ? Shape{size.rows} : Shape{size.rows, size.columns};
    Parameter p = DrawParameter("p", shape, DType::kF64);
    auto targets = WholeTargets({&p});
    if (!vector) targets[0].matrices = {{{"rc"}}};
    Optimizer optimizer(config, targets);
    EXPECT_EQ(optimizer.StateBytes(0), 8 * (vector ? size.rows : size.rows + size.columns));
    Twin twin{static_cast<size_t>(size.rows),
              static_cast<size_t>(size.columns),
              AsDoubles(p.value),
              {},
              {},
              {}};
    for (int64_t t = 1; t <= 20; ++t) {
      DrawGradient(p, t);
      twin.Step(AsDoubles(p.grad), t, config);
      optimizer.Step({config.lr});
    }
    const std::vector<double> got = AsDoubles(p.value);
    const double bound = 20 * ErrorBound(DType::kF64, p.value.NumElements());
    for (size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], twin.w[i], bound) << shape << i;
  }
}

// A fused parameter is updated as its matrices are by themselves; in float, whatever the threads.
TEST(FactoredThreadTest, EachMatrixByItself) {
  const OptimConfig config = Factored();
  constexpr int64_t kExperts = 3, kWidth = 40, kHidden = 50;
  for (int threads : {1, 3}) {
    SetNumThreads(threads);
    Parameter fused = DrawParameter("fused", {kExperts, kWidth, 2, kHidden});
    std::deque<Parameter> apart;
    std::vector<Parameter*> list;
    for (int64_t i = 0; i < kExperts * 2; ++i) {
      apart.push_back(DrawParameter("part", {kWidth, kHidden}));
      list.push_back(&apart.back());
    }
    auto of_fused = WholeTargets({&fused}), of_apart = WholeTargets(list);
    of_fused[0].matrices = {{{"brbc"}}};
    for (OptimTarget& t : of_apart) t.matrices = {{{"rc"}}};
    const auto copy = [&](bool grad) {
      for (int64_t i = 0; i < kExperts * 2; ++i) {
        const Parameter& part = apart[static_cast<size_t>(i)];
        GatherMatrices(
            (grad ? fused.grad : fused.value).Rows(i / 2, 1).Reshape({kWidth, 2, kHidden}),
            {"rrc", 1, i % 2, 1}, false, (grad ? part.grad : part.value).data<float>());
      }
    };
    copy(false);
    Optimizer one(config, of_fused), other(config, of_apart);
    for (int64_t t = 1; t <= 3; ++t) {
      DrawGradient(fused, t);
      copy(true);
      one.Step({config.lr});
      other.Step({config.lr});
    }
    std::vector<std::vector<double>> want;
    for (const Parameter& p : apart) want.push_back(AsDoubles(p.value));
    copy(false);
    for (size_t i = 0; i < want.size(); ++i) EXPECT_EQ(AsDoubles(apart[i].value), want[i]) << i;
    SetNumThreads(0);
  }
}

TEST(FactoredTest, SameBitsForLargeMatricesWhateverTheThreads) {
  std::vector<std::vector<double>> values;
  for (int threads : {1, 4}) {
    SetNumThreads(threads);
    Parameter p = DrawParameter("large", {1100, 1000});
    auto targets = WholeTargets({&p});
    targets[0].matrices = {{{"rc"}}};
    Optimizer optimizer(Factored(), targets);
    DrawGradient(p, 1);
    optimizer.Step({1e-3});
    values.push_back(AsDoubles(p.value));
    SetNumThreads(0);
  }
  EXPECT_EQ(values[0], values[1]);
}

TEST(FactoredTest, NumbersLieByExpertOrOnOneShard) {
  Placement experts{{8, 32, 2, 60}, Layout::Split(0, Axis::kExpert)};
  experts.layout.split[1] = Axis::kExpertTensor;
  experts.cut = ShardCut::Rows(1);
  const Placement numbers = FactoredPlacement(experts, {{{"brbc"}}});
  EXPECT_EQ(numbers.shape, (Shape{8, 2 * (32 + 60)}));
  EXPECT_EQ(numbers.layout, Layout::Split(0, Axis::kExpert));
  EXPECT_EQ(numbers.cut, ShardCut::Rows(1));
  Placement dense{{60, 3, 40}, Layout::Split(1, Axis::kTensor)};
  dense.cut = ShardCut::Owner(1);
  const Placement of_dense = FactoredPlacement(dense, {{{"rcc"}}});
  EXPECT_EQ(of_dense.shape, (Shape{60 + 120}));
  EXPECT_EQ(of_dense.layout, Layout::Replicated());
  EXPECT_EQ(of_dense.cut, ShardCut::Owner(1));
}

}  // namespace
}  // namespace choir
