#include "train/config.h"

#include <algorithm>
#include <utility>

#include "base/pattern.h"
#include "base/strings.h"
#include "train/recompute_rules.h"

namespace choir {
void RunConfig::Check(ConfigErrors& errors) const {
  if (train.microbatch_sequences && *train.microbatch_sequences > data.batch_sequences) {
    errors.Conflict({"train.microbatch_sequences", "data.batch_sequences"},
                    StrCat("must be at most data.batch_sequences, got ",
                           *train.microbatch_sequences, " > ", data.batch_sequences));
  }
  if (train.batch_ramp.steps > 0 && train.batch_ramp.start_sequences > data.batch_sequences) {
    errors.Conflict({"train.batch_ramp.start_sequences", "data.batch_sequences"},
                    StrCat("must be at most data.batch_sequences, got ",
                           train.batch_ramp.start_sequences, " > ", data.batch_sequences));
  }
  if (precision.moments == MomentFormat::kInt8 && optim.beta2 > 0.99 && !precision.force) {
    errors.Conflict({"precision.moments", "optim.beta2"},
                    StrCat("int8 is too noisy for optim.beta2 ", optim.beta2,
                           " (above 0.99 the root of the second moment wanders by more than 18 %); "
                           "use bf16; precision.force: true allows it"));
  }
  const std::string rule = RuleOfOneLayout(ParseRecompute(train.recompute).rules);
  if (numerics == Numerics::kInvariant && !rule.empty()) {
    errors.Conflict({"train.recompute", "numerics"},
                    StrCat("rounds by '", rule,
                           "' what backward reads on some layouts only, which "
                           "invariant numerics refuse; there bf16 is for ",
                           RoundedAlike(), ", 8 bits for none"));
  }
  if (train.steps > 0 && optim.schedule.warmup_steps > train.steps) {
    errors.Conflict({"optim.schedule.warmup_steps", "train.steps"},
                    StrCat("must be at most train.steps, got ", optim.schedule.warmup_steps, " > ",
                           train.steps));
  }
  CheckLengthRamp(errors);
}

void RunConfig::CheckLengthRamp(ConfigErrors& errors) const {
  const auto [start, steps] = train.length_ramp;
  if (steps == 0) {
    if (start > 0) {
      errors.Conflict({"train.length_ramp.start_length", "train.length_ramp.steps"},
                      "needs train.length_ramp.steps");
    }
    return;
  }
  int64_t length = std::max<int64_t>(1, start);
  while (length < data.sequence_length) length *= 2;
  if (start < 1 || length != data.sequence_length) {
    errors.Conflict({"train.length_ramp.start_length", "data.sequence_length"},
                    StrCat("must be data.sequence_length over a power of two, got ", start, " for ",
                           data.sequence_length));
  }
  // A ring gives each of its ranks two pieces of every sequence.
  if (start < 2 * parallel.context) {
    errors.Conflict({"train.length_ramp.start_length", "parallel.context"},
                    StrCat("must be at least two tokens for each of the ", parallel.context,
                           " context ranks, got ", start));
  }
}

void TrainSection::Check(ConfigErrors& errors) const {
  for (const RecomputeError& e : ParseRecompute(recompute).errors) {
    const std::string field =
        recompute.size() == 1 ? "recompute" : StrCat("recompute[", e.entry, "]");
    errors.Add(field, e.message);
  }
}

int64_t BatchRows(const RunConfig& config, int64_t step) {
  const BatchRampConfig& ramp = config.train.batch_ramp;
  const int64_t full = config.data.batch_sequences;
  if (step >= ramp.steps) return full;
  return ramp.start_sequences + (full - ramp.start_sequences) * step / ramp.steps;
}

namespace {

// What a resumed run may change: everything else is part of the saved state, and a change would
// silently make another run of it.
constexpr const char* kHonoured[] = {"run.*",
                                     "numerics",
                                     "parallel.*",
                                     "train.steps",
                                     "train.eval_*",
                                     "train.microbatch_sequences",
                                     "optim.*",
                                     "precision.*",
                                     "train.threads",
                                     "train.recompute",
                                     "train.batch_ramp.*",
                                     "train.length_ramp.*",
                                     "data.path",
                                     "data.mixture.*",
                                     "data.skip.*",
                                     "data.prefetch_rows",
                                     "data.threads",
                                     "data.text.build",
                                     "data.text.cache",
                                     "data.text.memory_mib",
                                     "data.batch_sequences",
                                     "data.validation.*",
                                     "model.moe.bias_speed",
                                     "model.moe.sequence_loss",
                                     "model.moe.balance_loss",
                                     "model.moe.z_loss",
                                     "model.z_loss",
                                     "checkpoint.*"};

bool IsHonoured(const std::string& key) {
  return std::any_of(std::begin(kHonoured), std::end(kHonoured),
                     [&](const char* pattern) { return MatchesPattern(key, pattern); });
}

// Which group's rule each parameter has: groups count up to the last that names a rule.
std::vector<std::pair<std::string, std::optional<OptimKind>>> RulesOf(const OptimConfig& config) {
  std::vector<std::pair<std::string, std::optional<OptimKind>>> rules;
  size_t count = 0;
  for (const ParameterGroupConfig& group : config.groups) {
    rules.push_back({group.pattern, group.kind});
    if (group.kind) count = rules.size();
  }
  rules.resize(count);
  return rules;
}

}  // namespace

ResumeChanges CompareForResume(const RunConfig& saved, const RunConfig& wanted) {
  ResumeChanges changes;
  // Not a matter of layout: it decides what is trained.
  constexpr std::string_view kCapacity = "parallel.capacity_factor";
  // A rule, and an average, have a state that only exists when they were on.
  const bool average_toggled =
      saved.optim.ema.decay.has_value() != wanted.optim.ema.decay.has_value();
  const bool rules_changed = RulesOf(saved.optim) != RulesOf(wanted.optim);
  const auto changes_state = [&](const std::string& key) {
    return key == "optim.kind" || (rules_changed && key.starts_with("optim.groups")) ||
           (average_toggled && key == "optim.ema.decay");
  };
  // So has balancing by bias.
  const bool bias_toggled = (saved.model.moe.bias_speed > 0) != (wanted.model.moe.bias_speed > 0);
  for (const auto& difference : ConfigDiff(saved, wanted)) {
    const ResumeChange change{difference.key, difference.a, difference.b};
    if (difference.key == "run.dir") continue;  // a run may be moved
    const bool honoured = IsHonoured(difference.key) && difference.key != kCapacity &&
                          !(bias_toggled && difference.key == "model.moe.bias_speed") &&
                          !changes_state(difference.key);
    (honoured ? changes.honoured : changes.refused).push_back(change);
  }
  return changes;
}

}  // namespace choir
