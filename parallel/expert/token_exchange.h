// From tokens to the rows of this rank's experts, and from their results to a sum for each token.
//
// One level: a token's row goes to every rank that holds parts of one of its experts, once for each
// choice.
//
// Two levels (ExchangeOptions::node_size): a row goes once to each node that holds experts of the
// token, to the rank that has there the place which the sender has in its own node. With it go the
// token's router weights and choices. Inside the node it goes on to its experts by an exchange of
// one level, as if the rank that got it had chosen, and the weighted sum over the node's experts is
// made there. One row for each token and node comes back, and these are added up. Sums inside a
// node come first, so this is for fast numerics only.
#pragma once

#include "ops/dispatch.h"
#include "ops/tape.h"
#include "parallel/expert/exchange.h"
#include "parallel/place.h"

namespace choir {

struct TokenChoices {
  Var indices;  // i32 [T, K], of all experts; kAbsent: a dropped choice
  Var weights;  // [T, K]
  int experts = 0;
  ExchangeRouting* routing = nullptr;  // ExchangeMembers::routing
};

struct SentTokens {
  Var rows;              // under way; of two levels, between nodes
  ExchangeRef exchange;  // to the ranks of the experts
  Dispatch dispatch;     // of the tokens that enter `exchange`, ...
  Var weights;           // ... and their router weights
  // Two levels only, else undefined.
  ExchangeRef nodes;
  Dispatch to_nodes;
  Tensor choices;           // i32 [rows that came to this node, K], counted from its first expert
  ExchangeMembers members;  // of the exchange inside of the node
};

// x [T, C]. Its rows are under way when this returns: what is computed before DeliverTokens costs
// no time as far as they need it; the same for their gradients in backward.
SentTokens SendTokens(Tape& tape, const Var& x, const TokenChoices& choices, const Place& place);

// Plans the last part of the way. Then `sent.rows` is [N, C] by local expert, and still under way:
// for the product that OverlapExperts prepares, only.
void DeliverTokens(Tape& tape, SentTokens& sent);

// results [N, C] of `sent.rows`, to the weighted sum of each token, [T, C].
Var ReturnTokens(Tape& tape, const Var& results, const SentTokens& sent);

}  // namespace choir
