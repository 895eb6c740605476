// Settings of the optimizer and of the learning-rate schedule.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/config.h"

namespace choir {

enum class ScheduleKind { kConstant, kCosine, kCosineRestarts, kLinear, kInverseSqrt, kWsd, kStep };
template <>
struct EnumNames<ScheduleKind> {
  static constexpr EnumName<ScheduleKind> kAll[] = {
      {ScheduleKind::kConstant, "constant"},
      {ScheduleKind::kCosine, "cosine"},
      {ScheduleKind::kCosineRestarts, "cosine_restarts"},
      {ScheduleKind::kLinear, "linear"},
      {ScheduleKind::kInverseSqrt, "inverse_sqrt"},
      {ScheduleKind::kWsd, "wsd"},
      {ScheduleKind::kStep, "step"}};
};

enum class ScheduleUnit { kSteps, kTokens };
template <>
struct EnumNames<ScheduleUnit> {
  static constexpr EnumName<ScheduleUnit> kAll[] = {{ScheduleUnit::kSteps, "steps"},
                                                    {ScheduleUnit::kTokens, "tokens"}};
};

// The rule that turns gradients into updates.
//   adamw  Loshchilov and Hutter 2019: decoupled decay, bias-corrected moments
//   lion   Chen et al. 2023: the sign of an interpolated momentum
//   sgd    with momentum (Polyak's or Nesterov's)
//   muon   Jordan et al. 2024: orthogonalised momentum, matrix by matrix (optim/muon.h); vectors,
//          embedding and head by adamw
//   factored  Shazeer and Stern 2018: a second moment by rows and columns (optim/factored.h)
enum class OptimKind { kAdamW, kLion, kSgd, kMuon, kFactored };
template <>
struct EnumNames<OptimKind> {
  static constexpr EnumName<OptimKind> kAll[] = {{OptimKind::kAdamW, "adamw"},
                                                 {OptimKind::kLion, "lion"},
                                                 {OptimKind::kSgd, "sgd"},
                                                 {OptimKind::kMuon, "muon"},
                                                 {OptimKind::kFactored, "factored"}};
};
// Below this the second moment in float32, which holds nothing smaller than 1.4e-45, is too coarse
// (optim/update_rule.h).
inline constexpr double kSmallestEps = 1e-20;

// The factor on the learning rate over a run of `train.steps` steps or of `total_tokens` tokens.
struct ScheduleConfig {
  ScheduleKind kind = ScheduleKind::kCosine;
  ScheduleUnit unit = ScheduleUnit::kSteps;
  int64_t warmup_steps = 0;
  int64_t warmup_tokens = 0;
  std::optional<int64_t> total_tokens;
  double final_ratio = 0.1;
  int64_t period = 0;
  int64_t period_factor = 1;
  double decay_fraction = 0.2;
  std::vector<double> milestones;
  std::vector<double> factors;

  int64_t warmup() const { return unit == ScheduleUnit::kSteps ? warmup_steps : warmup_tokens; }

  void Visit(auto&& v) {
    v("kind", kind, "shape of the decay after warm-up");
    v("unit", unit, "what the run is measured in; tokens: labels trained on");
    v("warmup_steps", warmup_steps, "unit steps: linear rise from zero", AtLeast(0));
    v("warmup_tokens", warmup_tokens, "unit tokens: linear rise from zero", AtLeast(0));
    v("total_tokens", total_tokens, "unit tokens: at which the decay ends", AtLeast(1));
    v("final_ratio", final_ratio,
      "factor at the last step, or at the end of each cycle (cosine, cosine_restarts, linear, wsd)",
      InRange(0, 1));
    v("period", period, "cosine_restarts: units of the first cycle", AtLeast(0));
    v("period_factor", period_factor, "cosine_restarts: a cycle over the one before it",
      InRange(1, 1000));
    v("decay_fraction", decay_fraction, "wsd: share of the run at its end that decays linearly",
      InRange(0, 1));
    v("milestones", milestones, "step: shares of the run at which the factor changes",
      InRange(0, 1));
    v("factors", factors, "step: the factor from each milestone on", AtLeast(0));
  }
  void Check(ConfigErrors& errors) const;

 private:
  void CheckUnit(ConfigErrors& errors) const;
};

enum class MuonMatmul { kF32, kBF16 };
template <>
struct EnumNames<MuonMatmul> {
  static constexpr EnumName<MuonMatmul> kAll[] = {{MuonMatmul::kF32, "fp32"},
                                                  {MuonMatmul::kBF16, "bf16"}};
};

// The defaults are DeepSeek-V4's (section 2.4).
struct MuonConfig {
  double momentum = 0.95;
  bool nesterov = true;
  double scale = 0.18;
  int steps = 8;
  std::vector<double> coefficients = {3.4445, -4.7750, 2.0315};
  int final_steps = 2;
  std::vector<double> final_coefficients = {2, -1.5, 0.5};
  bool per_head = false;
  MuonMatmul matmul = MuonMatmul::kF32;

