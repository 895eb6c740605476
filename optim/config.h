// Settings of the optimizer and of the learning-rate schedule.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/config.h"

namespace choir {

enum class ScheduleKind { kConstant, kCosine, kLinear, kWsd, kStep };
template <>
struct EnumNames<ScheduleKind> {
  static constexpr EnumName<ScheduleKind> kAll[] = {{ScheduleKind::kConstant, "constant"},
                                                    {ScheduleKind::kCosine, "cosine"},
                                                    {ScheduleKind::kLinear, "linear"},
                                                    {ScheduleKind::kWsd, "wsd"},
                                                    {ScheduleKind::kStep, "step"}};
};

// The factor on the learning rate over a run of `train.steps` steps.
struct ScheduleConfig {
  ScheduleKind kind = ScheduleKind::kCosine;
  int64_t warmup_steps = 0;
  double final_ratio = 0.1;
  double decay_fraction = 0.2;
  std::vector<double> milestones;
  std::vector<double> factors;

  void Visit(auto&& v) {
    v("kind", kind, "shape of the decay after warm-up");
    v("warmup_steps", warmup_steps, "steps of linear rise from zero", AtLeast(0));
    v("final_ratio", final_ratio, "factor at the last step (cosine, linear, wsd)", InRange(0, 1));
    v("decay_fraction", decay_fraction, "wsd: share of the run at its end that decays linearly",
      InRange(0, 1));
    v("milestones", milestones, "step: shares of the run at which the factor changes",
      InRange(0, 1));
    v("factors", factors, "step: the factor from each milestone on", AtLeast(0));
  }
  void Check(ConfigErrors& errors) const;
};

// Settings of the parameters whose name matches a pattern ('*' stands for any text).
struct ParameterGroupConfig {
  std::string pattern;
  double lr_scale = 1;
  std::optional<double> weight_decay;

  void Visit(auto&& v) {
    v("pattern", pattern, "parameter names; '*' stands for any text", Required(), NonEmpty());
    v("lr_scale", lr_scale, "factor on the learning rate", AtLeast(0));
    v("weight_decay", weight_decay, "auto: as without this group", AtLeast(0));
  }
};

// AdamW (Loshchilov and Hutter 2019): decoupled decay, bias-corrected moments.
struct OptimConfig {
  double lr = 3e-4;
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  double weight_decay = 0.1;
  std::optional<double> clip_norm = 1.0;
  std::vector<ParameterGroupConfig> groups;
  ScheduleConfig schedule;

  void Visit(auto&& v) {
    v("lr", lr, "peak learning rate", Above(0));
    v("beta1", beta1, "decay of the first moment", AtLeast(0), Below(1));
    v("beta2", beta2, "decay of the second moment", AtLeast(0), Below(1));
    v("eps", eps, "added to the root of the second moment", AtLeast(0));
    v("weight_decay", weight_decay, "decay of matrices; norms have none unless a group says so",
      AtLeast(0));
    v("clip_norm", clip_norm, "limit on the global gradient norm; auto: none", Above(0));
    v("groups", groups, "settings by parameter name; the first match counts");
    v("schedule", schedule, "learning rate over the run");
  }
};

}  // namespace choir
