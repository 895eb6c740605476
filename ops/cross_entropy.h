// Output head and cross-entropy in one op, in chunks of rows: all logits never exist at once.
#pragma once

#include "ops/tape.h"

namespace choir {

struct CrossEntropyOptions {
  double z_loss = 0;       // coefficient of logsumexp^2 (PaLM, Chowdhery et al. 2022, section 5)
  int64_t chunk_rows = 0;  // rows whose logits exist together; 0: about 16 MiB of float32
};

struct CrossEntropyResult {
  // [1]: scale * sum over the rows with a label of (nll + z_loss * logsumexp^2), summed in double.
  Var loss;
  // [T]: negative log likelihood in nats, 0 for rows without a label. Has no gradient.
  Var token_nll;
};

// `h` is [T, C], `head` [V, C], `labels` i32[T] with values in [-1, V) (CHECKed), -1 for none; such
// rows cost no arithmetic. When the tape records, the gradients of the loss are made in the
// forward pass, chunk by chunk, so that the logits are computed once; they are results of their
// own ("loss.dh", "loss.dhead"), so a recompute policy may drop them and pay the logits again.
CrossEntropyResult CrossEntropy(Tape& tape, const Var& h, Parameter& head, const Tensor& labels,
                                double scale, const CrossEntropyOptions& options = {});

// h head^T, [T, V], for generation.
Tensor Logits(const Tensor& h, const Parameter& head);

}  // namespace choir
