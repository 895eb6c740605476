// What the config says about one parameter.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

#include "optim/config.h"

namespace choir {

struct ParameterSettings {
  OptimKind kind = OptimKind::kAdamW;
  double lr_scale = 1, weight_decay = 0;
  double beta1 = 0, beta2 = 0, eps = 0;
  // The group (index in optim.groups) whose norm limits the gradient; none: optim.clip_norm does.
  std::optional<size_t> clip_group;
};

// Of the parameter `name`. `matrix`: it has two dims or more, and decays unless told otherwise.
ParameterSettings SettingsOf(const OptimConfig& config, std::string_view name, bool matrix);

}  // namespace choir
