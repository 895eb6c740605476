#include "optim/optimizer.h"

#include <algorithm>
#include <utility>

#include "base/strings.h"
#include "ops/parallel_for.h"
#include "ops/work.h"
#include "optim/factored.h"
#include "optim/muon.h"
#include "optim/step_work.h"

namespace choir {
namespace {

constexpr char kFactors[] = "factors";

// Elements of one task: enough to make its start cost nothing, few enough to share out.
constexpr int64_t kTaskGrain = 4 * kElementGrain;

bool HasSecondMoment(OptimKind kind) { return kind == OptimKind::kAdamW; }

const Place& PlaceOf(const OptimizerOptions& options) {
  static const Place& alone = *new Place();
  return options.place != nullptr ? *options.place : alone;
}

// Vectors are few, and what they do to a whole activation is not worth a byte saved.
TargetPrecision PrecisionOf(const OptimTarget& target) {
  TargetPrecision precision = target.precision;
  if (!target.matrix()) precision.m = precision.v = MomentFormat::kF32;
  return precision;
}

RunGrid GridOf(const OptimTarget& target, bool second) {
  const TargetPrecision& p = target.precision;
  const bool blocks = p.m == MomentFormat::kInt8 || (second && p.v == MomentFormat::kInt8);
  return RunGrid(target.placement, target.slice, target.begin, target.value.NumElements(), blocks);
}

}  // namespace

Optimizer::Optimizer(const OptimConfig& config, std::vector<OptimTarget> targets,
                     const OptimizerOptions& options)
    : config_(config), options_(options) {
  for (OptimTarget& target : targets) states_.push_back(MakeState(std::move(target)));
  MakeTasks();
}

Optimizer::State Optimizer::MakeState(OptimTarget target) const {
  const std::string& name = target.parameter->name;
  CHECK(target.value.NumElements() == target.grad.NumElements()) << name;
  CHECK(target.grad.dtype() == target.computing()) << name;
  target.precision = PrecisionOf(target);
  const ParameterForm form = FormOf(target.placement.shape, target.matrices);
  const ParameterSettings settings = SettingsOf(config_, name, form);
  const bool second = HasSecondMoment(settings.kind);
  const TensorOptions like{target.computing(), target.value.device()};
  const RunGrid grid = GridOf(target, second);
  State state{target, settings, grid, StoredValue(target), {}, {}, {}, {}};
  if (NeedsWholeMatrices(settings.kind)) state.unit.emplace(target, PlaceOf(options_));
  if (settings.kind == OptimKind::kFactored) {
    const Shape& unit = state.unit->shape();
    TensorOptions of_factors = like;
    of_factors.category = MemoryCategory::kOptimizer;
    const bool mine = state.unit->mine();
    const int64_t n = mine ? FactoredShape(unit, target.matrices).NumElements() : 0;
    state.factors = Tensor::Zeros({n}, of_factors);
    return state;
  }
  CHECK(settings.kind != OptimKind::kMuon || !target.matrices.families.empty()) << name;
  state.m = Moment(target.precision.m, MomentKind::kSigned, grid, like);
  if (second) state.v = Moment(target.precision.v, MomentKind::kSquare, grid, like);
  return state;
}

void Optimizer::MakeTasks() {
  for (size_t i = 0; i < states_.size(); ++i) {
    const State& s = states_[i];
    const Device device = s.target.value.device();
    if (s.unit || device == Device::kMeta) continue;
    CHECK(device == Device::kCpu) << "the optimizer's step has no CUDA kernel";
    const int64_t n = s.grid.size(), grain = s.grid.Grain(kTaskGrain);
    for (int64_t at = 0; at < n; at += grain) tasks_.push_back({i, at, std::min(n, at + grain)});
  }
}

Optimizer::TargetStep Optimizer::StepOf(const State& s, const StepInput& input) const {
  RuleStep rule{s.settings, input.lr * s.settings.lr_scale, input.grad_scale};
  if (s.settings.clip_group) {
    CHECK(*s.settings.clip_group < input.group_scales.size());
    rule.grad_scale = input.group_scales[*s.settings.clip_group];
  }
  if (config_.clip_value) rule.clip_value = *config_.clip_value;
  rule.nesterov = config_.nesterov;
  rule.step = step_;
  const auto random = [&](const char* of) {
    return CounterRandom(options_.seed, StrCat(s.target.parameter->name, "/", of),
                         static_cast<uint64_t>(step_));
  };
  return {rule, random("value"), random("m"), random("v")};
}

void Optimizer::Step(const StepInput& input) {
  ++step_;
  std::vector<TargetStep> steps;
  for (const State& s : states_) steps.push_back(StepOf(s, input));
  ParallelFor(static_cast<int64_t>(tasks_.size()), [&](int64_t i) {
    const Task& task = tasks_[static_cast<size_t>(i)];
    Update(task, steps[task.target]);
  });
  RecordUpdates();
  // What its kernels would say has been said, as meta says it.
  static const WorkListener& silent = *new WorkListener([](const Work&) {});
  const ScopedWorkListener said(silent);
  StepMatrices(OptimKind::kMuon, steps);
  StepMatrices(OptimKind::kFactored, steps);
}

void Optimizer::RecordUpdates() const {
  for (size_t i = 0; i < states_.size(); ++i) {
    const State& s = states_[i];
    const UpdateWork update{&s.target, static_cast<double>(StateBytes(i)),
                            s.unit ? &*s.unit : nullptr};
    switch (s.settings.kind) {
      case OptimKind::kMuon:
        RecordMuon(update, config_.muon);
        break;
      case OptimKind::kFactored:
        RecordFactored(update);
        break;
      default:
        RecordElementwise(update);
    }
  }
}

void Optimizer::StepMatrices(OptimKind kind, const std::vector<TargetStep>& steps) const {
  std::vector<MatrixTarget> singles, doubles;
  for (size_t i = 0; i < states_.size(); ++i) {
    const State& s = states_[i];
    if (s.settings.kind != kind) continue;
    auto& list = s.target.computing() == DType::kF64 ? doubles : singles;
    list.push_back({&s.target, &*s.unit, &s.grid, &s.value, &s.m, s.factors, steps[i].rule,
                    steps[i].m, steps[i].value, options_.stochastic_values});
  }
  if (kind == OptimKind::kMuon) {
    MuonStep<float>(singles, config_.muon);
    MuonStep<double>(doubles, config_.muon);
  } else {
    FactoredStep<float>(singles, config_.factored);
    FactoredStep<double>(doubles, config_.factored);
  }
}

void Optimizer::Update(const Task& task, const TargetStep& step) const {
  const bool is_double = states_[task.target].target.computing() == DType::kF64;
  switch (states_[task.target].settings.kind) {
    case OptimKind::kAdamW:
      if (is_double) return UpdateDouble<AdamWRule<double>>(task, step);
      return UpdateFloat<AdamWRule<float>>(task, step);
    case OptimKind::kLion:
      if (is_double) return UpdateDouble<LionRule<double>>(task, step);
      return UpdateFloat<LionRule<float>>(task, step);
    case OptimKind::kSgd:
      if (is_double) return UpdateDouble<SgdRule<double>>(task, step);
      return UpdateFloat<SgdRule<float>>(task, step);
    case OptimKind::kMuon:
    case OptimKind::kFactored:
      break;
  }
  CHECK(false) << "no element-wise rule: " << EnumToString(states_[task.target].settings.kind);
}

template <class Rule>
void Optimizer::UpdateDouble(const Task& task, const TargetStep& step) const {
  const State& s = states_[task.target];
  const int64_t begin = task.begin;
  double* v = s.v.defined() ? s.v.Direct<double>() + begin : nullptr;
  UpdateElements<double>(Rule(step.rule), task.end - begin, s.value.Direct<double>() + begin,
                         s.target.grad.data<double>() + begin, s.m.Direct<double>() + begin, v);
}

// What is stored as it is computed with is updated where it is; the rest goes through buffers that
// stay in the L1 cache.
template <class Rule>
void Optimizer::UpdateFloat(const Task& task, const TargetStep& step) const {
  const State& s = states_[task.target];
  const Rule rule(step.rule);
  alignas(64) float values[kRunLength], first[kRunLength], second[kRunLength];
  const float* grad = s.target.grad.data<float>();
  float *w_all = s.value.Direct<float>(), *m_all = s.m.Direct<float>();
  float* v_all = Rule::kHasSecond ? s.v.Direct<float>() : nullptr;
  for (int64_t i = task.begin; i < task.end;) {
    const ElementRun run = s.grid.At(i, task.end);
    float* w = w_all != nullptr ? w_all + i : values;
    float* m = m_all != nullptr ? m_all + i : first;
    float* v = v_all != nullptr ? v_all + i : second;
    if (w == values) s.value.Load(run, values);
    if (m == first) s.m.Load(run, first);
    if (Rule::kHasSecond && v == second) s.v.Load(run, second);
    UpdateElements<float>(rule, run.count, w, grad + i, m, v);
    if (m == first) s.m.Store(run, first, step.m);
    if (Rule::kHasSecond && v == second) s.v.Store(run, second, step.v);
    if (w == values) {
      s.value.Store(run, values, options_.stochastic_values ? &step.value : nullptr);
    } else {
      s.value.Follow(run);
    }
    i += run.count;
  }
}

std::vector<std::string> StateNamesOf(OptimKind kind) {
  if (HasSecondMoment(kind)) return {"m", "v"};
  return {kind == OptimKind::kFactored ? kFactors : "m"};
}

Placement StatePlacement(std::string_view name, const Placement& of, const Matrices& matrices) {
  return name == kFactors ? FactoredPlacement(of, matrices) : of;
}

const Moment& Optimizer::MomentOf(size_t i, std::string_view name) const {
  const State& s = states_[i];
  if (name == "m") return s.m;
  CHECK(name == "v" && s.v.defined()) << s.target.parameter->name << " has no state " << name;
  return s.v;
}

Tensor Optimizer::ReadState(size_t i, std::string_view name) const {
  if (name == kFactors) return states_[i].factors;
  return MomentOf(i, name).Read(states_[i].grid);
}

void Optimizer::WriteState(size_t i, std::string_view name, const Tensor& values) {
  if (name == kFactors) {
    const Tensor& factors = states_[i].factors;
    if (!values.SharesStorageWith(factors)) factors.CopyFrom(values);
    return;
  }
  MomentOf(i, name).Write(states_[i].grid, values);
}

int64_t Optimizer::StateBytes(size_t i) const {
  const State& s = states_[i];
  const int64_t factors = s.factors.defined() ? s.factors.bytes() : 0;
  return s.m.bytes() + s.v.bytes() + factors + s.value.master_bytes();
}

double StateBytesPerParameter(const TargetPrecision& precision, OptimKind kind) {
  const auto moment = [](MomentFormat format) {
    switch (format) {
      case MomentFormat::kF32:
        return 4.0;
      case MomentFormat::kBF16:
        return 2.0;
      case MomentFormat::kInt8:
        break;
    }
    return 1 + 4.0 / kMomentBlock;
  };
  const double master = precision.master ? 4 : 0;
  return master + moment(precision.m) + (HasSecondMoment(kind) ? moment(precision.v) : 0);
}

}  // namespace choir
