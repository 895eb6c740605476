// A lane: one of data.lanes independent, endless sequences of documents and of the rows they are
// packed into.
//
// The training documents of a stream (data/shard/stream.h), epoch after epoch, each epoch in its
// own order (a cipher permutation keyed by seed, stream and epoch), form an endless sequence;
// document k of it belongs to lane k mod lanes. So each document is in exactly one lane once an
// epoch, and nothing that a lane does depends on other lanes: any process can continue any lane
// from its state.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/random.h"
#include "data/data_config.h"
#include "data/order/augment.h"
#include "data/order/data_plan.h"
#include "data/order/mixture.h"
#include "data/order/packer.h"
#include "data/shard/corpus.h"
#include "data/shard/stream.h"

namespace choir {

// What all lanes of a loader share.
struct LaneContext {
  LaneContext(std::shared_ptr<const Corpus> corpus, const DataConfig& config,
              std::vector<DocumentStream> streams, DataPlan plan, Augmenter augmenter = {});

  // Positions of training document i of a stream in an epoch: its tokens as they are packed, less
  // one; 0 if it is left out.
  absl::StatusOr<int64_t> NumPositions(const DocumentStream& stream, int64_t i,
                                       int64_t epoch) const;

  std::shared_ptr<const Corpus> corpus;
  DataConfig config;
  std::vector<DocumentStream> streams;
  DataPlan plan;
  Packer packer;
  Augmenter augmenter;
};

// LaneState::drawn at the start: between minus and plus half a mean document of each stream, spread
// evenly over the lanes. Without it all lanes would begin with the same streams.
std::vector<int64_t> LanePhase(const LaneContext& context, int64_t lane);

struct LaneState {
  std::vector<int64_t> next;  // by stream: documents drawn, or passed over
  // By stream: positions drawn since the shares of this lane changed last, and what the stream was
  // ahead of its share then.
  std::vector<int64_t> drawn;
  int64_t positions = 0;  // drawn in all
  int64_t phase = 0;      // of the mixture
  PackerState packer;
  bool operator==(const LaneState&) const = default;
};

class Lane {
 public:
  Lane(std::shared_ptr<const LaneContext> context, int64_t index);

  // OutOfRange: every stream has been read max_epochs times. Other errors: of the corpus.
  absl::StatusOr<PackedRow> NextRow();
  // Draws one document into the packer; returns it whole.
  absl::StatusOr<Piece> Draw();

  const LaneState& state() const { return state_; }
  // What each stream is ahead of its share, in positions.
  std::vector<int64_t> Lead() const { return mixture_.Lead(state_.drawn); }
  // The state must come from ParseLaneState with the same context.
  void SetState(const LaneState& state);

 private:
  struct Upcoming {
    int64_t document = 0;
    int64_t epoch = 0;
    int64_t length = 0;  // positions
    int64_t next = 0;    // LaneState::next behind it
  };
  // The next document of a stream; none if it is used up.
  absl::StatusOr<const Upcoming*> Peek(int32_t stream);
  bool UsedUp(int32_t stream, int64_t next) const;
  // Shares as they are now, from the plan and what is used up.
  std::vector<int64_t> WeightsNow() const;
  // Goes on with the phase of the mixture that is due.
  void EnterPhase();
  // Goes on with other shares; what streams are ahead of theirs is kept.
  void ChangeShares();

  std::shared_ptr<const LaneContext> context_;
  int64_t index_;
  LaneState state_;
  // Derived from the state.
  Mixture mixture_;
  std::vector<std::optional<Upcoming>> upcoming_;  // by stream
};

// The state of a lane that goes on with another plan: of the same streams.
LaneState ChangePlan(const LaneState& state, int64_t lane,
                     const std::shared_ptr<const LaneContext>& before,
                     const std::shared_ptr<const LaneContext>& after);

// A state as integers, and back. ParseLaneState reports (InvalidArgument) numbers that no lane of
// this context can have.
std::vector<int64_t> LaneStateToNumbers(const LaneState& state);
absl::Status ParseLaneState(const std::vector<int64_t>& numbers, const LaneContext& context,
                            LaneState& state);

}  // namespace choir
