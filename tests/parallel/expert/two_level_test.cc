// Exchanges over nodes against exchanges of one level.
#include <gtest/gtest.h>

#include <set>

#include "tensor/tolerance.h"
#include "tests/parallel/expert/layer_run.h"

namespace choir::expert_test {
namespace {

std::vector<LayerCase> Cases() {
  std::vector<LayerCase> cases;
  const auto add = [&](int expert, int parts, int node_size, int pieces) {
    LayerCase c{.expert = expert, .expert_tensor = parts, .absent = true};
    c.exchange = {pieces, node_size};
    cases.push_back(c);
  };
  add(4, 1, 2, 1);
  add(4, 1, 1, 1);
  add(8, 1, 4, 1);
  add(8, 1, 2, 1);
  add(4, 2, 4, 1);
  add(4, 2, 2, 2);
  add(4, 1, 2, 2);
  return cases;
}

std::string NameOf(const LayerCase& c) {
  return "expert " + std::to_string(c.expert) + " x " + std::to_string(c.expert_tensor) +
         " on nodes of " + std::to_string(c.exchange.node_size);
}

double Bound(const LayerSizes& size) {
  return ErrorBound(DType::kF32, size.hidden + size.width * size.top_k);
}

TEST(TwoLevelTest, AgreesWithOneLevel) {
  for (const LayerCase& c : Cases()) {
    SCOPED_TRACE(NameOf(c));
    LayerCase flat = c;
    flat.exchange = {};
    const std::vector<LayerResult> one = RunLayer(flat), two = RunLayer(c);
    for (auto member : {&LayerResult::y, &LayerResult::dx, &LayerResult::dweights}) {
      ExpectWithin(Joined(two, member), Joined(one, member), Bound({}));
    }
    for (size_t r = 0; r < one.size(); ++r) {
      for (size_t i = 0; i < one[r].weights.size(); ++i) {
        // A sum over the tokens in another order.
        const LayerSizes size;
        ExpectWithin(two[r].weights[i], one[r].weights[i],
                     ErrorBound(DType::kF32, size.tokens * size.top_k + size.hidden));
      }
    }
  }
}

TEST(TwoLevelTest, RecomputeChangesNoBit) {
  for (LayerCase c : Cases()) {
    SCOPED_TRACE(NameOf(c));
    const std::vector<LayerResult> kept = RunLayer(c);
    c.recompute = [](std::string_view, int) { return TensorPolicy::kRecompute; };
    const std::vector<LayerResult> again = RunLayer(c);
    for (size_t r = 0; r < kept.size(); ++r) ExpectSameResult(again[r], kept[r]);
  }
}

// An exchange inside of one node has one level.
TEST(TwoLevelTest, OneNodeIsOneLevel) {
  LayerCase c{.expert = 4};
  const std::vector<LayerResult> flat = RunLayer(c);
  c.exchange.node_size = 8;
  const std::vector<LayerResult> inside = RunLayer(c);
  for (size_t r = 0; r < flat.size(); ++r) ExpectSameResult(inside[r], flat[r]);
}

// Pairs of a token and a node other than its own, as one reads them off the choices; and those of
// a token and one of its choices there.
struct Pairs {
  int64_t nodes = 0, choices = 0;
};
Pairs RemotePairs(const LayerCase& c, const LayerSizes& size) {
  const std::vector<int32_t> choices = Choices(size, c.absent);
  Pairs pairs;
  for (int rank = 0; rank < c.ranks(); ++rank) {
    const int home = rank / c.exchange.node_size;
    for (int64_t t = PieceBegin(size.tokens, c.ranks(), rank);
         t < PieceBegin(size.tokens, c.ranks(), rank + 1); ++t) {
      std::set<int> nodes;
      for (int64_t k = 0; k < size.top_k; ++k) {
        const int32_t e = choices[static_cast<size_t>(t * size.top_k + k)];
        if (e == kAbsent) continue;
        int member = 0;
        while (e >= PieceBegin(size.experts, c.expert, member + 1)) ++member;
        const int node = member * c.expert_tensor / c.exchange.node_size;
        if (node == home) continue;
        nodes.insert(node);
        ++pairs.choices;
      }
      pairs.nodes += static_cast<int64_t>(nodes.size());
    }
  }
  return pairs;
}

TEST(TwoLevelTest, ATokenTravelsOnceToEachNode) {
  const LayerSizes size;
  for (const LayerCase& c : Cases()) {
    SCOPED_TRACE(NameOf(c));
    int64_t rows = 0, bytes = 0, calls = 0;
    for (const LayerResult& result : RunLayer(c)) {
      rows += result.rows_across;
      for (const CommCount& count : result.counts) {
        if (count.group != "expert+expert_tensor across nodes") continue;
        EXPECT_EQ(count.operation, "all_to_all");
        bytes += count.bytes_sent;
        calls += count.calls;
      }
    }
    const Pairs pairs = RemotePairs(c, size);
    EXPECT_EQ(rows, pairs.nodes);
    EXPECT_LT(pairs.nodes, pairs.choices) << "no token visits two experts of a node";
    // Per row a token, its weights and its choices there; back a sum; backward the same the other
    // way round, without choices. One number of rows for each other node.
    const int64_t nodes = c.ranks() / c.exchange.node_size;
    EXPECT_EQ(bytes,
              4 * (pairs.nodes * (4 * size.hidden + 3 * size.top_k) + c.ranks() * (nodes - 1)));
    EXPECT_EQ(calls, c.ranks() * 8) << "4 of tokens, 2 of weights, 1 of choices, 1 of counts";
  }
}

}  // namespace
}  // namespace choir::expert_test
