// For tests of ops that hold a part of something: ranks as threads of this process, leaves of
// tokens dealt to ranks, and comparison bit by bit.
#pragma once

#include <gtest/gtest.h>

#include <barrier>
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/random.h"
#include "ops/chain_product.h"
#include "ops/elementwise.h"
#include "ops/grad_tree.h"
#include "ops/rank_group.h"
#include "ops/tape.h"

namespace choir {

// A group whose members are threads: everyone reads everyone's tensor and adds in the same order.
class ThreadGroup : public RankGroup {
 public:
  struct Shared {
    explicit Shared(int size) : tensors(static_cast<size_t>(size)), barrier(size) {}
    std::vector<Tensor> tensors;
    std::barrier<> barrier;
  };

  ThreadGroup(Shared& shared, int rank) : shared_(shared), rank_(static_cast<size_t>(rank)) {}

  int size() const override { return static_cast<int>(shared_.tensors.size()); }
  void Max(const Tensor& x) override {
    Combine(x, [](auto a, auto b) { return a > b ? a : b; });
  }
  void Sum(const Tensor& x) override {
    Combine(x, [](auto a, auto b) { return a + b; });
  }
  int calls() const { return calls_; }

 private:
  template <class F>
  void Combine(const Tensor& x, const F& f) {
    ++calls_;
    if (x.device() == Device::kMeta) return;
    shared_.tensors[rank_] = x;
    shared_.barrier.arrive_and_wait();
    std::vector<Tensor> all;
    for (const Tensor& t : shared_.tensors) {
      CHECK(t.shape() == x.shape() && t.dtype() == x.dtype()) << t.shape() << " at a member";
      all.push_back(t.Clone());
    }
    shared_.barrier.arrive_and_wait();
    DispatchFloat(x.dtype(), [&]<class T>() {
      TreeSum(size(), [&](int64_t to, int64_t from) {
        T* a = all[static_cast<size_t>(to)].data<T>();
        const T* b = all[static_cast<size_t>(from)].data<T>();
        for (int64_t i = 0; i < x.NumElements(); ++i) a[i] = f(a[i], b[i]);
      });
    });
    x.CopyFrom(all[0]);
    shared_.tensors[rank_] = Tensor();
    shared_.barrier.arrive_and_wait();
  }

