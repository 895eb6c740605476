// Muon against torch.optim.Muon, as recorded by tests/reference/record_muon.py.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <deque>

#include "optim/optimizer.h"
#include "tests/model/reference_fixture.h"

namespace choir {
namespace {

// Relative to the largest value of a tensor.
constexpr double kClaim = 1e-6;

void Replay(const ReferenceFixture& fixture, const std::string& run) {
  const auto config = fixture.Section<OptimConfig>(run);
  std::deque<Parameter> parameters;
  std::vector<Parameter*> list;
  for (const std::string& name : fixture.List("parameters")) {
    Parameter& p = parameters.emplace_back();
    p.name = name;
    p.value = Tensor::From<double>(fixture.ShapeOf("value." + name),
                                   fixture.Values<double>("value." + name));
    p.grad = Tensor::Zeros(p.value.shape(), p.value.options());
    list.push_back(&p);
  }
  std::vector<OptimTarget> targets = WholeTargets(list);
  for (OptimTarget& target : targets) target.matrices = {{{"rc"}}};
  Optimizer optimizer(config, targets);
  const int64_t steps = fixture.Number("numbers", "steps"),
                kept = fixture.Number("numbers", "kept");
  for (int64_t step = 0; step < steps; ++step) {
    for (Parameter& p : parameters) {
      const auto gradients = fixture.Values<double>("gradient." + p.name);
      const int64_t n = p.grad.NumElements();
      std::copy_n(gradients.begin() + step * n, n, p.grad.data<double>());
    }
    optimizer.Step({config.lr});
    if ((step + 1) % kept != 0) continue;
    for (const Parameter& p : parameters) {
      const auto rows = fixture.Values<double>(run + "." + p.name);
      const int64_t n = p.value.NumElements(), at = step / kept * n;
      double largest = 0, off = 0;
      for (int64_t i = 0; i < n; ++i) {
        const double want = rows[static_cast<size_t>(at + i)];
        largest = std::max(largest, std::abs(want));
        off = std::max(off, std::abs(p.value.data<double>()[i] - want));
      }
      EXPECT_LE(off, kClaim * largest) << run << " " << p.name << " after step " << step + 1;
    }
  }
}

TEST(MuonReference, EqualsTorchOverFiftySteps) {
  const ReferenceFixture fixture("muon");
  for (const std::string& run : fixture.List("runs")) Replay(fixture, run);
}

}  // namespace
}  // namespace choir
