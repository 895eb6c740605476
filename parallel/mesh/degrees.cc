#include "parallel/mesh/degrees.h"

#include "base/check.h"
#include "base/strings.h"
#include "parallel/mesh/degree_rules.h"
#include "parallel/mesh/layout_search.h"

namespace choir {
namespace {

// The line behind the problems of degrees.
std::string Advice(const ParallelConfig& config, int world, const ModelLimits& limits) {
  const std::vector<Degrees> nearest = NearestLayouts(config, world, limits);
  if (nearest.empty())
    return StrCat("no layout of ", Ranks(world), " keeps all rules for this model");
  std::string text = "nearest: ";
  for (size_t i = 0; i < nearest.size(); ++i) {
    text += (i == 0 ? "" : "; ") + ToString(nearest[i]);
  }
  return text;
}

}  // namespace

void ParallelConfig::Check(ConfigErrors& errors) const {
  DegreeProblems problems = OptionProblems(*this);
  Append(problems, StageListProblems(*this));
  Append(problems, ShardProblems(*this));
  for (const DegreeProblem& problem : problems) errors.Conflict(problem.fields, problem.message);
}

absl::StatusOr<Degrees> ResolveDegrees(const ParallelConfig& config, int world,
                                       const ModelLimits& limits) {
  CHECK(world > 0);
  CHECK(!config.auto_layout);
  ParallelConfig full = config;
  const int64_t others = int64_t{config.pipeline} * config.context * config.tensor;
  if (!full.data && world % others == 0) full.data = static_cast<int>(world / others);

  DegreeProblems of_degrees = WorldProblems(config, world);
  Append(of_degrees, BlockProblems(full, limits));
  Append(of_degrees, StageListProblems(full));
  Append(of_degrees, ShardProblems(full));
  Append(of_degrees, ExpertProblems(full, limits));
  DegreeProblems problems = of_degrees;
  Append(problems, OptionProblems(full));
  Append(problems, LayerSumProblems(full, limits));
  Append(problems, NodeProblems(full, world));
  if (problems.empty()) return DegreesOf(full);

  std::string text = Sentences(problems);
  if (!of_degrees.empty()) text += "\n" + Advice(config, world, limits);
  return absl::InvalidArgumentError(text);
}

int ZeroStage(const ParallelConfig& config, const Degrees& degrees) {
  return config.zero.value_or(degrees.shard > 1 ? 1 : 0);
}

std::string ToString(const Degrees& degrees) {
  std::string text = StrCat("data=", degrees.replica * degrees.shard);
  const auto add = [&](const char* key, int degree) {
    if (degree > 1) text += StrCat(" ", key, "=", degree);
  };
  add("shard", degrees.shard);
  add("pipeline", degrees.pipe);
  add("context", degrees.context);
  add("tensor", degrees.tensor);
  add("expert", degrees.expert);
  add("expert_tensor", degrees.expert_tensor);
  return text;
}

}  // namespace choir
