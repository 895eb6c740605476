#include "train/config.h"

#include <algorithm>

#include "base/pattern.h"
#include "base/strings.h"

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
  if (train.steps > 0 && optim.schedule.warmup_steps > train.steps) {
    errors.Conflict({"optim.schedule.warmup_steps", "train.steps"},
                    StrCat("must be at most train.steps, got ", optim.schedule.warmup_steps, " > ",
                           train.steps));
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
                                     "train.threads",
                                     "train.recompute",
                                     "train.batch_ramp.*",
                                     "data.path",
                                     "data.prefetch_rows",
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

}  // namespace

ResumeChanges CompareForResume(const RunConfig& saved, const RunConfig& wanted) {
  ResumeChanges changes;
  // Not a matter of layout: it decides what is trained.
  constexpr std::string_view kCapacity = "parallel.capacity_factor";
  // Balancing by bias has a state that only exists when it was on.
  const bool bias_toggled = (saved.model.moe.bias_speed > 0) != (wanted.model.moe.bias_speed > 0);
  for (const auto& difference : ConfigDiff(saved, wanted)) {
    const ResumeChange change{difference.key, difference.a, difference.b};
    if (difference.key == "run.dir") continue;  // a run may be moved
    const bool honoured = IsHonoured(difference.key) && difference.key != kCapacity &&
                          !(bias_toggled && difference.key == "model.moe.bias_speed");
    (honoured ? changes.honoured : changes.refused).push_back(change);
  }
  return changes;
}

}  // namespace choir
