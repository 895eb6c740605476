// Scores of experts and the choice of the best: top-k routing without token dropping, as in
// DeepSeek-V3 (arXiv 2412.19437, section 2.1.2) and its relatives.
#pragma once

#include "ops/tape.h"

namespace choir {

enum class ScoreFunction {
  kSigmoid,      // DeepSeek-V3
  kSoftmax,      // over all experts of a token; DeepSeek-V2, Mixtral
  kSqrtSoftplus  // sqrt(softplus(x)), softplus(x) = x above 20; DeepSeek-V4
};

struct RouterOptions {
  int experts = 0;
  int top_k = 0;
  ScoreFunction score = ScoreFunction::kSigmoid;
  // Node-limited routing: experts form `groups` equal, consecutive groups, and a token may choose
  // only inside its best `group_limit` ones. A group's score is the sum of its best
  // max(1, top_k / group_limit) biased scores (fewer if it is smaller).
  int groups = 1;
  int group_limit = 1;
  // Divide the weights by their sum over the chosen experts (plus kRouterEpsilon).
  bool normalize = true;
  double route_scale = 1;
};

inline constexpr double kRouterEpsilon = 1e-20;

struct Routing {
  Var weights;  // [T, K], in the order of `indices`
  // i32[T, K]: experts by descending biased score, equal ones by ascending index; NaN counts as
  // the lowest. A decision: never computed again. Has no gradient.
  Var indices;
  Var scores;  // [T, E], without the bias
};

// `logits` is [T, E]; `bias` [E] (or undefined) is added to the scores only to choose. Gradients
// flow from the weights (normalisation included) and from `scores` into the logits.
// The bias may be changed once this has returned.
Routing Route(Tape& tape, const Var& logits, const Tensor& bias, const RouterOptions& options);

// The choice alone: i32[T, K] from `scores` [T, E] (plus `bias`), as Routing::indices.
Tensor ChooseExperts(const Tensor& scores, const Tensor& bias, const RouterOptions& options);

}  // namespace choir
