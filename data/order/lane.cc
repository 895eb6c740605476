#include "data/order/lane.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/config_field.h"
#include "base/status.h"
#include "base/strings.h"

namespace choir {

LaneContext::LaneContext(std::shared_ptr<const Corpus> corpus, const DataConfig& config,
                         std::vector<DocumentStream> streams, DataPlan plan, Augmenter augmenter)
    : corpus(std::move(corpus)),
      config(config),
      streams(std::move(streams)),
      plan(std::move(plan)),
      packer(config.sequence_length, config.packing.look_ahead),
      augmenter(std::move(augmenter)) {}

absl::StatusOr<int64_t> LaneContext::NumPositions(const DocumentStream& stream, int64_t i,
                                                  int64_t epoch) const {
  ASSIGN_OR_RETURN(const DocumentHead head, corpus->Head(Split::kTrain, stream, i));
  if (head.length == 0) return 0;
  if (!augmenter.active()) return head.length - 1;
  ASSIGN_OR_RETURN(const TokenDocument document, corpus->Read(Split::kTrain, stream, i));
  return augmenter.Augment(document, epoch).length() - 1;
}

std::vector<int64_t> LanePhase(const LaneContext& context, int64_t lane) {
  const int64_t lanes = context.config.lanes;
  std::vector<int64_t> phase;
  for (const DocumentStream& stream : context.streams) {
    const int64_t mean = stream.labels / std::max<int64_t>(1, stream.documents);
    const Permutation order(static_cast<uint64_t>(lanes),
                            static_cast<uint64_t>(context.config.seed),
                            StrCat("phase/", stream.name), 0);
    const auto place = static_cast<int64_t>(order(static_cast<uint64_t>(lane)));
    phase.push_back(mean * (2 * place + 1 - lanes) / (2 * lanes));
  }
  return phase;
}

Lane::Lane(std::shared_ptr<const LaneContext> context, int64_t index)
    : context_(std::move(context)), index_(index) {
  state_.next.assign(context_->streams.size(), 0);
  state_.drawn = LanePhase(*context_, index);
  upcoming_.resize(context_->streams.size());
  mixture_ = Mixture(WeightsNow());
}

void Lane::SetState(const LaneState& state) {
  CHECK(state.next.size() == upcoming_.size());
  state_ = state;
  upcoming_.assign(upcoming_.size(), std::nullopt);
  mixture_ = Mixture(WeightsNow());
}

bool Lane::UsedUp(int32_t stream, int64_t next) const {
  const int64_t most = context_->plan.mixture.most_documents[stream];
  return most >= 0 && next * context_->config.lanes + index_ >= most;
}

std::vector<int64_t> Lane::WeightsNow() const {
  std::vector<int64_t> weights = context_->plan.mixture.phases[state_.phase].weights;
  for (int32_t s = 0; s < static_cast<int32_t>(weights.size()); ++s) {
    if (UsedUp(s, state_.next[s])) weights[s] = 0;
  }
  return weights;
}

void Lane::ChangeShares() {
  state_.drawn = mixture_.Lead(state_.drawn);
  mixture_ = Mixture(WeightsNow());
}

void Lane::EnterPhase() {
  const std::vector<MixturePhase>& phases = context_->plan.mixture.phases;
  const auto due = [&](int64_t phase) {
    return phase < static_cast<int64_t>(phases.size()) &&
           state_.positions >= phases[phase].from_tokens / context_->config.lanes;
  };
  if (!due(state_.phase + 1)) return;
  while (due(state_.phase + 1)) ++state_.phase;
  ChangeShares();
}

absl::StatusOr<const Lane::Upcoming*> Lane::Peek(int32_t stream) {
  std::optional<Upcoming>& upcoming = upcoming_[stream];
  const DocumentStream& from = context_->streams[stream];
  for (int64_t next = state_.next[stream]; !upcoming.has_value(); ++next) {
    if (UsedUp(stream, next)) return nullptr;
    if (next - state_.next[stream] > from.documents) {
      return absl::InvalidArgumentError(
          StrCat("data.skip.documents or the cleaning leaves nothing of ", from.name,
                 "; leave it out of data.mixture.weights"));
    }
    const int64_t k = next * context_->config.lanes + index_;
    const Permutation order(static_cast<uint64_t>(from.documents),
                            static_cast<uint64_t>(context_->config.seed),
                            StrCat("data/", from.name), static_cast<uint64_t>(k / from.documents));
    const auto place = static_cast<int64_t>(order(static_cast<uint64_t>(k % from.documents)));
    const int64_t epoch = k / from.documents;
    if (!context_->plan.skip_documents.empty()) {
      ASSIGN_OR_RETURN(const DocumentHead head, context_->corpus->Head(Split::kTrain, from, place));
      if (context_->plan.SkipsDocument(head.id)) continue;
    }
    ASSIGN_OR_RETURN(const int64_t positions, context_->NumPositions(from, place, epoch));
    if (positions > 0) upcoming = Upcoming{place, epoch, positions, next + 1};
  }
  return &*upcoming;
}

absl::StatusOr<Piece> Lane::Draw() {
  EnterPhase();
  while (!mixture_.empty()) {
    absl::Status status;
    int32_t used_up = -1;
    const int32_t stream = mixture_.Choose(state_.drawn, [&](int32_t s) {
      const absl::StatusOr<const Upcoming*> upcoming = Peek(s);
      if (!upcoming.ok()) status = upcoming.status();
      if (!upcoming.ok()) return int64_t{1};
      if (*upcoming == nullptr) used_up = s;
      return *upcoming == nullptr ? 1 : (*upcoming)->length;
    });
    RETURN_IF_ERROR(status);
    if (used_up >= 0) {  // what is left of it is all left out
      const int64_t lanes = context_->config.lanes;
      const int64_t most = context_->plan.mixture.most_documents[used_up];
      state_.next[used_up] = (most - index_ + lanes - 1) / lanes;
      ChangeShares();
      continue;
    }
    const Upcoming drawn = *upcoming_[stream];
    upcoming_[stream].reset();
    state_.next[stream] = drawn.next;
    state_.drawn[stream] += drawn.length;
    state_.positions += drawn.length;
    if (UsedUp(stream, drawn.next)) ChangeShares();
    const Piece piece{stream, drawn.document, drawn.epoch, 0, drawn.length};
    context_->packer.Add(piece, state_.packer);
    return piece;
  }
  return absl::OutOfRangeError(
      StrCat("the data is used up: lane ", index_, " has read every document ",
             ScalarText(context_->config.mixture.max_epochs.value_or(0)), " times after ",
             state_.positions, " labels; raise data.mixture.max_epochs, or train fewer steps"));
}

absl::StatusOr<PackedRow> Lane::NextRow() {
  while (state_.packer.ready.empty()) {
    if (context_->packer.HasChoice(state_.packer)) {
      context_->packer.ChooseRow(state_.packer);
    } else {
      RETURN_IF_ERROR(Draw().status());
    }
  }
  PackedRow row = std::move(state_.packer.ready.front());
  state_.packer.ready.pop_front();
  return row;
}

LaneState ChangePlan(const LaneState& state, int64_t lane,
                     const std::shared_ptr<const LaneContext>& before,
                     const std::shared_ptr<const LaneContext>& after) {
  Lane old(before, lane);
  old.SetState(state);
  LaneState changed = state;
  changed.drawn = old.Lead();
  changed.phase = 0;
  const std::vector<MixturePhase>& phases = after->plan.mixture.phases;
  while (changed.phase + 1 < static_cast<int64_t>(phases.size()) &&
         state.positions >= phases[changed.phase + 1].from_tokens / after->config.lanes) {
    ++changed.phase;
  }
  return changed;
}

namespace {

constexpr int64_t kMost = int64_t{1} << 44;  // times lanes stays in 64 bits

void Append(const Piece& piece, std::vector<int64_t>& numbers) {
  numbers.insert(numbers.end(), {piece.stream, piece.document, piece.epoch, piece.offset});
}

// Takes numbers from the front; `sound` turns false at the first that is missing or out of range.
class NumberSource {
 public:
  explicit NumberSource(const std::vector<int64_t>& numbers) : numbers_(numbers) {}
  // A number in [low, high]; `low` if there is none.
  int64_t Take(int64_t low, int64_t high) {
    if (at_ >= numbers_.size() || numbers_[at_] < low || numbers_[at_] > high) {
      sound_ = false;
      return low;
    }
    return numbers_[at_++];
  }
  int64_t left() const { return static_cast<int64_t>(numbers_.size() - at_); }
  bool sound() const { return sound_; }

