// A layer of experts, without router: tokens sent, two products with SwiGLU left out, results
// returned, and the gradients of all of it. On any number of ranks, each a thread.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "parallel/comm/local_world.h"
#include "parallel/expert/token_exchange.h"
#include "parallel/mesh/layout.h"
#include "parallel/tokens.h"
#include "tests/ops/rank_threads.h"

namespace choir::expert_test {

struct LayerSizes {
  int64_t tokens = 48, top_k = 3, hidden = 20, width = 16;
  int experts = 8;
};

// Ranks are expert x expert_tensor, and each has a piece of the tokens.
struct LayerCase {
  int expert = 1, expert_tensor = 1;
  ExchangeOptions exchange;
  Numerics numerics = Numerics::kFast;
  RecomputePolicy recompute;
  bool absent = false;  // some choices are dropped
  int ranks() const { return expert * expert_tensor; }
};

// Distinct experts for each token, low ones more often; with `absent` every seventh is dropped.
inline std::vector<int32_t> Choices(const LayerSizes& size, bool absent) {
  const CounterRandom random(5, "choices");
  std::vector<int32_t> choices;
  for (int64_t t = 0; t < size.tokens; ++t) {
    const double u = random.Uniform(static_cast<uint64_t>(t));
    const auto first = static_cast<int64_t>(u * u * size.experts);
    for (int64_t k = 0; k < size.top_k; ++k) {
      choices.push_back(static_cast<int32_t>((first + k * (1 + t % 2)) % size.experts));
      if (absent && choices.size() % 7 == 0) choices.back() = kAbsent;
    }
  }
  return choices;
}

struct LayerResult {
  Tensor y, dx, dweights;         // of this rank's tokens
  std::vector<Tensor> weights;    // gradients of this rank's experts: fast numerics only
  std::vector<CommCount> counts;  // of its calls
  int64_t rows_across = 0;        // rows sent to other nodes
};

namespace internal {

inline Parameter PartOf(const std::string& name, const Shape& whole, int64_t dim,
                        const Place& place, const std::shared_ptr<const LeafTree>& tree) {
  Layout layout;
  layout.split[0] = Axis::kExpert;
  layout.split[static_cast<size_t>(dim)] = Axis::kExpertTensor;
  const Slice slice = LocalSlice(whole, layout, place.mesh(), place.rank());
  const Tensor all = RandomFloats(whole, name);
  const Tensor mine = Tensor::Empty(slice.count, {});
  for (int64_t i = 0; i < mine.NumElements(); ++i) {
    mine.data<float>()[i] = all.data<float>()[GlobalIndex(whole, slice, i)];
  }
  return FloatParameter(mine, tree);
}

inline LayerResult RunRank(const LayerCase& c, const LayerSizes& size, World* world) {
  Degrees degrees;
  degrees.tensor = c.ranks();
  degrees.expert = c.expert;
  degrees.expert_tensor = c.expert_tensor;
  const Place place(Mesh(degrees), world, c.numerics, ContextMethod::kUlysses, c.exchange);
  const TokenPart part = PartOfTokens(size.tokens, c.ranks(), place.rank());
  const bool invariant = place.invariant();
  const auto tree = invariant ? OneMicrobatch() : nullptr;
  Parameter up = PartOf("up", {size.experts, size.width, size.hidden}, 1, place, tree);
  Parameter down = PartOf("down", {size.experts, size.hidden, size.width}, 2, place, tree);

  Tape tape;
  if (invariant) part.SetUp(tape);
  tape.SetRecomputePolicy(c.recompute);
  if (world != nullptr) tape.SetPoll([world] { world->Progress(); });
  const Var x = tape.Input(part.Of(RandomFloats({size.tokens, size.hidden}, "x")), true);
  const Var weights = tape.Input(part.Of(RandomFloats({size.tokens, size.top_k}, "weights")), true);
  const Tensor chosen =
      part.Of(Tensor::From<int32_t>({size.tokens, size.top_k}, Choices(size, c.absent)));
  Var y;
  LayerResult result;
  {
    SentTokens sent = SendTokens(tape, x, {tape.Input(chosen), weights, size.experts}, place);
    DeliverTokens(tape, sent);
    const ExchangePlan& plan = sent.exchange->plan;
    const SumPieces pieces = PiecesOf(place, Axis::kExpertTensor, size.width, 1);
    GroupedOptions first{.tag = "moe.gate_up", .out_pieces = pieces, .leaves = plan.leaves};
    GroupedOptions last{.tag = "moe.down", .in_pieces = pieces, .leaves = plan.leaves};
    OverlapExperts(sent.exchange, first, last);
    Var inner = GroupedLinear(tape, std::move(sent.rows), up, plan.offsets, first);
    sent.rows = Var();
    y = ReturnTokens(tape, GroupedLinear(tape, std::move(inner), down, plan.offsets, last), sent);
    if (sent.nodes != nullptr) {
      const auto& rows = sent.nodes->plan.pieces.at(0).send_rows;
      for (size_t d = 0; d < rows.size(); ++d) {
        if (static_cast<int>(d) != place.across_nodes()->rank()) result.rows_across += rows[d];
      }
    }
  }
  result.y = y.tensor();
  tape.RunBackward(y, part.Of(RandomFloats({size.tokens, size.hidden}, "dy")));
  result.dx = x.grad()->grad;
  result.dweights = weights.grad()->grad;
  for (Parameter* p : {&up, &down}) {
    if (!invariant) {
      result.weights.push_back(p->grad);
      continue;
    }
    for (const GradTree::Node& node : p->tree->Take()) result.weights.push_back(node.sum);
  }
  if (world != nullptr) result.counts = world->Counts();
  return result;
}

}  // namespace internal

// By rank. One rank runs without a world.
inline std::vector<LayerResult> RunLayer(const LayerCase& c, const LayerSizes& size = {}) {
  if (c.ranks() == 1) return {internal::RunRank(c, size, nullptr)};
  std::vector<LayerResult> results(static_cast<size_t>(c.ranks()));
  WorldOptions options;
  options.sum_order = SumOrderOf(c.numerics);
  options.check = true;
  options.timeout_s = 60;
  const absl::Status job = RunLocal(c.ranks(), options, [&](World& world) {
    results[static_cast<size_t>(world.rank())] = internal::RunRank(c, size, &world);
  });
  EXPECT_TRUE(job.ok()) << job;
  return results;
}

inline void ExpectSameResult(const LayerResult& got, const LayerResult& want) {
  ExpectSameBits(got.y, want.y);
  ExpectSameBits(got.dx, want.dx);
  ExpectSameBits(got.dweights, want.dweights);
  ASSERT_EQ(got.weights.size(), want.weights.size());
  for (size_t i = 0; i < got.weights.size(); ++i) ExpectSameBits(got.weights[i], want.weights[i]);
}

// The rows of all ranks, one rank after another.
inline Tensor Joined(const std::vector<LayerResult>& results, Tensor LayerResult::*member) {
  std::vector<Tensor> parts;
  for (const LayerResult& result : results) parts.push_back(result.*member);
  return JoinRows(parts);
}

}  // namespace choir::expert_test
