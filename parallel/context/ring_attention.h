// Causal attention inside documents with the tokens of a microbatch on a ring of context ranks.
#pragma once

#include "ops/tape.h"
#include "parallel/context/context_attention.h"
#include "parallel/place.h"

namespace choir {

// As ContextAttention, for context_method ring (Liu, Zaharia, Abbeel 2023, arXiv 2310.01889): a
// rank attends to its own keys; meanwhile and afterwards the keys and values of the others come by,
// one rank's after another's, each passed on to the next rank before it is used. Partial results
// are added by their log-sum-exp.
//
// Backward keys and values come by once more, and with them, one rank behind, the gradients of
// these, to which each rank adds its part; the last one sends them to their owner.
//
// Only what some other rank sees travels (RingPlan), only as far as it is seen; of one long
// document that is nearly all of it, c - 1 times, of short ones hardly anything. A rank sends at
// most 2 G D elements a token and hop, forward; backward twice that. Saved: qkv, the result and
// its log-sum-exp; while it runs, a rank holds keys of two ranks and, backward, gradients for up to
// four.
Var RingAttention(Tape& tape, const Var& qkv, const ContextAttentionInput& input,
                  const Place& place);

}  // namespace choir
