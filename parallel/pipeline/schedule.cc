#include "parallel/pipeline/schedule.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/check.h"
#include "base/strings.h"
#include "parallel/pipeline/rank_actions.h"

namespace choir {
namespace {

constexpr std::array<std::pair<PipelineKind, std::string_view>, 5> kNames{
    {{PipelineKind::kGpipe, "gpipe"},
     {PipelineKind::k1f1b, "1f1b"},
     {PipelineKind::kInterleaved, "interleaved"},
     {PipelineKind::kZeroBubble, "zero_bubble"},
     {PipelineKind::kDualPipeV, "dualpipev"}}};

bool IsForward(ActionKind kind) { return kind == ActionKind::kForward; }

absl::Status Refused(const ScheduleSpec& spec, const std::string& why) {
  return absl::InvalidArgumentError(
      choir::StrCat("pipeline schedule ", Name(spec.kind), ": ", why));
}

}  // namespace

std::string_view Name(PipelineKind kind) {
  for (const auto& [known, name] : kNames) {
    if (known == kind) return name;
  }
  CHECK(false) << "kind " << static_cast<int>(kind);
  return {};
}

absl::StatusOr<PipelineKind> ParsePipelineKind(std::string_view name) {
  std::string all;
  for (const auto& [kind, known] : kNames) {
    if (known == name) return kind;
    all += choir::StrCat(all.empty() ? "" : ", ", known);
  }
  return absl::InvalidArgumentError(
      choir::StrCat("'", name, "' is no pipeline schedule; there are ", all));
}

absl::Status CheckSchedule(const ScheduleSpec& spec) {
  const int p = spec.ranks, v = spec.chunks, m = spec.microbatches;
  if (p < 1 || v < 1 || m < 1) {
    return Refused(spec, choir::StrCat(p, " ranks, ", v, " stages of each and ", m,
                                       " microbatches: each must be at least 1"));
  }
  if (int64_t{p} * v > kMaxStages) {
    return Refused(spec, choir::StrCat(p, " ranks with ", v, " stages each are ", int64_t{p} * v,
                                       " stages; at most ", kMaxStages, " are possible"));
  }
  if (spec.kind == PipelineKind::kDualPipeV) {
    if (v != 2) return Refused(spec, choir::StrCat("each rank has 2 stages, not ", v));
    if (m < 2 * p) {
      return Refused(spec, choir::StrCat(m, " microbatches are too few for ", p,
                                         " ranks: at least ", 2 * p, " are needed"));
    }
  } else if (spec.kind != PipelineKind::kInterleaved && v != 1) {
    return Refused(spec,
                   choir::StrCat("each rank has 1 stage, not ", v, "; interleaved takes more"));
  }
  return absl::OkStatus();
}

int StageOwner(const ScheduleSpec& spec, int stage) {
  CHECK(stage >= 0 && stage < spec.stages()) << "stage " << stage << " of " << spec.stages();
  if (spec.kind == PipelineKind::kDualPipeV && stage >= spec.ranks) {
    return 2 * spec.ranks - 1 - stage;
  }
  return stage % spec.ranks;
}

std::vector<int> StagesOf(const ScheduleSpec& spec, int rank) {
  CHECK(rank >= 0 && rank < spec.ranks) << "rank " << rank << " of " << spec.ranks;
  if (spec.kind == PipelineKind::kDualPipeV) return {rank, 2 * spec.ranks - 1 - rank};
  std::vector<int> stages;
  for (int chunk = 0; chunk < spec.chunks; ++chunk) stages.push_back(chunk * spec.ranks + rank);
  return stages;
}

std::string ToString(const Action& action) {
  static constexpr std::array<std::string_view, 4> kWhat{"forward", "backward", "input gradients",
                                                         "weight gradients"};
  return choir::StrCat(kWhat[static_cast<size_t>(action.kind)], " of stage ", action.stage,
                       ", microbatch ", action.microbatch);
}

std::vector<Action> RankActions(const ScheduleSpec& spec, int rank) {
  const absl::Status status = CheckSchedule(spec);
  CHECK(status.ok()) << status.message();
  CHECK(rank >= 0 && rank < spec.ranks) << "rank " << rank << " of " << spec.ranks;
  switch (spec.kind) {
    case PipelineKind::kGpipe:
      return internal::GpipeActions(spec, rank);
    case PipelineKind::k1f1b:
    case PipelineKind::kInterleaved:
      return internal::InterleavedActions(spec, rank);
    case PipelineKind::kZeroBubble:
      return internal::ZeroBubbleActions(spec, rank);
    case PipelineKind::kDualPipeV:
      return internal::DualPipeVActions(spec, rank);
  }
  return {};
}

std::optional<Handover> InputOf(const ScheduleSpec& spec, const Action& action) {
  if (action.kind == ActionKind::kBackwardWeight) return std::nullopt;
  const int other = action.stage + (IsForward(action.kind) ? -1 : 1);
  if (other < 0 || other >= spec.stages()) return std::nullopt;
  return Handover{!IsForward(action.kind), action.stage, action.microbatch, StageOwner(spec, other),
                  StageOwner(spec, action.stage)};
}

std::optional<Handover> OutputOf(const ScheduleSpec& spec, const Action& action) {
  if (action.kind == ActionKind::kBackwardWeight) return std::nullopt;
  const int other = action.stage + (IsForward(action.kind) ? 1 : -1);
  if (other < 0 || other >= spec.stages()) return std::nullopt;
  return Handover{!IsForward(action.kind), other, action.microbatch, StageOwner(spec, action.stage),
                  StageOwner(spec, other)};
}

std::optional<double> ScheduleBubble(const ScheduleSpec& spec, const StageCosts& costs) {
  const double f = costs.forward, b = costs.backward_input, w = costs.backward_weight;
  const int ramp = spec.ranks - 1, missing = std::max(0, spec.ranks - spec.microbatches);
  if (costs.send != 0) return std::nullopt;
  switch (spec.kind) {
    case PipelineKind::kGpipe:
    case PipelineKind::k1f1b:
      return ramp * (f + b + w);
    case PipelineKind::kInterleaved:
      return (ramp + missing * (spec.chunks - 1)) * (f + b + w);
    case PipelineKind::kZeroBubble:
      if (w > std::min(f, b)) return std::nullopt;
      return ramp * (f + b - w) + missing * w;
    case PipelineKind::kDualPipeV:
      if (costs.pair) {
        if (f != b || f != w || *costs.pair != f + b + w) return std::nullopt;
        return ramp * (*costs.pair + b + w - 3 * w);
      }
      if (b > std::min(f, w) || f > b + w) return std::nullopt;
      return ramp * f;
  }
  return std::nullopt;
}

int64_t MaxInFlight(const ScheduleSpec& spec, int rank) {
  const int64_t m = spec.microbatches, p = spec.ranks, v = spec.chunks;
  switch (spec.kind) {
    case PipelineKind::kGpipe:
      return p == 1 ? 1 : m;
    case PipelineKind::k1f1b:
    case PipelineKind::kInterleaved:
      return std::min<int64_t>(m * v, internal::WarmupForwards(spec, rank) + 1);
    case PipelineKind::kZeroBubble:
      return std::min(m, p);
    case PipelineKind::kDualPipeV:
      return 2 * p + 1;
  }
  return 0;
}

}  // namespace choir
