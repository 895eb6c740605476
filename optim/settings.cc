#include "optim/settings.h"

#include <algorithm>

#include "base/pattern.h"

namespace choir {

ParameterForm FormOf(const Shape& shape, const Matrices& matrices) {
  if (shape.rank() < 2) return ParameterForm::kVector;
  return matrices.table || matrices.families.empty() ? ParameterForm::kTable
                                                     : ParameterForm::kMatrix;
}

ParameterSettings SettingsOf(const OptimConfig& config, std::string_view name, ParameterForm form) {
  const bool decays =
      form != ParameterForm::kVector &&
      std::none_of(config.no_decay.begin(), config.no_decay.end(),
                   [name](const std::string& pattern) { return MatchesPattern(name, pattern); });
  ParameterSettings s{config.kind, 1, decays ? config.weight_decay : 0, config.beta1, config.beta2,
                      config.eps,  {}};
  if (s.kind == OptimKind::kMuon && form != ParameterForm::kMatrix) s.kind = OptimKind::kAdamW;
  for (size_t i = 0; i < config.groups.size(); ++i) {
    const ParameterGroupConfig& group = config.groups[i];
    if (!MatchesPattern(name, group.pattern)) continue;
    s.kind = group.kind.value_or(s.kind);
    s.lr_scale = group.lr_scale;
    s.weight_decay = group.weight_decay.value_or(s.weight_decay);
    s.beta1 = group.beta1.value_or(s.beta1);
    s.beta2 = group.beta2.value_or(s.beta2);
    s.eps = group.eps.value_or(s.eps);
    if (group.clip_norm) s.clip_group = i;
    break;
  }
  if (s.kind == OptimKind::kMuon && form == ParameterForm::kVector) s.kind = OptimKind::kAdamW;
  return s;
}

}  // namespace choir
