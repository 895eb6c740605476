#include "train/plan_advice.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "base/status.h"
#include "base/strings.h"
#include "parallel/mesh/layout_search.h"
#include "train/auto_layout.h"

namespace choir {
namespace {

struct Change {
  std::vector<std::string> overrides;
  std::function<void(RunConfig&)> apply;
};

double SecondsOf(const RunPlan& plan) { return plan.time ? plan.time->seconds : 0; }

Change Both(const Change& a, const Change& b) {
  Change both = a;
  both.overrides.insert(both.overrides.end(), b.overrides.begin(), b.overrides.end());
  both.apply = [a, b](RunConfig& config) {
    a.apply(config);
    b.apply(config);
  };
  return both;
}

Change Recompute(const char* name) {
  return {{StrCat("--train.recompute=[", name, "]")},
          [name](RunConfig& config) { config.train.recompute = {name}; }};
}

// A copy of the model over more ranks: those come from the data ranks.
Change MoreRanks(const char* key, int ParallelConfig::*degree, const RunPlan& plan) {
  const int more = 2 * (plan.config.parallel.*degree);
  return {{StrCat("--parallel.", key, "=", more)}, [degree, more](RunConfig& config) {
            config.parallel.*degree = more;
            config.parallel.data.reset();
          }};
}

void AddZero(const RunPlan& plan, std::vector<Change>& changes) {
  const int shards = plan.layout.DataRanks();
  for (int stage = std::max(1, plan.layout.zero); stage <= 3 && shards > 1; ++stage) {
    if (stage == plan.layout.zero && plan.layout.degrees.shard == shards) continue;
    changes.push_back({{StrCat("--parallel.shard=", shards), StrCat("--parallel.zero=", stage)},
                       [shards, stage](RunConfig& config) {
                         config.parallel.shard = shards;
                         config.parallel.zero = stage;
                       }});
  }
}

std::vector<Change> Changes(const RunPlan& plan) {
  std::vector<Change> changes = {Recompute("selective"), Recompute("full")};
  AddZero(plan, changes);
  if (const int64_t rows = plan.layout.microbatch_rows; rows > 1) {
    changes.push_back({{StrCat("--train.microbatch_sequences=", rows / 2)},
                       [rows](RunConfig& c) { c.train.microbatch_sequences = rows / 2; }});
  }
  changes.push_back(MoreRanks("tensor", &ParallelConfig::tensor, plan));
  changes.push_back(MoreRanks("pipeline", &ParallelConfig::pipeline, plan));
  if (plan.config.model.moe.experts > 0) {
    changes.push_back(MoreRanks("expert", &ParallelConfig::expert, plan));
  }
  changes.push_back({{"--precision.recipe=bf16-lean"}, [](RunConfig& config) {
                       config.precision = PrecisionConfig();
                       config.precision.recipe = PrecisionRecipe::kBf16Lean;
                     }});
  return changes;
}

void KeepFastest(std::vector<Advice>& found, size_t most) {
  std::stable_sort(found.begin(), found.end(), [](const Advice& a, const Advice& b) {
    return SecondsOf(a.plan) < SecondsOf(b.plan);
  });
  if (found.size() > most) found.resize(most);
}

// What a step needs at least, and waits for at its links, by simple formulas: to choose what is
// worth planning.
double RoughSeconds(const RunPlan& shape, const Hardware& hardware, const Degrees& d,
                    int64_t microbatches) {
  const ModelConfig& model = shape.config.model;
  const double ranks = shape.world;
  const double tokens =
      static_cast<double>(shape.config.data.batch_sequences * shape.config.data.sequence_length);
  const ProductRate& rate = RateOf(hardware, MatmulFormat::kBF16);
  const double flops = shape.flops.TrainingPerToken(shape.config.data.sequence_length) * tokens;
  double seconds = flops / ranks / (rate.flops * rate.efficiency);
  const double copies = d.replica * d.shard;
  const double m = std::max(1.0, static_cast<double>(microbatches) / copies);
  seconds *= 1 + (d.pipe - 1) / (m * shape.config.parallel.virtual_stages);
  const auto rate_of = [&](int members) {
    const LinkLevel& link = members <= hardware.links.ranks_per_node ? hardware.links.intra_node
                                                                     : hardware.links.inter_node;
    return link.bytes_per_second * link.efficiency;
  };
  // Of a token at a rank, in F32, there and back in forward and in backward.
  const double row = 4.0 * model.hidden * tokens / ranks * model.layers;
  if (d.tensor > 1) seconds += 8 * row * (d.tensor - 1) / rate_of(d.tensor);
  if (d.context > 1) seconds += 4 * row / rate_of(d.tensor * d.context);
  if (d.expert * d.expert_tensor > 1) {
    seconds += 4 * row * model.moe.top_k / rate_of(d.expert * d.expert_tensor);
  }
  return seconds;
}

bool Sensible(const Degrees& d, const RunConfig& config, const Hardware& hardware) {
  const ModelConfig& model = config.model;
  const bool even = model.heads % (d.tensor * d.context) == 0 &&
                    model.NumKvHeads() % std::min(model.NumKvHeads(), d.tensor) == 0;
  const bool shards = d.shard == 1 || d.replica == 1;
  return even && shards && d.expert_tensor == 1 && d.tensor <= hardware.links.ranks_per_node;
}

RunConfig WithLayout(const RunConfig& config, const Degrees& degrees) {
  RunConfig with = config;
  with.parallel = WithDegrees(config.parallel, degrees);
  with.parallel.auto_layout = false;
  with.parallel.layers_per_stage.clear();
  return with;
}

std::vector<std::string> OverridesOf(const Degrees& d) {
  std::vector<std::string> overrides;
  const auto add = [&](const char* key, int value) {
    overrides.push_back(StrCat("--parallel.", key, "=", value));
  };
  add("pipeline", d.pipe);
  add("tensor", d.tensor);
  add("context", d.context);
  add("expert", d.expert);
  add("expert_tensor", d.expert_tensor);
  add("data", d.replica * d.shard);
  add("shard", d.shard);
  return overrides;
}

struct Candidate {
  Degrees degrees;
  double seconds;
  bool fits;
};

}  // namespace

std::vector<Advice> WaysToFit(const RunConfig& config, const PlanRequest& given, size_t most) {
  PlanRequest request = given;
  request.sample = true;
  const auto as_is = PlanRun(config, request);
  if (!as_is.ok()) return {};
  std::vector<Change> changes = Changes(*as_is);
  const size_t singles = changes.size();
  for (size_t i = 2; i < singles; ++i) changes.push_back(Both(Recompute("full"), changes[i]));
  std::vector<Advice> found;
  for (size_t i = 0; i < changes.size(); ++i) {
    if (i == singles && found.size() >= most) break;
    RunConfig with = as_is->config;
    changes[i].apply(with);
    auto plan = PlanRun(with, request);  // a change that breaks a rule is none
    if (plan.ok() && Fits(*plan, *request.hardware)) {
      found.push_back({changes[i].overrides, *std::move(plan)});
    }
  }
  KeepFastest(found, most);
  return found;
}

absl::StatusOr<std::vector<Advice>> SearchLayouts(const RunConfig& config, const PlanRequest& given,
                                                  size_t planned, size_t most) {
  PlanRequest request = given;
  request.sample = true;
  RunPlan shape{.config = config};
  RETURN_IF_ERROR(ResolveFromData(shape));
  const RunConfig& resolved = shape.config;
  shape.world = request.world;
  shape.parameters = CountParameters(resolved.model, *resolved.model.vocab_size);
  shape.flops = CountFlops(resolved.model, *resolved.model.vocab_size);
  const int64_t rows = resolved.train.microbatch_sequences.value_or(1);
  const ModelLimits limits = LimitsOf(resolved, rows);
  MemoryNeeds needs = NeedsOf(resolved);
  needs.activation_bytes *= static_cast<double>(rows);
  std::vector<Candidate> candidates;
  for (const Degrees& d : ValidLayouts(request.world, limits, resolved.parallel)) {
    if (!Sensible(d, resolved, *request.hardware)) continue;
    const double bytes = RoughBytes(resolved.parallel, d, limits, needs);
    candidates.push_back({d, RoughSeconds(shape, *request.hardware, d, limits.microbatches),
                          bytes <= UsableBytes(*request.hardware)});
  }
  if (candidates.empty()) {
    return absl::InvalidArgumentError(
        StrCat("no layout of ", request.world, " ranks keeps the rules for this model and batch"));
  }
  std::stable_sort(candidates.begin(), candidates.end(),
                   [](const Candidate& a, const Candidate& b) {
                     return std::pair(!a.fits, a.seconds) < std::pair(!b.fits, b.seconds);
                   });
  std::vector<Advice> found;
  for (const Candidate& c : candidates) {
    if (found.size() == planned) break;
    auto plan = PlanRun(WithLayout(resolved, c.degrees), request);
    if (plan.ok()) found.push_back({OverridesOf(c.degrees), *std::move(plan)});
  }
  std::stable_sort(found.begin(), found.end(), [&](const Advice& a, const Advice& b) {
    const Hardware& hardware = *request.hardware;
    return std::pair(!Fits(a.plan, hardware), SecondsOf(a.plan)) <
           std::pair(!Fits(b.plan, hardware), SecondsOf(b.plan));
  });
  if (found.size() > most) found.resize(most);
  return found;
}

}  // namespace choir
