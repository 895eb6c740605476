#include "data/order/packer.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace choir {
namespace {

void Append(const Piece& piece, PackedRow& row) {
  row.used += piece.length;
  row.pieces.push_back(piece);
}

void FinishRow(size_t i, PackerState& state) {
  ++state.finished;
  state.ready.push_back(std::move(state.open[i]));
  state.open.erase(state.open.begin() + static_cast<ptrdiff_t>(i));
}

}  // namespace

void Packer::Add(Piece piece, PackerState& state) const {
  CHECK(piece.length > 0);
  while (piece.length >= length_) {
    Piece full = piece;
    full.length = length_;
    Append(full, state.ready.emplace_back());
    ++state.finished;
    piece.offset += length_;
    piece.length -= length_;
  }
  if (piece.length == 0) return;
  size_t best = state.open.size();
  size_t fullest = 0;
  for (size_t i = 0; i < state.open.size(); ++i) {
    const int64_t used = state.open[i].used;
    if (used > state.open[fullest].used) fullest = i;
    const bool fits = used + piece.length <= length_;
    if (fits && (best == state.open.size() || used > state.open[best].used)) best = i;
  }
  if (best == state.open.size()) {
    if (static_cast<int64_t>(state.open.size()) >= BinLimit(state.finished))
      FinishRow(fullest, state);
    best = state.open.size();
    state.open.emplace_back();
  }
  Append(piece, state.open[best]);
  if (state.open[best].used == length_) FinishRow(best, state);
}

int64_t Packer::BinLimit(int64_t finished) const {
  constexpr int64_t kFirst = 4;
  return std::min(open_bins_, std::max(kFirst, finished / 2));
}

void Packer::Flush(PackerState& state) const {
  state.finished += static_cast<int64_t>(state.open.size());
  for (PackedRow& row : state.open) state.ready.push_back(std::move(row));
  state.open.clear();
}

}  // namespace choir