  void Visit(auto&& v) {
    v("momentum", momentum, "decay of the momentum", AtLeast(0), Below(1));
    v("nesterov", nesterov, "look ahead by one step of the momentum");
    v("scale", scale, "root mean square of the update, before the learning rate", Above(0));
    v("steps", steps, "Newton-Schulz steps that bring singular values near one", AtLeast(0));
    v("coefficients", coefficients, "their a, b, c: s becomes a s + b s^3 + c s^5");
    v("final_steps", final_steps, "steps after them that settle singular values at one",
      AtLeast(0));
    v("final_coefficients", final_coefficients, "their a, b, c");
    v("per_head", per_head, "each head of queries and of keys is a matrix by itself");
    v("matmul", matmul, "fp32, or bf16: operands of Newton-Schulz products are rounded to it");
  }
  void Check(ConfigErrors& errors) const;
};

struct FactoredConfig {
  double decay_exponent = 0.8;
  double epsilon = 1e-30;
  double clip = 1;

  void Visit(auto&& v) {
    v("decay_exponent", decay_exponent, "the second moment decays by 1 - step^-decay_exponent",
      Above(0), AtMost(1));
    v("epsilon", epsilon, "added to squares of gradients", Above(0));
    v("clip", clip, "limit on the root mean square of a matrix's update", Above(0));
  }
};

// Settings of the parameters whose name matches a pattern ('*' stands for any text).
struct ParameterGroupConfig {
  std::string pattern;
  std::optional<OptimKind> kind;
  double lr_scale = 1;
  std::optional<double> weight_decay, beta1, beta2, eps, clip_norm;

  void Visit(auto&& v) {
    v("pattern", pattern, "parameter names; '*' stands for any text", Required(), NonEmpty());
    v("kind", kind,
      "rule of the update; auto: as without this group. muon also takes embedding and head, never "
      "vectors");
    v("lr_scale", lr_scale, "factor on the learning rate", AtLeast(0));
    v("weight_decay", weight_decay, "auto: as without this group", AtLeast(0));
    v("beta1", beta1, "auto: as without this group", AtLeast(0), Below(1));
    v("beta2", beta2, "auto: as without this group", AtLeast(0), Below(1));
    v("eps", eps, "auto: as without this group", AtLeast(kSmallestEps));
    v("clip_norm", clip_norm,
      "limit on the norm of this group's gradient, instead of optim.clip_norm; auto: none of its "
      "own",
      Above(0));
  }
};

// Decay is decoupled for every kind: w *= 1 - lr weight_decay.
struct OptimConfig {
  OptimKind kind = OptimKind::kAdamW;
  double lr = 3e-4;
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  bool nesterov = false;
  double weight_decay = 0.1;
  std::vector<std::string> no_decay;
  std::optional<double> clip_norm = 1.0;
  std::optional<double> clip_value;
  std::vector<ParameterGroupConfig> groups;
  MuonConfig muon;
  FactoredConfig factored;
  ScheduleConfig schedule;

  void Visit(auto&& v) {
    v("kind", kind, "rule of the update");
    v("lr", lr, "peak learning rate", Above(0));
    v("beta1", beta1,
      "adamw: decay of the first moment; lion: weight of the momentum in the update; sgd: the "
      "momentum",
      AtLeast(0), Below(1));
    v("beta2", beta2, "adamw: decay of the second moment; lion: decay of the momentum", AtLeast(0),
      Below(1));
    v("eps", eps, "added to the root of the second moment", AtLeast(kSmallestEps));
    v("nesterov", nesterov, "sgd: look ahead by one step of the momentum");
    v("weight_decay", weight_decay, "decay of matrices; norms have none unless a group says so",
      AtLeast(0));
    v("no_decay", no_decay, "names of matrices without decay; '*' stands for any text");
    v("clip_norm", clip_norm, "limit on the global gradient norm; auto: none", Above(0));
    v("clip_value", clip_value,
      "limit on the magnitude of each element of the gradient, after its norm was limited; auto: "
      "none",
      Above(0));
    v("groups", groups, "settings by parameter name; the first match counts");
    v("muon", muon, "settings of kind muon");
    v("factored", factored, "settings of kind factored");
    v("schedule", schedule, "learning rate over the run");
  }
  void Check(ConfigErrors& errors) const;
};

}  // namespace choir
