// The optimizer and the schedules against torch.optim, as recorded by
// tests/reference/record_optim.py.
#include <gtest/gtest.h>

#include <cmath>

#include "optim/clip.h"
#include "optim/optimizer.h"
#include "optim/schedule.h"
#include "tests/model/reference_fixture.h"
#include "tests/optim/optimizer_testing.h"

namespace choir {
namespace {

// Relative to the largest value of a tensor.
constexpr double kClaim = 1e-6;

class Replay {
 public:
  Replay(const ReferenceFixture& fixture, const std::string& run)
      : fixture_(fixture), run_(run), config_(fixture.Section<OptimConfig>(run)) {
    scale_ = fixture.Values<double>(run + ".gradient_scale")[0];
    for (const std::string& name : fixture.List("parameters")) {
      Parameter p;
      p.name = name;
      p.value = Tensor::From<double>(fixture.ShapeOf("value." + name),
                                     fixture.Values<double>("value." + name));
      p.grad = Tensor::Zeros(p.value.shape(), p.value.options());
      parameters_.push_back(p);
      gradients_.push_back(fixture.Values<double>("gradient." + name));
    }
  }

  void Check() {
    const int64_t steps = fixture_.Number("numbers", "steps"),
                  kept = fixture_.Number("numbers", "kept");
    std::vector<Parameter*> all;
    for (Parameter& p : parameters_) all.push_back(&p);
    Optimizer optimizer(config_, WholeTargets(all));
    for (int64_t step = 0; step < steps; ++step) {
      SetGradients(step);
      optimizer.Step(Clipped(optimizer));
      if ((step + 1) % kept == 0) Compare(step / kept);
    }
  }

 private:
  void SetGradients(int64_t step) {
    for (size_t i = 0; i < parameters_.size(); ++i) {
      const int64_t n = parameters_[i].grad.NumElements();
      for (int64_t e = 0; e < n; ++e) {
        parameters_[i].grad.data<double>()[e] = gradients_[i][size_t(step * n + e)] * scale_;
      }
    }
  }

  // As train/ does over ranks.
  StepInput Clipped(const Optimizer& optimizer) {
    std::vector<std::vector<Parameter*>> members(config_.groups.size() + 1);
    for (size_t i = 0; i < parameters_.size(); ++i) {
      const auto group = optimizer.settings(i).clip_group;
      members[group.value_or(config_.groups.size())].push_back(&parameters_[i]);
    }
    StepInput input{config_.lr, ClipScale(GlobalGradNorm(members.back()), config_.clip_norm)};
    for (size_t g = 0; g < config_.groups.size(); ++g) {
      input.group_scales.push_back(
          ClipScale(GlobalGradNorm(members[g]), config_.groups[g].clip_norm));
    }
    return input;
  }

  void Compare(int64_t row) {
    for (const Parameter& p : parameters_) {
      const std::vector<double> rows = fixture_.Values<double>(run_ + "." + p.name);
      double largest = 0;
      for (double x : rows) largest = std::max(largest, std::abs(x));
      const int64_t n = p.value.NumElements();
      for (int64_t e = 0; e < n; ++e) {
        EXPECT_NEAR(p.value.data<double>()[e], rows[size_t(row * n + e)], kClaim * largest)
            << run_ << " " << p.name << " row " << row << " element " << e;
      }
    }
  }

  const ReferenceFixture& fixture_;
  std::string run_;
  OptimConfig config_;
  double scale_;
  std::vector<Parameter> parameters_;
  std::vector<std::vector<double>> gradients_;
};

TEST(Reference, FiftyStepsGiveTheValuesOfTorch) {
  const ReferenceFixture fixture("optim");
  const std::vector<std::string> runs = fixture.List("runs");
  EXPECT_GE(runs.size(), 7u);
  for (const std::string& run : runs) Replay(fixture, run).Check();
}

TEST(Reference, SchedulesGiveTheFactorsOfTorch) {
  const ReferenceFixture fixture("optim");
  const int64_t steps = fixture.Number("numbers", "steps");
  const std::vector<std::string> schedules = fixture.List("schedules");
  EXPECT_GE(schedules.size(), 9u);
  for (const std::string& name : schedules) {
    const auto config = fixture.Section<ScheduleConfig>("schedule." + name);
    const std::vector<double> want = fixture.Values<double>("schedule." + name);
    for (int64_t step = 0; step < steps; ++step) {
      EXPECT_NEAR(ScheduleFactor(config, AtStep(step, steps)), want[size_t(step)], kClaim)
          << name << " step " << step;
    }
  }
}

}  // namespace
}  // namespace choir
