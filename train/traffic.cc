#include "train/traffic.h"

#include "ops/numerics.h"
#include "parallel/mesh/mesh.h"
#include "parallel/pipeline/rank_actions.h"

namespace choir {
namespace {

constexpr int64_t kBytes = 4;  // of an element: float32

int64_t Product(const Shape& shape) {
  int64_t n = 1;
  for (int i = 0; i < shape.rank(); ++i) n *= shape.dim(i);
  return n;
}

// Gradients of one parameter, and its weights where ZeRO cuts the update.
int64_t OfParameter(const Placement& placement, const RunLayout& layout, const Mesh& mesh) {
  const int64_t bytes = kBytes * Product(placement.shape);
  const int64_t copies = mesh.Size(placement.GradAxes());
  if (layout.zero == 0) return 2 * (copies - 1) * bytes;
  const int64_t same_rows = mesh.Size(placement.TokenGradAxes());
  const int64_t shards = mesh.Size(placement.ZeroAxes()), data = copies / same_rows;
  const int64_t replicas = data / shards;
  const int64_t inner = data * 2 * (same_rows - 1), scatter = copies / shards * (shards - 1);
  const int64_t outer = same_rows * 2 * (replicas - 1), gather = scatter;
  return (inner + scatter + outer + gather) * bytes;
}

// What an all-to-all of `rows` x `columns` things sends when both are cut over `ranks`.
int64_t Traded(int64_t rows, int64_t columns, int ranks) {
  int64_t kept = 0;
  for (int i = 0; i < ranks; ++i) {
    kept += (PieceBegin(rows, ranks, i + 1) - PieceBegin(rows, ranks, i)) *
            (PieceBegin(columns, ranks, i + 1) - PieceBegin(columns, ranks, i));
  }
  return rows * columns - kept;
}

// Neighbouring stages on different ranks.
int64_t Handovers(const ScheduleSpec& schedule) {
  int64_t n = 0;
  for (int stage = 1; stage < schedule.stages(); ++stage) {
    n += StageOwner(schedule, stage) != StageOwner(schedule, stage - 1);
  }
  return n;
}

}  // namespace

Traffic StepTraffic(const RunConfig& config, const RunLayout& layout,
                    std::span<const Placement> parameters) {
  const ModelConfig& model = config.model;
  const Degrees& d = layout.degrees;
  const Mesh mesh(d);
  const int64_t microbatches = layout.Microbatches(config.data.batch_sequences);
  const int64_t tokens = layout.microbatch_rows * config.data.sequence_length;
  const int64_t stream = kBytes * tokens * model.hidden;
  const int64_t moe_layers =
      model.moe.experts > 0 ? int64_t{model.layers} - model.moe.dense_layers : 0;
  const int64_t dense_layers = model.layers - moe_layers;
  Traffic traffic;

  for (const Placement& placement : parameters) {
    traffic.data += OfParameter(placement, layout, mesh);
  }
  if (layout.stages.size() > 1 && model.tie_embeddings) {  // its two uses are summed apart
    traffic.data += OfParameter(parameters.front(), layout, mesh);
  }

  const int64_t gathers =
      8 * dense_layers + (model.moe.shared_experts > 0 ? 8 : 4) * moe_layers + 4;
  traffic.tensor = microbatches * (d.tensor - 1) * (gathers * stream + 40 * tokens);

  // Each tensor rank trades its own groups.
  const int64_t groups = model.NumKvHeads(), queries = model.heads / groups;
  for (int t = 0; t < d.tensor; ++t) {
    const int64_t mine = PieceBegin(groups, d.tensor, t + 1) - PieceBegin(groups, d.tensor, t);
    traffic.context += microbatches * model.layers * 2 * (2 * queries + 2) * model.HeadDim() *
                       kBytes * Traded(tokens, mine, d.context);
  }

  const int64_t members = int64_t{d.expert} * d.expert_tensor;
  if (members > 1) {
    const int64_t rows = model.moe.top_k * stream * d.expert_tensor * (members - 1) / members;
    const int64_t groups_of_ranks = mesh.size() / d.pipe / members;
    const int64_t announced = (members - 1) * d.expert_tensor * model.moe.experts * kBytes;
    const int64_t turns = groups_of_ranks * (microbatches / layout.DataRanks());
    traffic.expert = moe_layers * (microbatches * 4 * rows + turns * announced);
  }

  traffic.pipeline = microbatches * 2 * Handovers(layout.schedule) * stream;
  if (d.pipe > 1 && model.tie_embeddings &&
      StageOwner(layout.schedule, 0) != StageOwner(layout.schedule, layout.schedule.stages() - 1)) {
    const int64_t table = kBytes * *model.vocab_size * model.hidden;
    const int64_t copies = int64_t{d.replica} * d.context * (layout.zero > 0 ? 1 : d.shard);
    traffic.pipeline += 2 * copies * table;
  }
  return traffic;
}

Traffic Sorted(const std::vector<CommCount>& counts) {
  const std::string everyone = kDenseAxes.ToString();
  Traffic traffic;
  for (const CommCount& count : counts) {
    const int64_t bytes = count.bytes_sent;
    // Agreements and the sums that a step reports.
    if (count.group == everyone || count.group == "everyone" || count.group == "memory") continue;
    if (count.group == "tensor") {
      traffic.tensor += bytes;
    } else if (count.group == "expert+expert_tensor") {
      traffic.expert += bytes;
    } else if (count.group == "pipe") {
      traffic.pipeline += bytes;
    } else if (count.group == "context" && count.operation != "all_reduce") {
      traffic.context += bytes;
    } else {
      traffic.data += bytes;
    }
  }
  return traffic;
}

}  // namespace choir