 private:
  const std::vector<int64_t>& numbers_;
  size_t at_ = 0;
  bool sound_ = true;
};

// A piece, its length left open: all that its document has from its offset on.
bool TakePiece(NumberSource& source, const LaneContext& context, Piece& piece) {
  piece.stream =
      static_cast<int32_t>(source.Take(0, static_cast<int64_t>(context.streams.size()) - 1));
  const DocumentStream& stream = context.streams[piece.stream];
  if (!source.sound() || stream.documents == 0) return false;
  piece.document = source.Take(0, stream.documents - 1);
  piece.epoch = source.Take(0, kMost);
  if (!source.sound()) return false;
  // Whatever is skipped by now: it waited before.
  const absl::StatusOr<int64_t> positions_or =
      context.NumPositions(stream, piece.document, piece.epoch);
  if (!positions_or.ok() || *positions_or == 0) return false;
  const int64_t positions = *positions_or;
  piece.offset = source.Take(0, positions - 1);
  piece.length = positions - piece.offset;
  return source.sound();
}

bool TakeWaiting(NumberSource& source, const LaneContext& context, std::vector<Piece>& waiting) {
  for (int64_t n = source.Take(0, source.left()); n > 0; --n) {
    Piece& piece = waiting.emplace_back();
    if (!TakePiece(source, context, piece)) return false;
    if (piece.length >= context.config.sequence_length) return false;  // would have been cut
  }
  return source.sound();
}

bool TakeRows(NumberSource& source, const LaneContext& context, std::deque<PackedRow>& rows) {
  const int64_t length = context.config.sequence_length;
  for (int64_t r = source.Take(0, source.left()); r > 0; --r) {
    PackedRow& row = rows.emplace_back();
    for (int64_t p = source.Take(1, length); p > 0; --p) {
      Piece& piece = row.pieces.emplace_back();
      if (!TakePiece(source, context, piece)) return false;
      piece.length = source.Take(1, std::min(piece.length, length - row.used));
      row.used += piece.length;
    }
    if (!source.sound()) return false;
  }
  return source.sound();
}

}  // namespace

std::vector<int64_t> LaneStateToNumbers(const LaneState& state) {
  std::vector<int64_t> numbers = state.next;
  numbers.insert(numbers.end(), state.drawn.begin(), state.drawn.end());
  numbers.insert(numbers.end(), {state.positions, state.phase, state.packer.chosen});
  numbers.push_back(static_cast<int64_t>(state.packer.waiting.size()));
  for (const Piece& piece : state.packer.waiting) Append(piece, numbers);
  numbers.push_back(static_cast<int64_t>(state.packer.ready.size()));
  for (const PackedRow& row : state.packer.ready) {
    numbers.push_back(static_cast<int64_t>(row.pieces.size()));
    for (const Piece& piece : row.pieces) {
      Append(piece, numbers);
      numbers.push_back(piece.length);
    }
  }
  return numbers;
}

absl::Status ParseLaneState(const std::vector<int64_t>& numbers, const LaneContext& context,
                            LaneState& state) {
  NumberSource source(numbers);
  state = {};
  for (const DocumentStream& stream : context.streams) {
    state.next.push_back(source.Take(0, stream.documents > 0 ? kMost : 0));
  }
  for (const DocumentStream& stream : context.streams) {
    const int64_t most = stream.documents > 0 ? kMost : 0;
    state.drawn.push_back(source.Take(-most, most));
  }
  state.positions = source.Take(0, kMost);
  state.phase = source.Take(0, static_cast<int64_t>(context.plan.mixture.phases.size()) - 1);
  state.packer.chosen = source.Take(0, kMost);
  if (TakeWaiting(source, context, state.packer.waiting) &&
      TakeRows(source, context, state.packer.ready) && source.left() == 0) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError("damaged: a number is missing or out of its range");
}

}  // namespace choir
