#include "train/load_run.h"

#include "base/log.h"
#include "base/status.h"
#include "base/strings.h"
#include "checkpoint/checkpoint_list.h"
#include "checkpoint/load.h"
#include "ops/elementwise.h"
#include "train/config.h"
#include "train/model_precision.h"

namespace choir {

absl::StatusOr<LoadedRun> LoadRun(const std::string& path, bool average) {
  ASSIGN_OR_RETURN(const LatestCheckpoint latest, FindLatest(path));
  for (const std::string& warning : latest.warnings) LogWarning(warning);
  const Checkpoint& checkpoint = latest.checkpoint;
  ASSIGN_OR_RETURN(const ConfigTree tree,
                   ConfigTree::ParseString(checkpoint.manifest.config,
                                           checkpoint.path + "/manifest.json:config"));
  ASSIGN_OR_RETURN(const RunConfig config, LoadConfig<RunConfig>(tree, {.check_paths = false}));
  if (!config.model.vocab_size) {
    return absl::DataLossError(StrCat(checkpoint.path, ": its config has no model.vocab_size"));
  }
  if (average && checkpoint.manifest.state.value("ema_updates", int64_t{0}) == 0) {
    return absl::FailedPreconditionError(
        StrCat(checkpoint.path, ": has no average of the weights; train with optim.ema.decay"));
  }
  LoadedRun run;
  run.step = checkpoint.manifest.step;
  run.model = std::make_unique<Transformer>(config.model, *config.model.vocab_size,
                                            TensorOptions{DType::kF32, Device::kCpu});
  ApplyPrecision(config, *run.model);
  std::vector<NamedTensor> tensors;
  for (const auto& entry : run.model->parameters()) {
    const char* kind = average ? "ema/" : "model/";
    tensors.push_back({kind + entry.parameter->name, entry.parameter->value});
  }
  for (const MixtureOfExperts* moe : run.model->experts()) {
    if (moe->bias.defined()) tensors.push_back({"model/" + moe->router.name + "_bias", moe->bias});
  }
  RETURN_IF_ERROR(LoadTensors(checkpoint, tensors, {.strict = false}));
  // Checkpoints hold the masters; the model computed with what they are rounded to.
  for (const auto& entry : run.model->parameters()) {
    const DType stored = PrecisionOf(config, entry.parameter->name, entry.placement.shape).storage;
    if (stored != DType::kF32) RoundInPlace(entry.parameter->value, stored);
  }
  ASSIGN_OR_RETURN(const std::string tokenizer, FindTokenizer(path));
  ASSIGN_OR_RETURN(run.tokenizer, OpenTokenizer(tokenizer));
  return run;
}

}  // namespace choir
