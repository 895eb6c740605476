// Training: the step from top to bottom. docs/step.md walks through it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "checkpoint/contents.h"
#include "checkpoint/manifest.h"
#include "data/loader.h"
#include "eval/validate.h"
#include "model/counts.h"
#include "model/transformer.h"
#include "optim/adamw.h"
#include "train/config.h"

namespace choir {

// What one step reports. Loss and gradient norm are of the whole global batch.
struct StepReport {
  int64_t step = 0;         // counts from 1
  int64_t tokens = 0;       // labels trained on since the start of the run
  int64_t step_labels = 0;  // of this step
  double loss = 0;          // nats per label
  double balance_loss = 0;  // sum of the router's losses
  double grad_norm = 0;     // before clipping
  double lr = 0;
  double flops = 0;        // of this step's products
  double data_wait_s = 0;  // waited for the loader
  double padding = 0;      // share of the batch
  std::vector<int64_t> language_tokens;
  std::vector<double> language_loss;  // nats per label; NaN without labels
  // Of each layer with experts: its busiest expert's tokens over the mean.
  std::vector<double> expert_load;
  std::string data_digest;
};

class Trainer {
 public:
  // Model, optimizer and data at step 0, weights initialised. The config is resolved.
  static absl::StatusOr<std::unique_ptr<Trainer>> Make(const RunConfig& config);

  // One optimizer update. OutOfRange if the gradient is not finite: names step and parameter, and
  // leaves weights and moments as they were.
  absl::StatusOr<StepReport> Step();

  // Everything that the next step depends on.
  CheckpointContents SaveState() const;
  // Continues from a checkpoint of a config that CompareForResume accepts.
  absl::Status RestoreState(const Checkpoint& checkpoint);

  std::vector<LanguageLoss> Validate() { return choir::Validate(model_, *validation_); }

  int64_t step() const { return step_; }
  const RunConfig& config() const { return config_; }
  Transformer& model() { return model_; }
  const BatchLoader& loader() const { return *loader_; }
  const ValidationSet& validation() const { return *validation_; }

 private:
  Trainer(const RunConfig& config, std::unique_ptr<BatchLoader> loader,
          std::unique_ptr<ValidationSet> validation);

  // Sums over the microbatches of one batch.
  struct Accumulated {
    std::vector<double> language_nll;
    double balance_loss = 0;
    double pairs = 0;
    std::vector<std::vector<int64_t>> expert_tokens;  // by layer with experts
  };
  void ZeroGradients();
  void RunMicrobatch(const Batch& batch, int64_t first, int64_t rows, Accumulated& sums);
  absl::Status CheckFinite(double grad_norm) const;
  StepReport Report(const Batch& batch, const Accumulated& sums) const;
  std::vector<NamedTensor> StateTensors() const;

  RunConfig config_;
  std::unique_ptr<BatchLoader> loader_;
  std::unique_ptr<ValidationSet> validation_;
  Transformer model_;
  std::vector<Parameter*> parameters_;
  AdamW optimizer_;
  FlopCounts flops_;
  RecomputePolicy recompute_;
  int64_t step_ = 0;
  int64_t tokens_ = 0;
};

// Fills what the config leaves to the data: the vocabulary. FailedPrecondition if a given
// vocabulary is smaller than the tokenizer's.
absl::StatusOr<RunConfig> ResolveConfig(const RunConfig& config, int64_t tokenizer_vocab);

// The version of the code, as stored in checkpoints.
std::string CodeVersion();

}  // namespace choir
