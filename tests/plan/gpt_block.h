// The transformer of Korthikanti et al. 2022 ("Reducing Activation Recomputation in Large
// Transformer Models", arXiv 2205.05198, sections 4 and 5) as it runs on one of t tensor-parallel
// ranks: LayerNorm, attention with softmax and dropout as kernels of their own, an MLP of width 4 h
// with GELU, dropout behind both, activations of 2 bytes. Its ops have shapes only (meta), but are
// made by the tape as Choir's own: what the tape holds afterwards is what they save.
//
// Shapes of this rank with s tokens in each of b sequences. A mask has 1 byte for each element: it
// is an i32 tensor with a quarter of them, as no dtype has 1 byte. Statistics of norms and token
// ids are not counted there, and not here (norms compute theirs again, ids are input).
#pragma once

#include <cstdint>

#include "ops/tape.h"

namespace choir {

struct GptShape {
  int64_t hidden = 0, heads = 0, layers = 0;
  int64_t sequence = 2048, microbatch = 1, vocab = 51200;
  int64_t tensor = 1;              // t: heads, MLP width and vocabulary are split
  bool sequence_parallel = false;  // tokens between the split parts are split too (section 4.2.2)
};

enum class GptRecompute { kNone, kSelective, kFull };
// What layers (Tape::SetLayer) drop: nothing; the quadratic part of attention (section 5); all but
// the inputs of blocks. With sequence parallelism, gathered tokens in any case.
RecomputePolicy PolicyOf(GptRecompute recompute, bool sequence_parallel);

// The embedding of all tokens and its dropout; [tokens here, h].
Var GptEmbedding(Tape& tape, const GptShape& shape);
// One block.
Var GptBlock(Tape& tape, const Var& x, const GptShape& shape);
// Last norm, output head and loss with logits in F32; [1].
Var GptLoss(Tape& tape, const Var& x, const GptShape& shape);

}  // namespace choir
