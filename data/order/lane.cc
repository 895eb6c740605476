#include "data/order/lane.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/status.h"
#include "base/strings.h"

namespace choir {

LaneContext::LaneContext(std::shared_ptr<const TokenCorpus> corpus, const DataConfig& config,
                         std::vector<int64_t> weights, Augmenter augmenter)
    : corpus(std::move(corpus)),
      config(config),
      mixture(std::move(weights)),
      packer(config.sequence_length, config.packing.look_ahead),
      augmenter(std::move(augmenter)) {}

int64_t LaneContext::NumPositions(int32_t language, int64_t document, int64_t epoch) const {
  if (!augmenter.active()) return corpus->DocumentLength(Split::kTrain, language, document) - 1;
  const TokenDocument whole = corpus->GetDocument(Split::kTrain, language, document);
  return augmenter.Augment(whole, epoch).length() - 1;
}

std::vector<int64_t> LanePhase(const LaneContext& context, int64_t lane) {
  const TokenCorpus& corpus = *context.corpus;
  const int64_t lanes = context.config.lanes;
  std::vector<int64_t> phase;
  for (int32_t l = 0; l < static_cast<int32_t>(corpus.languages().size()); ++l) {
    const int64_t documents = std::max<int64_t>(1, corpus.NumDocuments(Split::kTrain, l));
    const int64_t mean = corpus.NumLabels(Split::kTrain, l) / documents;
    const Permutation order(static_cast<uint64_t>(lanes),
                            static_cast<uint64_t>(context.config.seed),
                            StrCat("phase/", corpus.languages()[l]), 0);
    const auto place = static_cast<int64_t>(order(static_cast<uint64_t>(lane)));
    phase.push_back(mean * (2 * place + 1 - lanes) / (2 * lanes));
  }
  return phase;
}

Lane::Lane(std::shared_ptr<const LaneContext> context, int64_t index)
    : context_(std::move(context)), index_(index), phase_(LanePhase(*context_, index)) {
  const size_t languages = context_->corpus->languages().size();
  state_.next.assign(languages, 0);
  state_.drawn.assign(languages, 0);
  upcoming_.resize(languages);
}

void Lane::SetState(const LaneState& state) {
  CHECK(state.next.size() == upcoming_.size());
  state_ = state;
  upcoming_.assign(upcoming_.size(), std::nullopt);
}

const Lane::Upcoming& Lane::Peek(int32_t language) {
  std::optional<Upcoming>& upcoming = upcoming_[language];
  if (!upcoming.has_value()) {
    const TokenCorpus& corpus = *context_->corpus;
    const int64_t n = corpus.NumDocuments(Split::kTrain, language);
    const int64_t k = state_.next[language] * context_->config.lanes + index_;
    const Permutation order(static_cast<uint64_t>(n), static_cast<uint64_t>(context_->config.seed),
                            StrCat("data/", corpus.languages()[language]),
                            static_cast<uint64_t>(k / n));
    const auto document = static_cast<int64_t>(order(static_cast<uint64_t>(k % n)));
    upcoming = Upcoming{document, k / n, context_->NumPositions(language, document, k / n)};
  }
  return *upcoming;
}

Piece Lane::Draw() {
  std::vector<int64_t> tokens = phase_;
  for (size_t l = 0; l < tokens.size(); ++l) tokens[l] += state_.drawn[l];
  const int32_t language =
      context_->mixture.Choose(tokens, [this](int32_t language) { return Peek(language).length; });
  const Upcoming drawn = Peek(language);
  upcoming_[language].reset();
  ++state_.next[language];
  state_.drawn[language] += drawn.length;
  const Piece piece{language, drawn.document, drawn.epoch, 0, drawn.length};
  context_->packer.Add(piece, state_.packer);
  return piece;
}

PackedRow Lane::NextRow() {
  while (state_.packer.ready.empty()) {
    if (context_->packer.HasChoice(state_.packer)) {
      context_->packer.ChooseRow(state_.packer);
    } else {
      Draw();
    }
  }
  PackedRow row = std::move(state_.packer.ready.front());
  state_.packer.ready.pop_front();
  return row;
}

namespace {

constexpr int64_t kMost = int64_t{1} << 44;  // times lanes stays in 64 bits

void Append(const Piece& piece, std::vector<int64_t>& numbers) {
  numbers.insert(numbers.end(), {piece.language, piece.document, piece.epoch, piece.offset});
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
  const TokenCorpus& corpus = *context.corpus;
  piece.language =
      static_cast<int32_t>(source.Take(0, static_cast<int64_t>(corpus.languages().size()) - 1));
  const int64_t documents = corpus.NumDocuments(Split::kTrain, piece.language);
  if (!source.sound() || documents == 0) return false;
  piece.document = source.Take(0, documents - 1);
  piece.epoch = source.Take(0, kMost);
  const int64_t positions = context.NumPositions(piece.language, piece.document, piece.epoch);
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
  numbers.push_back(state.packer.chosen);
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
  const std::vector<int64_t>& weights = context.mixture.weights();
  NumberSource source(numbers);
  state = {};
  for (const int64_t weight : weights) state.next.push_back(source.Take(0, weight > 0 ? kMost : 0));
  for (const int64_t weight : weights)
    state.drawn.push_back(source.Take(0, weight > 0 ? kMost : 0));
  state.packer.chosen = source.Take(0, kMost);
  if (TakeWaiting(source, context, state.packer.waiting) &&
      TakeRows(source, context, state.packer.ready) && source.left() == 0) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError("damaged: a number is missing or out of its range");
}

}  // namespace choir
