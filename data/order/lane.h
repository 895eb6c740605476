// A lane: one of data.lanes independent, endless sequences of documents and of the rows they are
// packed into.
//
// The training documents of a language, epoch after epoch, each epoch in its own order (a cipher
// permutation keyed by seed, language and epoch), form an endless stream; document k of it belongs
// to lane k mod lanes. So each document is in exactly one lane once an epoch, and nothing that a
// lane does depends on other lanes: any process can continue any lane from its state.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "base/random.h"
#include "data/data_config.h"
#include "data/order/augment.h"
#include "data/order/mixture.h"
#include "data/order/packer.h"
#include "data/shard/token_corpus.h"

namespace choir {

// What all lanes of a loader share.
struct LaneContext {
  LaneContext(std::shared_ptr<const TokenCorpus> corpus, const DataConfig& config,
              std::vector<int64_t> weights, Augmenter augmenter = {});

  // Positions of a training document in an epoch: its tokens as they are packed, less one.
  int64_t NumPositions(int32_t language, int64_t document, int64_t epoch) const;

  std::shared_ptr<const TokenCorpus> corpus;
  DataConfig config;
  Mixture mixture;
  Packer packer;
  Augmenter augmenter;
};

// tokens_l of data/order/mixture.h that a lane starts with: between minus and plus half a mean
// document of language l, spread evenly over the lanes. Without it all lanes would begin with the
// same languages.
std::vector<int64_t> LanePhase(const LaneContext& context, int64_t lane);

struct LaneState {
  std::vector<int64_t> next;   // by language: documents drawn
  std::vector<int64_t> drawn;  // by language: positions drawn
  PackerState packer;
  bool operator==(const LaneState&) const = default;
};

class Lane {
 public:
  Lane(std::shared_ptr<const LaneContext> context, int64_t index);

  PackedRow NextRow();
  // Draws one document into the packer; returns it whole.
  Piece Draw();

  const LaneState& state() const { return state_; }
  // The state must come from ParseLaneState with the same context.
  void SetState(const LaneState& state);

 private:
  struct Upcoming {
    int64_t document = 0;
    int64_t epoch = 0;
    int64_t length = 0;  // positions
  };
  // The next document of a language.
  const Upcoming& Peek(int32_t language);

  std::shared_ptr<const LaneContext> context_;
  int64_t index_;
  LaneState state_;
  std::vector<int64_t> phase_;  // by language
  // Derived from the state: by language.
  std::vector<std::optional<Upcoming>> upcoming_;
};

// A state as integers, and back. ParseLaneState reports (InvalidArgument) numbers that no lane of
// this context can have.
std::vector<int64_t> LaneStateToNumbers(const LaneState& state);
absl::Status ParseLaneState(const std::vector<int64_t>& numbers, const LaneContext& context,
                            LaneState& state);

}  // namespace choir
