// The optimizer: updates this rank's shards of the parameters, each by the rule that the config
// names for it, in one pass over memory.
//
// The update of an element depends on its value, gradient, state and its place in the whole tensor,
// never on the layout: shards of any layout give the bits of the whole.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "optim/config.h"
#include "optim/matrix_unit.h"
#include "optim/settings.h"
#include "optim/target.h"
#include "optim/update_rule.h"

namespace choir {

struct StepInput {
  double lr = 0;          // of this step, before parameters' own factors
  double grad_scale = 1;  // on every gradient: loss scale and clipping by norm
  // By optim.groups: the same for parameters of a group with its own clip_norm. May be empty where
  // no group has one.
  std::vector<double> group_scales = {};
};

struct OptimizerOptions {
  uint64_t seed = 0;  // of stochastic rounding
  // False: values in BF16 without master are rounded to nearest, which loses small updates. For
  // tests that show it.
  bool stochastic_values = true;
  // Where the targets lie, for rules that need the whole of a matrix that ranks split. Outlives the
  // optimizer; null: this rank is alone.
  const Place* place = nullptr;
};

// The state that a rule keeps of each parameter, in this order.
std::vector<std::string> StateNamesOf(OptimKind kind);
// How a state lies of a parameter that lies as `of`: like the parameter, but for "factors".
Placement StatePlacement(std::string_view name, const Placement& of, const Matrices& matrices);

class Optimizer {
 public:
  // Allocates the state (zero) and masters. CHECKs that the config and the targets fit:
  // OptimConfig::Check refuses what a user could ask for. Moments of vectors are in F32 whatever
  // their target asks for.
  Optimizer(const OptimConfig& config, std::vector<OptimTarget> targets,
            const OptimizerOptions& options = {});

  // One update of all targets. Gradients are finite; they are not changed. Returns when done: with
  // muon or factored and matrices that ranks split, all of them call it, and it blocks. On meta
  // nothing is computed. Reports the work of each target (optim/step_work.h).
  void Step(const StepInput& input);

  size_t size() const { return states_.size(); }
  const OptimTarget& target(size_t i) const { return states_[i].target; }
  const ParameterSettings& settings(size_t i) const { return states_[i].settings; }

  // The state of a target by name ("m"; "v" of adamw; "factors"), flat, in F32 (F64 for a target in
  // F64) and exact whatever the format: writing what was read changes nothing. Read may give a
  // view.
  std::vector<std::string> StateNames(size_t i) const {
    return StateNamesOf(states_[i].settings.kind);
  }
  Tensor ReadState(size_t i, std::string_view name) const;
  void WriteState(size_t i, std::string_view name, const Tensor& values);
  // The master of a target, or, without one, its value, in the same way.
  Tensor ReadValue(size_t i) const { return states_[i].value.Read(); }
  void WriteValue(size_t i, const Tensor& values) { states_[i].value.Write(values); }
  // Storage allocated for a target: its state and master.
  int64_t StateBytes(size_t i) const;

  int64_t step() const { return step_; }
  void set_step(int64_t step) { step_ = step; }

 private:
  struct State {
    OptimTarget target;
    ParameterSettings settings;
    RunGrid grid;
    StoredValue value;
    Moment m, v;
    Tensor factors;                  // factored
    std::optional<MatrixUnit> unit;  // muon, factored
  };
  // A part of a target; all parts are updated at the same time.
  struct Task {
    size_t target;
    int64_t begin, end;
  };
  // What the tasks of one target share in a step.
  struct TargetStep {
    RuleStep rule;
    CounterRandom value, m, v;
  };

  State MakeState(OptimTarget target) const;
  void MakeTasks();
  const Moment& MomentOf(size_t i, std::string_view name) const;
  TargetStep StepOf(const State& state, const StepInput& input) const;
  void RecordUpdates() const;
  void StepMatrices(OptimKind kind, const std::vector<TargetStep>& steps) const;
  void Update(const Task& task, const TargetStep& step) const;
  template <class Rule>
  void UpdateFloat(const Task& task, const TargetStep& step) const;
  template <class Rule>
  void UpdateDouble(const Task& task, const TargetStep& step) const;

  OptimConfig config_;
  OptimizerOptions options_;
  std::vector<State> states_;
  std::vector<Task> tasks_;
  int64_t step_ = 0;
};

// Bytes of state and master for each parameter of a matrix whose last dim is a multiple of
// kMomentBlock; Optimizer::StateBytes has these.
//   master 4; F32 moment 4; bf16 2; 8-bit 1 + 4 / kMomentBlock. adamw has two moments, lion, sgd
//   and muon one (precision.m). Not of factored, which has 4 (1 / rows + 1 / columns).
double StateBytesPerParameter(const TargetPrecision& precision, OptimKind kind);

}  // namespace choir