  Shared& shared_;
  size_t rank_;
  int calls_ = 0;
};

// Runs body(rank, group) for every rank at once.
inline void RunRanks(int ranks, const std::function<void(int, ThreadGroup&)>& body) {
  ThreadGroup::Shared shared(ranks);
  std::vector<std::thread> threads;
  for (int r = 0; r < ranks; ++r) {
    threads.emplace_back([&, r] {
      ThreadGroup group(shared, r);
      body(r, group);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// Uniform values in [-1, 1), in float.
inline Tensor RandomFloats(const Shape& shape, const std::string& name) {
  const CounterRandom random(31, name);
  Tensor t = Tensor::Empty(shape, {});
  for (int64_t i = 0; i < t.NumElements(); ++i) {
    t.data<float>()[i] = static_cast<float>(2 * random.Uniform(static_cast<uint64_t>(i)) - 1);
  }
  return t;
}

inline Parameter FloatParameter(const Tensor& value, std::shared_ptr<const LeafTree> leaves) {
  Parameter p;
  p.name = "w";
  p.value = value;
  p.grad = Tensor::Zeros(value.shape(), {});
  if (leaves != nullptr) p.tree = std::make_shared<GradTree>(std::move(leaves));
  return p;
}

inline void ExpectSameBits(const Tensor& actual, const Tensor& expected) {
  ASSERT_EQ(actual.shape(), expected.shape());
  ASSERT_EQ(actual.dtype(), expected.dtype());
  if (expected.NumElements() == 0) return;
  if (std::memcmp(actual.raw(), expected.raw(), static_cast<size_t>(actual.bytes())) == 0) return;
  const auto a = actual.span<float>(), b = expected.span<float>();
  for (size_t i = 0; i < a.size(); ++i) {
    ASSERT_EQ(std::bit_cast<uint32_t>(a[i]), std::bit_cast<uint32_t>(b[i]))
        << "element " << i << ": " << a[i] << " and " << b[i];
  }
}

// Within `bound` of the largest element.
inline void ExpectWithin(const Tensor& actual, const Tensor& expected, double bound) {
  ASSERT_EQ(actual.shape(), expected.shape());
  double largest = 0;
  for (float v : expected.span<float>()) largest = std::max(largest, std::abs(double(v)));
  for (int64_t i = 0; i < expected.NumElements(); ++i) {
    ASSERT_NEAR(double(actual.data<float>()[i]), double(expected.data<float>()[i]), bound * largest)
        << i;
  }
}

// Parts one after another along dim 0.
inline Tensor JoinRows(const std::vector<Tensor>& parts) {
  int64_t rows = 0;
  for (const Tensor& part : parts) rows += part.dim(0);
  Tensor whole = Tensor::Empty(parts[0].shape().With(0, rows), {});
  int64_t at = 0;
  for (const Tensor& part : parts) {
    whole.Rows(at, part.dim(0)).CopyFrom(part);
    at += part.dim(0);
  }
  return whole;
}

// The root of a tree without empty nodes, from the nodes that ranks have.
inline Tensor JoinNodes(const std::vector<GradTree::Node>& nodes) {
  std::map<std::pair<int, int64_t>, Tensor> waiting;  // deepest first
  for (const GradTree::Node& node : nodes) {
    CHECK(waiting.emplace(std::pair(-node.level, node.index), node.sum).second);
  }
  while (waiting.begin()->first.first != 0) {
    const auto [place, sum] = *waiting.begin();
    const auto sibling = waiting.find({place.first, place.second ^ 1});
    CHECK(sibling != waiting.end()) << "node " << place.second << " at level " << -place.first;
    Tensor parent = Sum(sum, sibling->second);
    waiting.erase(sibling);
    waiting.erase(waiting.begin());
    waiting.emplace(std::pair(place.first + 1, place.second / 2), std::move(parent));
  }
  CHECK(waiting.size() == 1);
  return waiting.begin()->second;
}

// Rows [begin, end) of a microbatch, with the leaves that they are, for an invariant tape.
struct TokenPart {
  int64_t begin = 0, end = 0;
  std::shared_ptr<const RowLeaves> leaves;

  int64_t size() const { return end - begin; }
  Tensor Of(const Tensor& t) const { return t.Rows(begin, size()); }
  void SetUp(Tape& tape) const {
    tape.SetNumerics(Numerics::kInvariant);
    tape.SetRows(leaves);
  }
};

// What rank `rank` of `ranks`, which divides kVirtualPieces, has of `rows` rows.
inline TokenPart PartOfTokens(int64_t rows, int ranks, int rank) {
  TokenPart part{PieceBegin(rows, ranks, rank), PieceBegin(rows, ranks, rank + 1), nullptr};
  RowLeaves leaves;
  const int64_t each = kVirtualPieces / ranks;
  for (int64_t i = rank * each; i <= (rank + 1) * each; ++i) {
    if (i < (rank + 1) * each) leaves.index.push_back(i);
    leaves.bounds.push_back(PieceBegin(rows, kVirtualPieces, i) - part.begin);
  }
  part.leaves = std::make_shared<const RowLeaves>(std::move(leaves));
  return part;
}

inline std::shared_ptr<const LeafTree> OneMicrobatch(int64_t chunks = kVirtualPieces) {
  return std::make_shared<const LeafTree>(1, chunks);
}

// What a run on some tokens gives: tensors with a row for each token, and a weight's gradient.
struct TokenResult {
  std::vector<Tensor> rows;
  std::vector<GradTree::Node> weight;
};

// Runs all tokens at once and dealt to 2, 4 and 8 ranks: the same bits. Returns the gradient.
inline Tensor ExpectSameOnAnyTokens(int64_t rows,
                                    const std::function<TokenResult(const TokenPart&)>& run) {
  const TokenResult whole = run(PartOfTokens(rows, 1, 0));
  const Tensor gradient = JoinNodes(whole.weight);
  for (int ranks : {2, 4, 8}) {
    SCOPED_TRACE(std::to_string(ranks) + " ranks");
    std::vector<std::vector<Tensor>> parts(whole.rows.size());
    std::vector<GradTree::Node> nodes;
    for (int r = 0; r < ranks; ++r) {
      const TokenResult part = run(PartOfTokens(rows, ranks, r));
      for (size_t i = 0; i < parts.size(); ++i) parts[i].push_back(part.rows[i]);
      nodes.insert(nodes.end(), part.weight.begin(), part.weight.end());
    }
    for (size_t i = 0; i < parts.size(); ++i) ExpectSameBits(JoinRows(parts[i]), whole.rows[i]);
    ExpectSameBits(JoinNodes(nodes), gradient);
  }
  return gradient;
}

// Pieces [first, first + count) of `n` elements in kVirtualPieces, as bounds from the first one's
// begin on: what rank `rank` of `ranks` has.
struct PiecePart {
  int64_t begin = 0, end = 0, first_piece = 0;
  SumPieces pieces;
};

inline PiecePart PartOfPieces(int64_t n, int ranks, int rank) {
  const int64_t each = kVirtualPieces / ranks;
  PiecePart part{PieceBegin(n, ranks, rank), PieceBegin(n, ranks, rank + 1), rank * each, nullptr};
  std::vector<int64_t> bounds;
  for (int64_t i = part.first_piece; i <= part.first_piece + each; ++i) {
    bounds.push_back(PieceBegin(n, kVirtualPieces, i) - part.begin);
  }
  part.pieces = std::make_shared<const std::vector<int64_t>>(std::move(bounds));
  return part;
}

}  // namespace choir
