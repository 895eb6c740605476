// What the config says about one parameter.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

#include "ops/matrix_family.h"
#include "optim/config.h"

namespace choir {

struct ParameterSettings {
  OptimKind kind = OptimKind::kAdamW;
  double lr_scale = 1, weight_decay = 0;
  double beta1 = 0, beta2 = 0, eps = 0;
  // The group (index in optim.groups) whose norm limits the gradient; none: optim.clip_norm does.
  std::optional<size_t> clip_group;
};

// What a parameter is to the rules. Vectors do not decay unless told so. Tables (embedding, head)
// are matrices, but muon leaves them to adamw unless a group says muon; vectors it always leaves.
enum class ParameterForm { kVector, kTable, kMatrix };
ParameterForm FormOf(const Shape& shape, const Matrices& matrices);

// Of the parameter `name`.
ParameterSettings SettingsOf(const OptimConfig& config, std::string_view name, ParameterForm form);

// Whether a rule looks at whole matrices: then ZeRO must not cut them (optim/matrix_plan.h).
inline bool NeedsWholeMatrices(OptimKind kind) {
  return kind == OptimKind::kMuon || kind == OptimKind::kFactored;
}

}  // namespace choir
