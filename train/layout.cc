#include "train/layout.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "base/status.h"
#include "base/strings.h"
#include "optim/precision.h"
#include "parallel/mesh/layout_search.h"

namespace choir {
namespace {

// Sequences of a microbatch. It depends on the layout only in fast mode, and only where the config
// leaves it open.
int64_t MicrobatchRows(const RunConfig& config, int data_ranks) {
  if (config.train.microbatch_sequences) return *config.train.microbatch_sequences;
  if (config.numerics == Numerics::kInvariant) return 1;
  return std::max<int64_t>(1, config.data.batch_sequences / data_ranks);
}

absl::Status Refuse(const std::string& message) { return absl::InvalidArgumentError(message); }

absl::Status CheckPieces(const RunConfig& config, const Degrees& d) {
  const int pieces = config.parallel.expert_chunks, fewest = config.model.moe.experts / d.expert;
  if (pieces == 1) return absl::OkStatus();
  if (d.expert * d.expert_tensor == 1) {
    return Refuse(StrCat("parallel.expert_chunks: ", pieces,
                         " cuts nothing: with expert 1 and expert_tensor 1 no tokens are "
                         "exchanged; use 1"));
  }
  if (pieces <= fewest) return absl::OkStatus();
  return Refuse(StrCat("parallel.expert_chunks: a piece is a run of a rank's experts, so ", pieces,
                       " is too many: of ", config.model.moe.experts, " experts on expert ",
                       d.expert, " ranks one has ", fewest, "; use at most that"));
}

// The exchange of tokens over nodes of `size` ranks.
absl::Status CheckNodes(const RunConfig& config, const Degrees& d, int size) {
  const int members = d.expert * d.expert_tensor;
  const std::string group =
      StrCat("expert ", d.expert, " x expert_tensor ", d.expert_tensor, " = ", members, " ranks");
  if (size == 0) {
    return Refuse(
        "parallel.node_size: two_level_exchange needs it, and no launcher says it; set "
        "it to the ranks of a node");
  }
  if (members == 1) {
    return Refuse(
        "parallel.two_level_exchange: with expert 1 and expert_tensor 1 no tokens are "
        "exchanged; use false");
  }
  if (config.numerics == Numerics::kInvariant) {
    return Refuse(
        "parallel.two_level_exchange: adds a token's experts node by node, which numerics "
        "invariant excludes; use false, or numerics fast");
  }
  if (members <= size ? size % members != 0 : members % size != 0) {
    return Refuse(StrCat("parallel.two_level_exchange: ", group,
                         " exchange tokens; they must be "
                         "whole nodes or lie inside of one, and a node has ",
                         size, " ranks"));
  }
  if (members > size && size % d.expert_tensor != 0) {
    return Refuse(StrCat("parallel.two_level_exchange: the expert_tensor ", d.expert_tensor,
                         " ranks of an expert must share a node, and a node has ", size, " ranks"));
  }
  return absl::OkStatus();
}

absl::StatusOr<ExchangeOptions> PlanExchanges(const RunConfig& config, const Degrees& d,
                                              int node_size) {
  const ParallelConfig& p = config.parallel;
  RETURN_IF_ERROR(CheckPieces(config, d));
  if (p.capacity_factor && config.model.moe.experts == 0) {
    return Refuse("parallel.capacity_factor: is for experts, and the model has none; use auto");
  }
  if (p.capacity_factor && p.context > 1 && p.context_method == ContextMethod::kRing) {
    return Refuse(
        "parallel.capacity_factor: an expert takes choices in the order of the tokens, which "
        "context_method ring deals out of order; use ulysses");
  }
  ExchangeOptions options{.pieces = p.expert_chunks};
  if (p.two_level_exchange) {
    const int size = p.node_size.value_or(node_size);
    RETURN_IF_ERROR(CheckNodes(config, d, size));
    if (d.expert * d.expert_tensor > size) options.node_size = size;  // else it lies inside of one
  } else if (p.node_size) {
    return Refuse(
        "parallel.node_size: only two_level_exchange and auto_layout depend on nodes; use auto");
  }
  return options;
}

// Losses that are means over a microbatch depend on its size, and so does an expert's capacity.
absl::Status CheckMeans(const RunConfig& config, int data_ranks) {
  const MoeConfig& moe = config.model.moe;
  if (config.train.microbatch_sequences || data_ranks == 1) return absl::OkStatus();
  const bool depends =
      moe.balance_loss > 0 || moe.z_loss > 0 || config.parallel.capacity_factor.has_value();
  if (moe.experts == 0 || !depends) return absl::OkStatus();
  return Refuse(
      "train.microbatch_sequences: auto follows the number of data ranks, but "
      "model.moe.balance_loss and model.moe.z_loss are means over a microbatch, and "
      "parallel.capacity_factor limits the choices of one; set it, so that every layout trains "
      "the same");
}

// Blocks of one scale end where one of kVirtualPieces does; ranks must not cut elsewhere.
absl::Status CheckBlocks(const RunConfig& config, const Degrees& d) {
  if (!UsesFp8(config.precision)) return absl::OkStatus();
  for (const auto& [key, ranks] :
       {std::pair("tensor", d.tensor), std::pair("expert_tensor", d.expert_tensor)}) {
    if (kVirtualPieces % ranks == 0) continue;
    return Refuse(StrCat("parallel.", key, ": ", ranks,
                         " ranks would cut the blocks that share a "
                         "scale in fp8 products, and change the numbers; it must divide ",
                         kVirtualPieces, ", or set precision.matmul to bf16"));
  }
  return absl::OkStatus();
}

// Sums in one order need cuts that fall between the pieces of that order.
absl::Status CheckInvariant(const RunConfig& config, const Degrees& d) {
  if (config.numerics != Numerics::kInvariant) return absl::OkStatus();
  if (WireFormat(config.precision) != DType::kF32) {
    return Refuse(
        "precision.wire: how often bf16 rounds a gradient depends on the layout, which numerics "
        "invariant excludes; use fp32, or numerics: fast");
  }
  if (d.context > 1 && config.parallel.context_method == ContextMethod::kRing) {
    return Refuse(
        "parallel.context_method: ring adds a softmax up from one part for each rank, so its bits "
        "depend on parallel.context; with numerics: invariant use ulysses, or numerics: fast");
  }
  if (kVirtualPieces % (d.tensor * d.context) != 0) {
    return Refuse(StrCat("numerics: invariant cuts tokens into ", kVirtualPieces,
                         " pieces: tensor ", d.tensor, " x context ", d.context, " = ",
                         d.tensor * d.context, " must divide ", kVirtualPieces));
  }
  if (kVirtualPieces % d.expert_tensor != 0) {
    return Refuse(StrCat("numerics: invariant cuts sums into ", kVirtualPieces,
                         " pieces: parallel.expert_tensor ", d.expert_tensor, " must divide ",
                         kVirtualPieces));
  }
  return absl::OkStatus();
}

// The data ranks share the microbatches of every step in equal parts, also during a ramp; and where
// the tree of an invariant sum begins with them, its nodes must fall on their microbatches.
absl::Status CheckRamp(const RunConfig& config, const RunLayout& layout) {
  const bool whole_nodes = config.numerics == Numerics::kInvariant && layout.zero >= 2;
  for (int64_t step = 0; step <= config.train.batch_ramp.steps; ++step) {
    const int64_t rows = BatchRows(config, step), count = layout.Microbatches(rows);
    if (whole_nodes && !std::has_single_bit(static_cast<uint64_t>(count))) {
      return Refuse(StrCat("numerics: invariant with parallel.zero ", layout.zero,
                           " takes a power of two of microbatches; step ", step + 1, " has ", count,
                           " (", rows, " sequences / ", layout.microbatch_rows,
                           " of a microbatch). Change data.batch_sequences or "
                           "train.microbatch_sequences, or use zero 1"));
    }
    if (count % layout.DataRanks() == 0) continue;
    return Refuse(StrCat("parallel.data: ", layout.DataRanks(), " does not divide the ", count,
                         " microbatches of step ", step + 1, " (", rows, " sequences / ",
                         layout.microbatch_rows, " of a microbatch)"));
  }
  return absl::OkStatus();
}

}  // namespace

ModelLimits LimitsOf(const RunConfig& config, int64_t microbatch_rows) {
  const ModelConfig& model = config.model;
  return {.layers = model.layers,
          .hidden = model.hidden,
          .heads = model.heads,
          .kv_heads = model.NumKvHeads(),
          .ffn = model.ffn,
          .experts = model.moe.experts,
          .expert_width = model.moe.width,
          .vocab = model.vocab_size.value_or(std::numeric_limits<int>::max()),
          .microbatches = (config.data.batch_sequences + microbatch_rows - 1) / microbatch_rows,
          .tokens = config.data.sequence_length * microbatch_rows};
}

absl::StatusOr<RunLayout> PlanLayout(const RunConfig& config, int world, int node_size) {
  const ParallelConfig& p = config.parallel;
  CHECK(!p.auto_layout) << "the layout is not chosen";
  RunLayout layout;
  // The number of microbatches may follow the data ranks, which follow the other degrees.
  const int others = p.pipeline * p.context * p.tensor;
  const int data = p.data.value_or(std::max(1, world / others));
  layout.microbatch_rows = MicrobatchRows(config, data);
  ASSIGN_OR_RETURN(layout.degrees,
                   ResolveDegrees(p, world, LimitsOf(config, layout.microbatch_rows)));
  layout.context_method = p.context_method;
  layout.zero = ZeroStage(p, layout.degrees);
  ASSIGN_OR_RETURN(layout.exchange, PlanExchanges(config, layout.degrees, node_size));
  RETURN_IF_ERROR(CheckMeans(config, layout.DataRanks()));
  RETURN_IF_ERROR(CheckBlocks(config, layout.degrees));
  RETURN_IF_ERROR(CheckInvariant(config, layout.degrees));
  RETURN_IF_ERROR(CheckRamp(config, layout));
  const int64_t microbatches = layout.Microbatches(config.data.batch_sequences);
  const int chunks = p.schedule == PipelineKind::kDualPipeV ? 2 : p.virtual_stages;
  const bool piped = layout.degrees.pipe > 1;
  layout.schedule = {piped ? p.schedule : PipelineKind::k1f1b, layout.degrees.pipe,
                     piped ? chunks : 1, static_cast<int>(microbatches / layout.DataRanks())};
  RETURN_IF_ERROR(CheckSchedule(layout.schedule));
  ASSIGN_OR_RETURN(layout.stages, SplitLayers({.layers = config.model.layers,
                                               .stages = layout.schedule.stages(),
                                               .counts = p.layers_per_stage}));
  return layout;
}

WorldOptions WorldOptionsOf(const RunConfig& config) {
  WorldOptions options;
  options.sum_order = SumOrderOf(config.numerics);
  options.check = config.parallel.check_collectives;
  options.timeout_s = config.parallel.timeout_s;
  return options;
}

std::string Describe(const RunLayout& layout) {
  const Degrees& d = layout.degrees;
  const Mesh mesh(d);
  std::string text = StrCat(mesh.size(), mesh.size() == 1 ? " rank" : " ranks");
  auto add = [&text, first = true](const std::string& what) mutable {
    text += (first ? ": " : ", ") + what;
    first = false;
  };
  if (layout.DataRanks() > 1) add(StrCat("data ", layout.DataRanks()));
  if (d.shard > 1) add(StrCat("shard ", d.shard, " (zero ", layout.zero, ")"));
  if (d.context > 1) {
    add(StrCat("context ", d.context, " (", EnumToString(layout.context_method), ")"));
  }
  if (d.tensor > 1) add(StrCat("tensor ", d.tensor));
  if (d.expert > 1) add(StrCat("expert ", d.expert));
  if (d.expert_tensor > 1) add(StrCat("expert_tensor ", d.expert_tensor));
  if (layout.exchange.pieces > 1) add(StrCat("expert_chunks ", layout.exchange.pieces));
  if (layout.exchange.node_size > 0) {
    add(StrCat("exchange over nodes of ", layout.exchange.node_size));
  }
  if (d.pipe > 1) add(StrCat("pipeline ", d.pipe, " (", Name(layout.schedule.kind), ")"));
  return text;
}

}  // namespace choir
