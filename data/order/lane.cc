#include "data/order/lane.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/config_field.h"
#include "base/status.h"
#include "base/strings.h"

namespace choir {

LaneContext::LaneContext(std::shared_ptr<const TokenCorpus> corpus, const DataConfig& config,
                         std::vector<DocumentStream> streams, DataPlan plan)
    : corpus(std::move(corpus)),
      config(config),
      streams(std::move(streams)),
      plan(std::move(plan)),
      packer(config.sequence_length, config.packing.open_bins) {}

std::vector<DocumentStream> ListStreams(const TokenCorpus& corpus, const MixtureConfig& config) {
  std::vector<DocumentStream> streams;
  for (int32_t l = 0; l < static_cast<int32_t>(corpus.languages().size()); ++l) {
    streams.push_back({l, kAllSources, corpus.languages()[l],
                       corpus.NumDocuments(Split::kTrain, l), corpus.NumLabels(Split::kTrain, l)});
  }
  return streams;
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
      return absl::InvalidArgumentError(StrCat("data.skip.documents leaves nothing of ", from.name,
                                               "; leave it out of data.mixture.weights"));
    }
    const int64_t k = next * context_->config.lanes + index_;
    const Permutation order(static_cast<uint64_t>(from.documents),
                            static_cast<uint64_t>(context_->config.seed),
                            StrCat("data/", from.name), static_cast<uint64_t>(k / from.documents));
    const auto place = static_cast<int64_t>(order(static_cast<uint64_t>(k % from.documents)));
    const TokenDocument document =
        context_->corpus->GetDocument(Split::kTrain, from.language, place);
    if (context_->plan.SkipsDocument(document.id)) continue;
    upcoming = Upcoming{place, document.length - 1, next + 1};
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
    const Piece piece{stream, drawn.document, 0, drawn.length};
    context_->packer.Add(piece, state_.packer);
    return piece;
  }
  return absl::OutOfRangeError(
      StrCat("the data is used up: lane ", index_, " has read every document ",
             ScalarText(context_->config.mixture.max_epochs.value_or(0)),
             " times after ", state_.positions,
             " labels; raise data.mixture.max_epochs, or train fewer steps"));
}

absl::StatusOr<PackedRow> Lane::NextRow() {
  while (state_.packer.ready.empty()) RETURN_IF_ERROR(Draw().status());
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

void Append(const auto& rows, std::vector<int64_t>& numbers) {
  numbers.push_back(static_cast<int64_t>(rows.size()));
  for (const PackedRow& row : rows) {
    numbers.push_back(static_cast<int64_t>(row.pieces.size()));
    for (const Piece& piece : row.pieces) {
      numbers.insert(numbers.end(), {piece.stream, piece.document, piece.offset, piece.length});
    }
  }
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

void TakeRows(NumberSource& source, const LaneContext& context, auto& rows) {
  const int64_t length = context.config.sequence_length;
  const auto last_stream = static_cast<int64_t>(context.streams.size()) - 1;
  const int64_t num_rows = source.Take(0, source.left());
  for (int64_t r = 0; r < num_rows && source.sound(); ++r) {
    PackedRow& row = rows.emplace_back();
    const int64_t num_pieces = source.Take(1, length);
    for (int64_t p = 0; p < num_pieces && source.sound(); ++p) {
      Piece piece;
      piece.stream = static_cast<int32_t>(source.Take(0, last_stream));
      const DocumentStream& stream = context.streams[piece.stream];
      if (stream.documents == 0) {
        source.Take(1, 0);
        return;
      }
      piece.document = source.Take(0, stream.documents - 1);
      const int64_t positions =
          context.corpus->GetDocument(Split::kTrain, stream.language, piece.document).length - 1;
      piece.offset = source.Take(0, positions - 1);
      piece.length = source.Take(1, std::min(positions - piece.offset, length - row.used));
      row.used += piece.length;
      row.pieces.push_back(piece);
    }
  }
}

}  // namespace

std::vector<int64_t> LaneStateToNumbers(const LaneState& state) {
  std::vector<int64_t> numbers = state.next;
  numbers.insert(numbers.end(), state.drawn.begin(), state.drawn.end());
  numbers.insert(numbers.end(), {state.positions, state.phase, state.packer.finished});
  Append(state.packer.open, numbers);
  Append(state.packer.ready, numbers);
  return numbers;
}

absl::Status ParseLaneState(const std::vector<int64_t>& numbers, const LaneContext& context,
                            LaneState& state) {
  constexpr int64_t kMost = int64_t{1} << 44;  // times lanes stays in 64 bits
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
  state.packer.finished = source.Take(0, kMost);
  TakeRows(source, context, state.packer.open);
  TakeRows(source, context, state.packer.ready);
  if (source.sound() && source.left() == 0 &&
      static_cast<int64_t>(state.packer.open.size()) <= context.config.packing.open_bins) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError("damaged: a number is missing or out of its range");
}

}  // namespace choir
