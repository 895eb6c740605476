#include "optim/config.h"

namespace choir {
namespace {

bool IsBuiltIn(OptimKind kind) { return kind != OptimKind::kMuon && kind != OptimKind::kFactored; }

}  // namespace

void ParameterGroupConfig::Check(ConfigErrors& errors) const {
  if (kind && !IsBuiltIn(*kind)) {
    errors.Add("kind", "is not available yet; take adamw, lion or sgd");
  }
}

void OptimConfig::Check(ConfigErrors& errors) const {
  if (!IsBuiltIn(kind)) errors.Add("kind", "is not available yet; take adamw, lion or sgd");
  bool has_sgd = kind == OptimKind::kSgd;
  for (const ParameterGroupConfig& group : groups) has_sgd |= group.kind == OptimKind::kSgd;
  if (nesterov && !has_sgd) errors.Conflict({"nesterov", "kind"}, "is only for sgd");
}

}  // namespace choir
