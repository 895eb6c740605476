#include "data/order/packer.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "base/check.h"

namespace choir {
namespace {

// Room and number of pieces that are solved exactly, which bounds the table to 256 KiB. In longer
// rows the oldest pieces come first, until this much room is left.
constexpr int64_t kExactRoom = 8192;
constexpr size_t kExactPieces = 256;

// The sums of subsets of pieces up to a limit. Row k of the table has bit s set if some of the
// pieces k, k + 1, ... sum to s.
class SubsetSums {
 public:
  SubsetSums(const std::vector<int64_t>& lengths, int64_t limit)
      : lengths_(lengths), words_(static_cast<size_t>(limit / 64 + 1)) {
    const size_t n = lengths.size();
    table_.assign((n + 1) * words_, 0);
    table_[n * words_] = 1;
    for (size_t k = n; k-- > 0;) AddPiece(k);
    best_ = limit;
    while (!Has(0, best_)) --best_;
  }

  // The largest sum that some of the pieces have.
  int64_t best() const { return best_; }
  // Pieces that have it, the earliest that can be: ascending.
  std::vector<size_t> Choose() const {
    std::vector<size_t> chosen;
    int64_t sum = best_;
    for (size_t k = 0; sum > 0; ++k) {
      if (lengths_[k] > sum || !Has(k + 1, sum - lengths_[k])) continue;
      chosen.push_back(k);
      sum -= lengths_[k];
    }
    return chosen;
  }

 private:
  bool Has(size_t k, int64_t sum) const {
    return (table_[k * words_ + static_cast<size_t>(sum / 64)] >> (sum % 64) & 1) != 0;
  }
  // Row k: row k + 1, and it shifted by the length of piece k.
  void AddPiece(size_t k) {
    const auto word = static_cast<size_t>(lengths_[k] / 64);
    const int bit = static_cast<int>(lengths_[k] % 64);
    uint64_t* const to = &table_[k * words_];
    const uint64_t* const from = &table_[(k + 1) * words_];
    std::copy(from, from + words_, to);
    for (size_t w = word; w < words_; ++w) {
      to[w] |= from[w - word] << bit;
      if (bit > 0 && w > word) to[w] |= from[w - word - 1] >> (64 - bit);
    }
  }

  const std::vector<int64_t>& lengths_;
  size_t words_;
  std::vector<uint64_t> table_;
  int64_t best_ = 0;
};

void Append(const Piece& piece, PackedRow& row) {
  row.used += piece.length;
  row.pieces.push_back(piece);
}

// Marks the pieces of `waiting` from `first` on that fill `room` best.
void TakeBest(const std::vector<Piece>& waiting, size_t first, int64_t room,
              std::vector<bool>& taken) {
  std::vector<size_t> places;
  for (size_t i = first; i < waiting.size() && places.size() < kExactPieces; ++i) {
    if (!taken[i] && waiting[i].length <= room) places.push_back(i);
  }
  if (places.empty()) return;
  std::ranges::stable_sort(places, std::greater(),
                           [&](size_t place) { return waiting[place].length; });
  std::vector<int64_t> lengths;
  for (const size_t place : places) lengths.push_back(waiting[place].length);
  for (const size_t k : SubsetSums(lengths, room).Choose()) taken[places[k]] = true;
}

}  // namespace

void Packer::Add(Piece piece, PackerState& state) const {
  CHECK(piece.length > 0);
  while (piece.length >= length_) {
    Piece full = piece;
    full.length = length_;
    Append(full, state.ready.emplace_back());
    piece.offset += length_;
    piece.length -= length_;
  }
  if (piece.length > 0) state.waiting.push_back(piece);
}

bool Packer::HasChoice(const PackerState& state) const {
  if (static_cast<int64_t>(state.waiting.size()) < look_ahead_) return false;
  int64_t sum = 0;
  for (const Piece& piece : state.waiting) sum += piece.length;
  return sum >= 2 * length_;
}

void Packer::ChooseRow(PackerState& state) const {
  std::vector<Piece>& waiting = state.waiting;
  CHECK(!waiting.empty());
  std::vector<bool> taken(waiting.size(), false);
  int64_t room = length_;
  size_t first = 0;
  const auto take_oldest = [&] {
    if (waiting[first].length <= room) {
      taken[first] = true;
      room -= waiting[first].length;
    }
    ++first;
  };
  if (state.chosen % kOldestEvery == 0) take_oldest();
  while (room > kExactRoom && first < waiting.size()) take_oldest();
  TakeBest(waiting, first, room, taken);
  PackedRow& row = state.ready.emplace_back();
  size_t kept = 0;
  for (size_t i = 0; i < waiting.size(); ++i) {
    if (taken[i]) {
      Append(waiting[i], row);
    } else {
      waiting[kept++] = waiting[i];
    }
  }
  waiting.resize(kept);
  ++state.chosen;
}

void Packer::Flush(PackerState& state) const {
  while (!state.waiting.empty()) ChooseRow(state);
}

}  // namespace choir
