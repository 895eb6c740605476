// Pipeline schedules: which rank runs which piece of work in which order. Pure functions of a few
// numbers; what is sent and received follows from the actions.
//
// A model is cut into stages 0 .. P V - 1 of consecutive layers; each of the P ranks of the pipe
// axis owns V of them (its chunks). A step runs M microbatches through all stages, forward and
// backward. A stage runs its microbatches in ascending order in each of the three passes, in every
// schedule.
//
// With F, B and W the time of one stage's forward pass, of its input gradients and of its weight
// gradients, equal for all stages, and no time to send, a rank works M V (F + B + W) and waits the
// rest of the step, its bubble (ScheduleBubble). MaxInFlight is the memory: the microbatches whose
// activations a rank holds at once, counted in stages.
//
//   kind         V  bubble                                      in flight on rank r
//   gpipe        1  (P-1)(F+B+W)                                M; 1 if P = 1
//   1f1b         1  (P-1)(F+B+W)                                min(M, P - r)
//   interleaved  V  (P-1 + max(0,P-M)(V-1))(F+B+W)              min(M V, 2(P-1-r) + (V-1)G + 1);
//                                                               as 1f1b if V = 1
//   zero_bubble  1  (P-1)(F+B-W) + max(0,P-M) W                 min(M, P)
//                   if W <= min(F, B)
//   dualpipev    2  (P-1) F   if B <= min(F, W), F <= B + W     2P + 1
//
// Where they come from. Rank r can start when F has run r times and the last backward pass leaves
// rank 0 last: the first three are idle (P - 1) forward and (P - 1) backward times. With V chunks
// these are V times shorter, the gain of interleaving; a group of fewer than P microbatches comes
// back to rank 0 before rank 0 can feed it to its next chunk, P - M too few for each of V - 1
// returns. zero_bubble sends gradients on before it works on its weights, so a bubble's backward
// part is (P - 1) B, of which the weights put off on the way fill (P - 1) W; with M < P there are
// P - M too few of them. In dualpipev the turn of the V is on one rank: the first microbatch comes
// back to rank 0 exactly when rank 0 needs it, and only the way down to a rank is idle.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace choir {

enum class PipelineKind : uint8_t {
  kGpipe,        // all forward passes, then all backward passes (Huang et al. 2019). With one rank:
                 // plain accumulation, each backward pass behind its forward pass
  k1f1b,         // one forward, one backward (Narayanan et al. 2021a, PipeDream-flush)
  kInterleaved,  // rank r owns stages r, P + r, 2P + r, ...; groups of microbatches pass one chunk
                 // after another (Narayanan et al. 2021b). Any M: there are max(1, M / P) groups of
                 // at least P each, sizes one apart at most; G of the table is the largest
  kZeroBubble,   // ZB-H1 (Qi et al. 2024): as 1f1b, but the weight gradients of rank r are r
                 // microbatches late, so that all ranks hold as much as rank 0
  kDualPipeV  // DualPipe (DeepSeek-V3 2024, section 3.2) cut in half (Qi et al. 2025): rank r owns
              // stages r and 2P - 1 - r, a forward pass of one chunk is paired with a backward
              // pass of the other. M >= 2P
};
std::string_view Name(PipelineKind kind);  // "gpipe", "1f1b", "interleaved", ...
// An error lists the names.
absl::StatusOr<PipelineKind> ParsePipelineKind(std::string_view name);

struct ScheduleSpec {
  PipelineKind kind = PipelineKind::k1f1b;
  int ranks = 1;   // P, along the pipe axis
  int chunks = 1;  // V, stages of each rank
  int microbatches = 1;

  int stages() const { return ranks * chunks; }
};
// At most this many stages.
inline constexpr int kMaxStages = 1 << 12;
// Whether the kind can run these numbers; the error says which do not fit and what would. All other
// functions here CHECK it.
absl::Status CheckSchedule(const ScheduleSpec& spec);

int StageOwner(const ScheduleSpec& spec, int stage);
// Ascending; the chunks of the rank.
std::vector<int> StagesOf(const ScheduleSpec& spec, int rank);

enum class ActionKind : uint8_t {
  kForward,
  kBackward,       // gradients of input and weights
  kBackwardInput,  // of the input only, ...
  kBackwardWeight  // ... and the rest of it, at any time behind
};

struct Action {
  ActionKind kind = ActionKind::kForward;
  int stage = 0;
  int microbatch = 0;
  // May run at the same time as the action behind it, which depends on it in no way: a forward pass
  // whose communication hides behind the backward pass of the other chunk, and vice versa.
  bool paired = false;

  bool operator==(const Action&) const = default;
};
std::string ToString(const Action& action);  // "forward of stage 3, microbatch 7"

// What one rank runs, in order.
std::vector<Action> RankActions(const ScheduleSpec& spec, int rank);

// A tensor on its way between two neighbouring stages.
struct Handover {
  bool gradient = false;  // of the activation between the stages, else the activation
  int stage = 0;          // that receives it: above the sender for activations, below for gradients
  int microbatch = 0;
  int from = 0, to = 0;  // ranks; equal at the turn of dualpipev and with one rank

  bool operator==(const Handover&) const = default;
};
// What the action needs from another stage: none for the first stage's forward pass, the last
// stage's backward pass (it starts at the loss) and weight gradients.
std::optional<Handover> InputOf(const ScheduleSpec& spec, const Action& action);
// What another stage needs from it.
std::optional<Handover> OutputOf(const ScheduleSpec& spec, const Action& action);

// Times of one stage, in any unit.
struct StageCosts {
  double forward = 1;
  double backward_input = 1;
  double backward_weight = 1;
  double send = 0;  // from the end of an action to the start of one on another rank
  // Paired actions run as one that takes this long and starts when both can; none: one by one.
  std::optional<double> pair;
};
// Time that a rank is idle, by the formulas above; none where no formula is known for these costs.
// With `pair`, dualpipev has the published one: (P-1)(pair + B+W - 3W), if F = B = W and
// pair = F + B + W.
std::optional<double> ScheduleBubble(const ScheduleSpec& spec, const StageCosts& costs);

// Activations held by the rank at its fullest, each of one stage and one microbatch: from the
// forward pass until the last of the backward pass.
int64_t MaxInFlight(const ScheduleSpec& spec, int rank);

}  // namespace choir
