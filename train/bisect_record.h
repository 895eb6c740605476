// What a step of a run computes, in global order: whole tensors that do not show which rank had
// which part. For `choir bisect`.
#pragma once

#include <compare>
#include <cstdint>
#include <limits>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "ops/tape.h"
#include "parallel/tokens.h"
#include "train/trainer.h"

namespace choir {

// The parts of a step in the order in which one rank runs them. The first is of the first step
// only.
enum class StepPart : uint8_t {
  kInitialState,
  kForward,
  kTokenLoss,
  kBackward,
  kLoss,
  kParameterGradients,
  kGradNorm,
  kState  // after the update
};

inline constexpr int64_t kBeforeMicrobatches = -1;
inline constexpr int64_t kAfterMicrobatches = std::numeric_limits<int64_t>::max();

// Names one tensor of a step; keys ascend in the order of computation on one rank, which runs each
// microbatch forward and backward before the next.
struct RecordKey {
  int64_t microbatch = kAfterMicrobatches;  // counted over all data ranks
  StepPart part = StepPart::kForward;
  int64_t order = 0;  // within the part
  std::string name;
  int layer = -1;  // -1: of no layer
  auto operator<=>(const RecordKey&) const = default;
};

struct StepRecord {
  struct Entry {
    Tensor tensor;
    uint64_t hash = 0;  // of its bytes
  };
  std::map<RecordKey, Entry> tensors;
  std::map<std::string, Tensor> state;  // the tensors of kState, by name
  double lr = 0;
  // Not OK if the step came to no update (a gradient that is not finite); then without kState.
  absl::Status status;
};

// Gathers one step of all ranks of a job whose ranks are threads.
class StepRecorder {
 public:
  // Rows of a tensor, those of `runs`. Copies. Any thread.
  void AddRows(const RecordKey& key, const RowRuns& runs, const Tensor& part);
  // A whole tensor, once. Copies. Any thread.
  void AddWhole(const RecordKey& key, const Tensor& whole) { Add(key, 0, whole); }
  // The step, and forgets it; when all threads have added theirs. CHECKs that the parts of each
  // tensor join without gap or overlap.
  StepRecord Take();

 private:
  // Rows [begin, begin + rows of `part`).
  void Add(const RecordKey& key, int64_t begin, const Tensor& part);

  std::mutex mutex_;
  std::map<RecordKey, std::map<int64_t, Tensor>> parts_;  // by first row
};

// One rank's eye on its microbatches: adds the residual stream and the normed input of every part
// of a block, their gradients, and the loss of every token. Lives on the rank's thread.
class RankObserver {
 public:
  RankObserver(const Trainer& trainer, StepRecorder& recorder);
  ~RankObserver();
  RankObserver(const RankObserver&) = delete;

  // Around one ComputeGradients.
  void Begin();
  void End();

 private:
  // A forward pass of this rank, in the order in which they run.
  struct Pass {
    int64_t microbatch = 0;
    TokenPlan tokens;
  };
  struct Wanted {
    RecordKey key;
    RowRuns runs;
  };
  void ListPasses();
  int OnResult(std::string_view tag, int layer, const Tensor& result);
  int OnStream(bool normed, int layer, const Tensor& result);

  const Trainer& trainer_;
  StepRecorder& recorder_;
  TapeObserver observer_;
  std::vector<Pass> passes_;
  size_t begun_ = 0;               // passes
  std::map<int, int> norms_;       // of the pass, by layer
  std::vector<Wanted> gradients_;  // by the number that the tape was given
};

// Assembles `parts` and adds them to `recorder` as parts of `part`, on rank 0; parameter gradients
// last first, as backward makes them. All ranks call it. Blocks.
void RecordParts(const Trainer& trainer, const std::vector<Trainer::StateTensor>& parts,
                 StepPart part, StepRecorder& recorder);

}  // namespace choir
