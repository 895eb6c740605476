#include "train/traffic.h"

#include <iterator>
#include <map>

#include "ops/numerics.h"
#include "optim/matrix_unit.h"
#include "optim/settings.h"
#include "parallel/mesh/mesh.h"
#include "parallel/pipeline/rank_actions.h"
#include "train/model_precision.h"

namespace choir {
namespace {

constexpr int64_t kBytes = 4;  // of an element: float32

// How a step's gradients travel.
struct Exchange {
  int64_t microbatches;  // of each data rank
  DType wire;
};

int64_t Product(const Shape& shape) {
  int64_t n = 1;
  for (int i = 0; i < shape.rank(); ++i) n *= shape.dim(i);
  return n;
}

// The whole value as it is kept, and sent.
int64_t ValueBytes(const RunConfig& config, const ParameterList::Entry& entry) {
  const Shape& shape = entry.placement.shape;
  return SizeOf(PrecisionOf(config, entry.parameter->name, shape).storage) * Product(shape);
}

// Gradients of one parameter in a step, and the gathers of its
// weights behind the update. Stage 3 gathers matrices elsewhere.
int64_t OfParameter(const Placement& placement, const RunLayout& layout, const Mesh& mesh,
                    const Exchange& exchange, int64_t value_bytes) {
  const int64_t bytes = kBytes * Product(placement.shape);
  const int64_t copies = mesh.Size(placement.GradAxes());
  const int64_t same_rows = mesh.Size(placement.TokenGradAxes());
  const bool halves = exchange.wire == DType::kBF16;
  // An all-reduce of bf16 is an all-to-all and a gather of the sum in F32.
  const int64_t all_reduce = halves ? bytes / 2 + bytes : 2 * bytes;
  if (layout.zero == 0 && !halves) return 2 * (copies - 1) * bytes;
  if (layout.zero == 0) {
    const int64_t data = copies / same_rows;
    return 2 * (same_rows - 1) * data * bytes + (data - 1) * same_rows * all_reduce;
  }
  const int64_t shards = mesh.Size(placement.ZeroAxes()), replicas = copies / same_rows / shards;
  const int64_t once = copies / shards * (shards - 1);  // a reduce-scatter or all-gather
  const bool each_time = layout.zero >= 2 && shards > 1;
  const int64_t scatter =
      (each_time ? exchange.microbatches : 1) * once * (halves ? bytes / 2 : bytes);
  // Of the whole gradient before it is cut, or of shards.
  const int64_t inner = 2 * (same_rows - 1) * replicas * (each_time ? 1 : shards);
  const int64_t outer = (replicas - 1) * same_rows * all_reduce;
  const bool by_unit = layout.zero == 3 && shards > 1 && placement.shape.rank() > 1;
  return inner * bytes + scatter + outer + (by_unit ? 0 : once) * value_bytes;
}

// What ranks gather of matrices that they split, once by each copy that updates them.
int64_t OfMatrices(const ParameterList::Entry& entry, const RunConfig& config,
                   const RunLayout& layout, const Mesh& mesh) {
  const Placement& placement = entry.placement;
  const ParameterForm form = FormOf(placement.shape, entry.matrices);
  if (!NeedsWholeMatrices(SettingsOf(config.optim, entry.parameter->name, form).kind)) return 0;
  AxisSet split = placement.layout.axes();
  if (SplitsByFirstDim(entry.matrices)) split = split - placement.layout.split[0];
  if (split.empty()) return 0;
  const int64_t shards = layout.zero > 0 ? mesh.Size(placement.ZeroAxes()) : 1;
  const int64_t copies = mesh.Size(placement.GradAxes()) / shards;
  return (mesh.Size(split) - 1) * copies * kBytes * Product(placement.shape);
}

// The gathers of weights of ZeRO 3 on one pipeline rank: each pass keeps the unit that it ends
// with, and the embedding is not gathered for the backward pass.
int64_t OfUnits(const RunConfig& config, std::span<const ParameterList::Entry> parameters,
                const Mesh& mesh, int64_t microbatches) {
  std::map<int, int64_t> units;
  for (const ParameterList::Entry& entry : parameters) {
    const Placement& placement = entry.placement;
    const int64_t shards = mesh.Size(placement.ZeroAxes());
    if (placement.shape.rank() == 1 || shards == 1) continue;
    const int64_t copies = mesh.Size(placement.GradAxes());
    const int64_t bytes = copies / shards * (shards - 1) * ValueBytes(config, entry);
    for (int unit : entry.units) units[unit] += bytes;
  }
  int64_t all = 0;
  for (const auto& [unit, bytes] : units) all += bytes;
  const int64_t embedding = units.begin()->second, head = units.rbegin()->second;
  const int64_t first_block = std::next(units.begin())->second;
  return microbatches * (2 * all - embedding - head) - (microbatches - 1) * first_block;
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
                    std::span<const ParameterList::Entry> parameters, int64_t labels) {
  const ModelConfig& model = config.model;
  const Degrees& d = layout.degrees;
  const Mesh mesh(d);
  CHECK(layout.exchange.node_size == 0) << "bytes depend on which experts share a node";
  const int64_t microbatches = layout.Microbatches(config.data.batch_sequences);
  const int64_t tokens = layout.microbatch_rows * config.data.sequence_length;
  const int64_t stream = kBytes * tokens * model.hidden;
  const int64_t moe_layers =
      model.moe.experts > 0 ? int64_t{model.layers} - model.moe.dense_layers : 0;
  const int64_t dense_layers = model.layers - moe_layers;
  Traffic traffic;

  const int64_t of_rank = microbatches / layout.DataRanks();
  const Exchange exchange{of_rank, WireFormat(config.precision)};
  for (const auto& entry : parameters) {
    traffic.data += OfParameter(entry.placement, layout, mesh, exchange, ValueBytes(config, entry));
    (entry.placement.OfExperts() ? traffic.expert : traffic.tensor) +=
        OfMatrices(entry, config, layout, mesh);
  }
  if (layout.stages.size() > 1 && model.tie_embeddings) {  // its two uses are summed apart
    traffic.data += OfParameter(parameters.front().placement, layout, mesh, exchange,
                                ValueBytes(config, parameters.front()));
    if (d.pipe > 1) traffic.tensor += OfMatrices(parameters.front(), config, layout, mesh);
  }
  if (layout.zero == 3) {
    CHECK(d.pipe == 1) << "what a pipeline gathers depends on its schedule";
    traffic.data += OfUnits(config, parameters, mesh, of_rank);
  }

  const int64_t gathers =
      8 * dense_layers + (model.moe.shared_experts > 0 ? 8 : 4) * moe_layers + 4;
  traffic.tensor += (d.tensor - 1) * (microbatches * gathers * stream + 40 * labels);

  const int64_t groups = model.NumKvHeads(), queries = model.heads / groups;
  const int64_t layer_passes = microbatches * model.layers;
  const bool ring = layout.context_method == ContextMethod::kRing;
  if (ring) {
    traffic.context =
        layer_passes * 6 * groups * model.HeadDim() * kBytes * tokens * (d.context - 1);
  }
  // Each tensor rank trades its own groups.
  for (int t = 0; t < d.tensor && !ring; ++t) {
    const int64_t mine = PieceBegin(groups, d.tensor, t + 1) - PieceBegin(groups, d.tensor, t);
    traffic.context += layer_passes * 2 * (2 * queries + 2) * model.HeadDim() * kBytes *
                       Traded(tokens, mine, d.context);
  }

  const int64_t members = int64_t{d.expert} * d.expert_tensor;
  if (members > 1) {
    const int64_t rows = model.moe.top_k * stream * d.expert_tensor * (members - 1) / members;
    const int64_t groups_of_ranks = mesh.size() / d.pipe / members;
    const int64_t announced = (members - 1) * d.expert_tensor * model.moe.experts * kBytes;
    const int64_t turns = groups_of_ranks * of_rank;
    traffic.expert += moe_layers * (microbatches * 4 * rows + turns * announced);
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
    } else if (count.group == "expert+expert_tensor" || count.group == "expert_tensor") {
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
