#include "data/order/lane.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/status.h"
#include "base/strings.h"

namespace choir {

LaneContext::LaneContext(std::shared_ptr<const TokenCorpus> corpus, const DataConfig& config,
                         std::vector<int64_t> weights)
    : corpus(std::move(corpus)),
      config(config),
      mixture(std::move(weights)),
      packer(config.sequence_length, config.packing.open_bins) {}

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
    const int64_t tokens = corpus.GetDocument(Split::kTrain, language, document).length;
    upcoming = Upcoming{document, tokens - 1};
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
  const Piece piece{language, drawn.document, 0, drawn.length};
  context_->packer.Add(piece, state_.packer);
  return piece;
}

PackedRow Lane::NextRow() {
  while (state_.packer.ready.empty()) Draw();
  PackedRow row = std::move(state_.packer.ready.front());
  state_.packer.ready.pop_front();
  return row;
}

namespace {

void Append(const auto& rows, std::vector<int64_t>& numbers) {
  numbers.push_back(static_cast<int64_t>(rows.size()));
  for (const PackedRow& row : rows) {
    numbers.push_back(static_cast<int64_t>(row.pieces.size()));
    for (const Piece& piece : row.pieces) {
      numbers.insert(numbers.end(), {piece.language, piece.document, piece.offset, piece.length});
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
  const TokenCorpus& corpus = *context.corpus;
  const int64_t length = context.config.sequence_length;
  const auto last_language = static_cast<int64_t>(corpus.languages().size()) - 1;
  const int64_t num_rows = source.Take(0, source.left());
  for (int64_t r = 0; r < num_rows && source.sound(); ++r) {
    PackedRow& row = rows.emplace_back();
    const int64_t num_pieces = source.Take(1, length);
    for (int64_t p = 0; p < num_pieces && source.sound(); ++p) {
      Piece piece;
      piece.language = static_cast<int32_t>(source.Take(0, last_language));
      const int64_t documents = corpus.NumDocuments(Split::kTrain, piece.language);
      if (documents == 0) {
        source.Take(1, 0);
        return;
      }
      piece.document = source.Take(0, documents - 1);
      const int64_t positions =
          corpus.GetDocument(Split::kTrain, piece.language, piece.document).length - 1;
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
  numbers.push_back(state.packer.finished);
  Append(state.packer.open, numbers);
  Append(state.packer.ready, numbers);
  return numbers;
}

absl::Status ParseLaneState(const std::vector<int64_t>& numbers, const LaneContext& context,
                            LaneState& state) {
  constexpr int64_t kMost = int64_t{1} << 44;  // times lanes stays in 64 bits
  const std::vector<int64_t>& weights = context.mixture.weights();
  NumberSource source(numbers);
  state = {};
  for (const int64_t weight : weights) state.next.push_back(source.Take(0, weight > 0 ? kMost : 0));
  for (const int64_t weight : weights)
    state.drawn.push_back(source.Take(0, weight > 0 ? kMost : 0));
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
