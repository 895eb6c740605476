// Output head and cross-entropy in one op, in chunks of rows: all logits never exist at once.
#pragma once

#include <cstdint>

#include "ops/rank_group.h"
#include "ops/tape.h"

namespace choir {

struct CrossEntropyOptions {
  double z_loss = 0;       // coefficient of logsumexp^2 (PaLM, Chowdhery et al. 2022, section 5)
  int64_t chunk_rows = 0;  // rows whose logits exist together; 0: about 16 MiB of float32

  // The head holds rows [first_row, first_row + its rows) of `vocabulary` (0: all are here).
  int64_t first_row = 0;
  int64_t vocabulary = 0;
  // The ranks that hold the other rows; every member has the same h, labels and options but
  // first_row and pieces. Two calls per chunk of rows with labels: the maxima, then the sums.
  RankGroup* vocabulary_group = nullptr;
  // Pieces of the head's rows that are here (at most kVirtualPieces); read in invariant mode.
  SumPieces vocabulary_pieces;
};

struct CrossEntropyResult {
  // [1]: scale * sum over the rows with a label of (nll + z_loss * logsumexp^2), summed in double
  // in the order of the rows, so its last bit depends on how rows are dealt to ranks: for reports
  // and to start backward. What must not depend on it is added up from token_nll.
  Var loss;
  // [T]: negative log likelihood in nats, 0 for rows without a label. Has no gradient.
  Var token_nll;
};

// `h` is [T, C], `head` [V, C], `labels` i32[T] with values in [-1, vocabulary) (CHECKed), -1 for
// none; such rows cost no arithmetic. Results are those of the whole vocabulary on every member of
// the group; the gradient of h is the part of the head's rows that are here, to be summed over the
// group.
//
// Fast mode, when the tape records: the gradients of the loss are made in the forward pass, chunk
// by chunk, so that the logits are computed once; they are results of their own ("loss.dh",
// "loss.dhead"), so a recompute policy may drop them and pay the logits again.
//
// Invariant mode: the bits of no result depend on how the vocabulary is cut (into a power of two
// of parts), on the chunks or on the tokens beside. The gradient of the head would then need one
// tensor for each leaf; instead it is made in backward, leaf by leaf, from h and two numbers of
// each row ("loss.softmax"). That costs the logits once more (a third of the head's arithmetic) and
// one chunk of logits of memory; no communication. With a group, backward starts from a power of
// two (CHECKed): the sum over the group comes after it.
//
// With head.matmul of kBF16 or kF16 (8-bit formats are CHECKed against), the operands of all three
// products are rounded to it: h, the head, and the gradient of the logits. Logits, softmax and sums
// stay F32. That takes workspace for a copy of the head.
CrossEntropyResult CrossEntropy(Tape& tape, const Var& h, Parameter& head, const Tensor& labels,
                                double scale, const CrossEntropyOptions& options = {});

// h head^T, [T, V], for generation; rounded alike.
Tensor Logits(const Tensor& h, const Parameter& head);

}  // namespace choir
