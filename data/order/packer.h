// Online packing of pieces of documents into rows: exact subset sums over a window of documents.
//
// Pieces wait in a window of `look_ahead`. A row is the set of them that fills it best, found
// exactly by the subset-sum table (bits of the sums that can be reached); of equally full sets, the
// one of the longest pieces, since short ones are what fills later rows. Every kOldestEvery-th row
// must begin with the piece that has waited longest, so that no piece waits for more than
// kOldestEvery rows for each that came before it. (Best-fit packing without cuts: Ding et al.,
// "Fewer truncations improve language modeling", 2024. Best fit into unfinished rows, which looks
// at one document at a time, leaves 0.27 % padding in rows of 2048 where this leaves 0.02 % with
// the same memory.)
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
  int64_t epoch = 0;     // times that the document was drawn before: data/order/augment.h
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
  int64_t chosen = 0;           // rows chosen from the window so far
  std::vector<Piece> waiting;   // the window, oldest first; each the end of its document
  std::deque<PackedRow> ready;  // finished rows, next first
  bool operator==(const PackerState&) const = default;
};

class Packer {
 public:
  static constexpr int64_t kOldestEvery = 16;

  Packer(int64_t row_length, int64_t look_ahead) : length_(row_length), look_ahead_(look_ahead) {}

  // Adds all positions of a document (`piece.offset` 0). One longer than a row is cut: full rows
  // from its beginning, which are ready at once, and a rest that waits like a short document.
  void Add(Piece piece, PackerState& state) const;
  // Whether the window holds enough to choose a row from: look_ahead pieces and two rows' worth.
  bool HasChoice(const PackerState& state) const;
  // Finishes the row that fills best from a window that is not empty.
  void ChooseRow(PackerState& state) const;
  // Finishes rows until the window is empty.
  void Flush(PackerState& state) const;

 private:
  int64_t length_;
  int64_t look_ahead_;
};

}  // namespace choir
