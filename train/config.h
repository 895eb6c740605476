// The config of a run: sections of their owners, composed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/config.h"
#include "data/data_config.h"
#include "model/config.h"
#include "ops/numerics.h"
#include "optim/config.h"
#include "optim/precision_config.h"
#include "parallel/mesh/degrees.h"

namespace choir {

template <>
struct EnumNames<Numerics> {
  static constexpr EnumName<Numerics> kAll[] = {{Numerics::kFast, "fast"},
                                                {Numerics::kInvariant, "invariant"}};
};

struct RunSection {
  std::string dir;

  void Visit(auto&& v) {
    v("dir", dir, "folder of everything a run writes", Required(), NonEmpty());
  }
};

// Small batches early in training. The number of rows rises linearly from start_sequences at the
// first step to data.batch_sequences at step `steps`.
struct BatchRampConfig {
  int64_t start_sequences = 1;
  int64_t steps = 0;

  void Visit(auto&& v) {
    v("start_sequences", start_sequences, "rows of the first step", AtLeast(1));
    v("steps", steps, "steps until the full batch; 0: no ramp", AtLeast(0));
  }
};

// Shorter sequences early in training, at the same tokens (train/length_ramp.h).
struct LengthRampConfig {
  int64_t start_length = 0;
  int64_t steps = 0;

  void Visit(auto&& v) {
    v("start_length", start_length,
      "length at the first step: data.sequence_length over a power of two", AtLeast(0));
    v("steps", steps, "steps until the full length, in which it doubles; 0: no ramp", AtLeast(0));
  }
};

struct TrainSection {
  int64_t steps = 0;
  int64_t seed = 1;
  std::optional<int64_t> microbatch_sequences;
  BatchRampConfig batch_ramp;
  LengthRampConfig length_ramp;
  int64_t eval_interval = 0;
  bool eval_at_end = true;
  std::optional<int> threads;
  std::vector<std::string> recompute;

  void Visit(auto&& v) {
    v("steps", steps, "optimizer updates of the whole run", Required(), AtLeast(1));
    v("seed", seed, "of the initial weights", AtLeast(0));
    v("microbatch_sequences", microbatch_sequences,
      "rows that go through the model at once; auto: those of one data rank, or with numerics "
      "invariant one",
      AtLeast(1));
    v("batch_ramp", batch_ramp, "smaller batches at the start");
    v("length_ramp", length_ramp, "shorter sequences at the start");
    v("eval_interval", eval_interval, "steps between validations; 0: none but at the end",
      AtLeast(0));
    v("eval_at_end", eval_at_end, "validate after the last step");
    v("threads", threads, "CPU threads; auto: all cores of this process", AtLeast(1));
    v("recompute", recompute,
      "what becomes of results between forward and backward (docs/recompute.md): none, selective, "
      "full, budget=12GiB, or TAG[@LAYERS][=ACTION], later entries overruling earlier ones",
      OrOneItem());
  }
  void Check(ConfigErrors& errors) const;
};

struct CheckpointSection {
  int64_t interval = 0;
  int keep_last = 2;
  bool at_end = true;

  void Visit(auto&& v) {
    v("interval", interval, "steps between checkpoints; 0: none but at the end", AtLeast(0));
    v("keep_last", keep_last, "newest checkpoints that are kept", AtLeast(1));
    v("at_end", at_end, "save after the last step");
  }
};

struct RunConfig {
  RunSection run;
  Numerics numerics = Numerics::kFast;
  TrainSection train;
  ModelConfig model;
  DataConfig data;
  OptimConfig optim;
  PrecisionConfig precision;
  CheckpointSection checkpoint;
  ParallelConfig parallel;

  void Visit(auto&& v) {
    v("run", run, "where");
    v("numerics", numerics,
      "order of sums; invariant: the same bits on every layout of ranks (docs/parallelism.md)");
    v("train", train, "how long and in which pieces");
    v("model", model, "what is trained");
    v("data", data, "on what");
    v("optim", optim, "by which rule");
    v("precision", precision, "in which formats");
    v("checkpoint", checkpoint, "when it is saved");
    v("parallel", parallel, "on how many ranks");
  }
  void Check(ConfigErrors& errors) const;

 private:
  void CheckLengthRamp(ConfigErrors& errors) const;
};

// Rows of the batch of step `step` (counted from 0).
int64_t BatchRows(const RunConfig& config, int64_t step);

// A key that differs between a checkpoint's config and the one of the resumed run.
struct ResumeChange {
  std::string key;
  std::string saved, wanted;
};
struct ResumeChanges {
  std::vector<ResumeChange> honoured;  // take effect from the next step on
  std::vector<ResumeChange> refused;   // the saved state does not fit them
};
// Sorts the differences. `saved` is the config stored in the checkpoint.
ResumeChanges CompareForResume(const RunConfig& saved, const RunConfig& wanted);

// Compiled once, in config_instances.cc: each costs the compiler seconds.
extern template absl::StatusOr<RunConfig> LoadConfig<RunConfig>(const ConfigTree& tree,
                                                                ConfigLoadOptions options);
extern template std::string ConfigDump<RunConfig>(const RunConfig& config);
extern template std::vector<std::pair<std::string, std::string>> ConfigFlatten<RunConfig>(
    const RunConfig& config);

}  // namespace choir
