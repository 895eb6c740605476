// Online best-fit packing of pieces of documents into rows, with a bounded number of unfinished
// rows (Ding et al.: "Fewer truncations improve language modeling", 2024, made online).
#pragma once

#include <cstdint>
#include <deque>
#include <vector>

namespace choir {

// Positions [offset, offset + length) of a document: tokens offset .. offset + length, of which the
// last is a label only.
struct Piece {
  int32_t stream = 0;
  int64_t document = 0;  // of the stream, in the order of the corpus
  int64_t offset = 0;
  int64_t length = 0;
  bool operator==(const Piece&) const = default;
};

struct PackedRow {
  int64_t used = 0;  // positions
  std::vector<Piece> pieces;
  bool operator==(const PackedRow&) const = default;
};

// All of a packer's state: references to text, no text.
struct PackerState {
  int64_t finished = 0;         // rows finished so far
  std::vector<PackedRow> open;  // unfinished rows, oldest first
  std::deque<PackedRow> ready;  // finished rows, next first
  bool operator==(const PackerState&) const = default;
};

class Packer {
 public:
  Packer(int64_t row_length, int64_t open_bins) : length_(row_length), open_bins_(open_bins) {}

  // Adds all positions of a document (`piece.offset` 0). One longer than a row is cut: full rows
  // from its beginning, and a rest that is packed like a short document. A piece goes to the open
  // row that it fills best, the oldest of several; if none has room, to a new row, for which the
  // fullest open row is finished when there are BinLimit rows.
  void Add(Piece piece, PackerState& state) const;
  // Unfinished rows after `finished` rows: open_bins, but at the start at most half of the rows
  // given (and at least 4), so that a young run is not made of the documents that happen to fill a
  // row.
  int64_t BinLimit(int64_t finished) const;
  // Finishes all open rows, oldest first.
  void Flush(PackerState& state) const;

 private:
  int64_t length_;
  int64_t open_bins_;
};

}  // namespace choir
