#include "train/auto_layout.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>

#include "base/file.h"
#include "base/log.h"
#include "base/status.h"
#include "base/strings.h"
#include "model/transformer.h"
#include "optim/optimizer.h"
#include "train/agreement.h"
#include "train/layout.h"
#include "train/meta_input.h"
#include "train/model_precision.h"
#include "train/recompute.h"
#include "train/recompute_budget.h"

namespace choir {
namespace {

constexpr double kGib = 1 << 30;
// The rest is for the program, the data and MPI's buffers.
constexpr double kShareForTensors = 0.9;

// The number in a file that holds one; the largest where there is none ("max", no such file).
double LimitIn(const std::string& path) {
  std::ifstream file(path);
  double bytes = 0;
  return file >> bytes ? bytes : std::numeric_limits<double>::max();
}

// The smallest value of any rank.
double MinOverRanks(double mine, World* world) {
  if (world == nullptr || world->size() == 1) return mine;
  std::vector<int> all(static_cast<size_t>(world->size()));
  for (int r = 0; r < world->size(); ++r) all[static_cast<size_t>(r)] = r;
  const Tensor value =
      Tensor::From<double>({1}, std::vector<double>{-mine}, MemoryCategory::kCommunication);
  world->Group(all, "memory").AllReduce(value, ReduceOp::kMax).Wait();
  return -value.data<double>()[0];
}

}  // namespace

absl::StatusOr<double> FreeHostBytes() {
  ASSIGN_OR_RETURN(const std::string text, ReadFile("/proc/meminfo"));
  const std::string key = "MemAvailable:";
  const size_t at = text.find(key);
  if (at == std::string::npos) {
    return absl::UnavailableError(
        "/proc/meminfo does not say what is available; set parallel.rank_memory_gib");
  }
  const double available = std::stod(text.substr(at + key.size())) * 1024;
  return std::min({available, LimitIn("/sys/fs/cgroup/memory.max"),
                   LimitIn("/sys/fs/cgroup/memory/memory.limit_in_bytes")});
}

absl::StatusOr<double> RankBytes(const ParallelConfig& config, World* world) {
  double mine = 0;
  absl::Status status;
  if (config.rank_memory_gib) {
    mine = *config.rank_memory_gib * kGib;
  } else if (const auto host = FreeHostBytes(); host.ok()) {
    mine = *host * kShareForTensors / (world != nullptr ? world->node_size() : 1);
  } else {
    status = host.status();
  }
  RETURN_IF_ERROR(Agree(world, status));
  return MinOverRanks(mine, world);
}

MemoryNeeds NeedsOf(const RunConfig& config) {
  MemoryLedger ledger;
  const ScopedLedger scoped(Device::kMeta, ledger);
  Transformer model(config.model, *config.model.vocab_size, {DType::kF32, Device::kMeta});
  // Weights and gradients; state of the optimizer, average and its copy of the weights. As for a
  // matrix of a block: nearly all parameters are in those.
  const ParameterPrecision precision = PrecisionOf(config, "layers.0.ffn.down", {1, 1});
  const TargetPrecision state{precision.master, precision.moments, precision.moments};
  MemoryNeeds needs{.parameter_bytes = 4.0 + static_cast<double>(SizeOf(precision.storage)),
                    .optimizer_bytes = StateBytesPerParameter(state, config.optim.kind) +
                                       (config.optim.ema.decay ? 8 : 0)};
  for (const auto& entry : model.parameters()) {
    const int64_t n = entry.parameter->shape().NumElements();
    (entry.placement.OfExperts() ? needs.expert_parameters : needs.dense_parameters) += n;
  }
  const ModelInput input = MetaInput(config.data.sequence_length);
  const int64_t before = ledger.CurrentTotal();
  ledger.ResetPeak();
  Tape tape;
  RunConfig least = config;  // a budget may drop as much as that
  if (HasBudget(config)) least.train.recompute = {"full"};
  tape.SetRecomputePolicy(MakeRecomputePolicy(least));
  Var loss = model.Loss(tape, input, 1).total;
  tape.RunBackward(loss, Tensor::Empty({1}, loss.tensor().options()));
  needs.activation_bytes = static_cast<double>(ledger.PeakTotal() - before);
  return needs;
}

absl::StatusOr<RunConfig> WithChosenLayout(const RunConfig& config, World* world) {
  if (!config.parallel.auto_layout) return config;
  MemoryNeeds needs = NeedsOf(config);
  ASSIGN_OR_RETURN(needs.rank_bytes, RankBytes(config.parallel, world));
  needs.node_size = config.parallel.node_size.value_or(world != nullptr ? world->node_size() : 1);
  const int ranks = world != nullptr ? world->size() : 1;
  // Where the config leaves it open, the sequences of a data rank are one microbatch.
  const int64_t rows = config.train.microbatch_sequences.value_or(1);
  needs.activation_bytes *= static_cast<double>(rows);
  needs.one_microbatch = !config.train.microbatch_sequences && config.numerics == Numerics::kFast;
  ASSIGN_OR_RETURN(const Degrees degrees,
                   ChooseDegrees(config.parallel, ranks, LimitsOf(config, rows), needs));
  if (world == nullptr || world->rank() == 0) {
    LogInfo(StrCat("parallel: auto chose ", ToString(degrees), ", memory of a rank ",
                   static_cast<int64_t>(needs.rank_bytes / (1 << 20)), " MiB"));
  }
  RunConfig chosen = config;
  chosen.parallel = WithDegrees(config.parallel, degrees);
  chosen.parallel.auto_layout = false;
  chosen.parallel.rank_memory_gib.reset();
  if (!chosen.parallel.two_level_exchange) chosen.parallel.node_size.reset();
  return chosen;
}

}  // namespace choir
