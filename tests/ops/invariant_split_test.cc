// Linear and GroupedLinear with invariant numerics have the same bits however their rows, sums and
// tokens are split over ranks, whatever their operands are rounded to. The ranks here are calls in
// turn.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "base/random.h"
#include "ops/dispatch.h"
#include "ops/elementwise.h"
#include "ops/grouped_matmul.h"
#include "ops/matmul.h"

namespace choir {
namespace {

constexpr int64_t kTokens = 43, kIn = 37, kOut = 29;
constexpr int64_t kAll = kVirtualPieces;

Tensor Random(const Shape& shape, const std::string& name) {
  Tensor t = Tensor::Empty(shape, {});
  CounterRandom random(3, name);
  for (int64_t i = 0; i < t.NumElements(); ++i) {
    t.data<float>()[i] = static_cast<float>(random.Normal(static_cast<uint64_t>(i)));
  }
  return t;
}

Tensor Columns(const Tensor& t, int64_t begin, int64_t end) {
  const int64_t width = t.dim(1);
  Tensor part = Tensor::Empty({t.dim(0), end - begin}, {});
  for (int64_t i = 0; i < part.NumElements(); ++i) {
    part.data<float>()[i] = t.data<float>()[i / (end - begin) * width + begin + i % (end - begin)];
  }
  return part;
}

void ExpectSameBits(const Tensor& a, const Tensor& b) {
  ASSERT_EQ(a.shape(), b.shape());
  if (a.bytes() == 0) return;  // no memory to compare
  EXPECT_EQ(std::memcmp(a.raw(), b.raw(), static_cast<size_t>(a.bytes())), 0);
}

// The sum over ranks in the order of the group, as the collective over them makes it.
Tensor TreeOf(std::span<const Tensor> parts) {
  if (parts.size() == 1) return parts[0];
  const size_t half = parts.size() / 2;
  return Sum(TreeOf(parts.first(half)), TreeOf(parts.subspan(half)));
}

// Pieces [first, last) of the kAll pieces of n elements, from 0.
SumPieces PiecesOf(int64_t n, int64_t first = 0, int64_t last = kAll) {
  std::vector<int64_t> bounds;
  for (int64_t i = first; i <= last; ++i) {
    bounds.push_back(PieceBegin(n, kAll, i) - PieceBegin(n, kAll, first));
  }
  return std::make_shared<const std::vector<int64_t>>(std::move(bounds));
}

// The leaves of token chunks [first, last) of the only microbatch.
std::shared_ptr<const RowLeaves> ChunksOf(int64_t tokens, int64_t first = 0, int64_t last = kAll) {
  auto rows = std::make_shared<RowLeaves>();
  for (int64_t i = first; i <= last; ++i) {
    if (i < last) rows->index.push_back(i);
    rows->bounds.push_back(PieceBegin(tokens, kAll, i) - PieceBegin(tokens, kAll, first));
  }
  return rows;
}

std::shared_ptr<const LeafTree> OneMicrobatch() { return std::make_shared<LeafTree>(1, kAll); }

// A step of one rank.
struct Result {
  Tensor y, dx, dw;                   // dw: the root, where this rank has all tokens
  std::vector<GradTree::Node> nodes;  // what it has otherwise
};

struct Layer {
  Tensor x, w, dy;
  MatmulPrecision precision = {};
};

struct SplitCase {
  const char* name;
  MatmulPrecision precision = {};
  int64_t in = kIn, out = kOut;

  Layer WholeLayer() const {
    return {Random({kTokens, in}, "x"), Random({out, in}, "w"), Random({kTokens, out}, "dy"),
            precision};
  }
};

// Pieces of the last ones hold several blocks, the last of them short.
const SplitCase kSplitCases[] = {{"full"},
                                 {"bf16", {MatmulFormat::kBF16}},
                                 {"f16", {MatmulFormat::kF16}},
                                 {"fp8", {MatmulFormat::kFp8Block}},
                                 {"fp8_long", {MatmulFormat::kFp8Block}, 1100, 1050},
                                 {"fp8_square", {MatmulFormat::kFp8Block, true}, 1100, 1050},
                                 {"mxfp8", {MatmulFormat::kMxfp8}},
                                 {"mxfp8_long", {MatmulFormat::kMxfp8}, 300, 290}};

class LinearSplit : public testing::TestWithParam<SplitCase> {};
class GroupedSplit : public testing::TestWithParam<SplitCase> {};
const auto kNameOf = [](const auto& info) { return std::string(info.param.name); };
INSTANTIATE_TEST_SUITE_P(Formats, LinearSplit, testing::ValuesIn(kSplitCases), kNameOf);
INSTANTIATE_TEST_SUITE_P(Formats, GroupedSplit, testing::ValuesIn(kSplitCases), kNameOf);

Result RunLayer(const Layer& layer, const LinearOptions& options,
                std::shared_ptr<const RowLeaves> rows) {
  Parameter w;
  w.value = layer.w;
  w.matmul = layer.precision;
  w.tree = std::make_shared<GradTree>(OneMicrobatch());
  Tape tape;
  tape.SetNumerics(Numerics::kInvariant);
  tape.SetRows(std::move(rows));
  Var x = tape.Input(layer.x, true);
  Var y = Linear(tape, x, w, options);
  tape.SetNumerics(Numerics::kFast);  // the order is that of the forward pass
  tape.SetRows(nullptr);
  tape.RunBackward(y, layer.dy);
  Result result{y.tensor(), x.grad()->grad, {}, w.tree->Take()};
  if (result.nodes.size() == 1 && result.nodes[0].level == 0) result.dw = result.nodes[0].sum;
  return result;
}

Result RunWhole(const SplitCase& c) {
  return RunLayer(c.WholeLayer(), {"linear", PiecesOf(c.in), PiecesOf(c.out)}, ChunksOf(kTokens));
}

TEST_P(LinearSplit, OverTheInnerDim) {
  const SplitCase& c = GetParam();
  const Result whole = RunWhole(c);
  const Layer layer = c.WholeLayer();
  for (int64_t ranks : {2, 4, 8}) {
    std::vector<Tensor> sums;
    for (int64_t r = 0; r < ranks; ++r) {
      const int64_t begin = PieceBegin(c.in, ranks, r), end = PieceBegin(c.in, ranks, r + 1);
      const SumPieces in = PiecesOf(c.in, r * kAll / ranks, (r + 1) * kAll / ranks);
      const Result part = RunLayer(
          {Columns(layer.x, begin, end), Columns(layer.w, begin, end), layer.dy, c.precision},
          {"linear", in, PiecesOf(c.out)}, ChunksOf(kTokens));
      sums.push_back(part.y);
      ExpectSameBits(part.dx, Columns(whole.dx, begin, end));
      ExpectSameBits(part.dw, Columns(whole.dw, begin, end));
    }
    ExpectSameBits(TreeOf(sums), whole.y);
  }
}

TEST_P(LinearSplit, OverTheOuterDim) {
  const SplitCase& c = GetParam();
  const Result whole = RunWhole(c);
  const Layer layer = c.WholeLayer();
  for (int64_t ranks : {2, 4, 8}) {
    std::vector<Tensor> sums;
    for (int64_t r = 0; r < ranks; ++r) {
      const int64_t begin = PieceBegin(c.out, ranks, r), end = PieceBegin(c.out, ranks, r + 1);
      const SumPieces out = PiecesOf(c.out, r * kAll / ranks, (r + 1) * kAll / ranks);
      const Result part = RunLayer(
          {layer.x, layer.w.Rows(begin, end - begin), Columns(layer.dy, begin, end), c.precision},
          {"linear", PiecesOf(c.in), out}, ChunksOf(kTokens));
      ExpectSameBits(part.y, Columns(whole.y, begin, end));
      sums.push_back(part.dx);
      ExpectSameBits(part.dw, whole.dw.Rows(begin, end - begin).Clone());
    }
    ExpectSameBits(TreeOf(sums), whole.dx);
  }
}

TEST_P(LinearSplit, OverTokens) {
  const SplitCase& c = GetParam();
  const Result whole = RunWhole(c);
  const Layer layer = c.WholeLayer();
  for (int64_t ranks : {2, 4, 8}) {
    GradTree tree(OneMicrobatch());
    for (int64_t r = ranks - 1; r >= 0; --r) {
      const int64_t begin = PieceBegin(kTokens, ranks, r);
      const int64_t count = PieceBegin(kTokens, ranks, r + 1) - begin;
      Result part =
          RunLayer({layer.x.Rows(begin, count), layer.w, layer.dy.Rows(begin, count), c.precision},
                   {"linear", PiecesOf(c.in), PiecesOf(c.out)},
                   ChunksOf(kTokens, r * kAll / ranks, (r + 1) * kAll / ranks));
      ExpectSameBits(part.y, whole.y.Rows(begin, count).Clone());
      ExpectSameBits(part.dx, whole.dx.Rows(begin, count).Clone());
      for (GradTree::Node& node : part.nodes) tree.AddNode(std::move(node));
    }
    std::vector<GradTree::Node> root = tree.Take();
    ASSERT_EQ(root.size(), 1u);
    ASSERT_EQ(root[0].level, 0);
    ExpectSameBits(root[0].sum, whole.dw);
  }
}

TEST(LinearInvariant, WithoutRowsOrInputs) {
  const Layer none{Tensor::Empty({0, kIn}, {}), Random({kOut, kIn}, "w"),
                   Tensor::Empty({0, kOut}, {})};
  const Result no_rows = RunLayer(none, {"linear", PiecesOf(kIn), PiecesOf(kOut)}, ChunksOf(0));
  ExpectSameBits(no_rows.dw, Tensor::Zeros({kOut, kIn}, {}));
  EXPECT_EQ(no_rows.y.shape(), Shape({0, kOut}));
  const Layer narrow{Tensor::Empty({kTokens, 0}, {}), Tensor::Empty({kOut, 0}, {}),
                     Random({kTokens, kOut}, "dy")};
  const Result no_inputs =
      RunLayer(narrow, {"linear", PiecesOf(0), PiecesOf(kOut)}, ChunksOf(kTokens));
  ExpectSameBits(no_inputs.y, Tensor::Zeros({kTokens, kOut}, {}));
  EXPECT_EQ(no_inputs.dx.shape(), Shape({kTokens, 0}));
}

// Long enough for the fast product to add in another order: all rows in leaf 2, so that the sum is
// one chain of fused multiply-adds.
constexpr int64_t kManyTokens = 3000;

std::shared_ptr<const RowLeaves> AllInOneLeaf() {
  return std::make_shared<RowLeaves>(RowLeaves{
      {0, 1, 2, 3, 4, 5, 6, 7},
      {0, 0, 0, kManyTokens, kManyTokens, kManyTokens, kManyTokens, kManyTokens, kManyTokens}});
}

void ExpectChains(const Tensor& dw, const Tensor& dy, const Tensor& x) {
  for (int64_t o = 0; o < kOut; ++o) {
    for (int64_t i = 0; i < kIn; ++i) {
      float sum = 0;
      for (int64_t t = 0; t < dy.dim(0); ++t) {
        sum = std::fma(dy.data<float>()[t * kOut + o], x.data<float>()[t * kIn + i], sum);
      }
      ASSERT_EQ(dw.data<float>()[o * kIn + i], sum) << o << "," << i;
    }
  }
}

TEST(LinearInvariant, ALeafOfTheWeightGradientIsOneChain) {
  const Layer layer{Random({kManyTokens, kIn}, "x"), Random({kOut, kIn}, "w"),
                    Random({kManyTokens, kOut}, "dy")};
  const Result result = RunLayer(layer, {}, AllInOneLeaf());
  ExpectChains(result.dw, layer.dy, layer.x);
}

TEST(LinearFast, WithoutRowsOrInputs) {
  for (const auto& [tokens, in] : {std::pair<int64_t, int64_t>{0, kIn}, {kTokens, 0}, {0, 0}}) {
    Parameter w;
    w.value = Random({kOut, in}, "w");
    w.grad = Random({kOut, in}, "grad");
    const Tensor before = w.grad.Clone();
    Tape tape;
    Var x = tape.Input(Random({tokens, in}, "x"), true);
    Var y = Linear(tape, x, w);
    tape.RunBackward(y, Random({tokens, kOut}, "dy"));
    EXPECT_EQ(x.grad()->grad.shape(), Shape({tokens, in}));
    ExpectSameBits(w.grad, before);
    ASSERT_EQ(y.shape(), Shape({tokens, kOut}));
    if (in == 0) ExpectSameBits(y.tensor(), Tensor::Zeros(y.shape(), {}));
  }
}

// --- experts ---------------------------------------------------------------------------------

constexpr int kExperts = 5;
constexpr int64_t kTopK = 2;

// Choices of `tokens` tokens from `first` on; expert 3 gets none.
Tensor ChoicesOf(int64_t tokens, int64_t first = 0) {
  const int32_t order[] = {4, 0, 2, 1};
  Tensor t = Tensor::Empty({tokens, kTopK}, {DType::kI32});
  for (int64_t i = 0; i < tokens * kTopK; ++i) {
    const int64_t token = first + i / kTopK;
    t.data<int32_t>()[i] = order[(token * token + i % kTopK) % 4];
  }
  return t;
}

struct ExpertLayer {
  Tensor tokens, w, dy, choices;  // dy by sorted row
  MatmulPrecision precision = {};
};

Result RunExperts(const ExpertLayer& layer, GroupedOptions options, const RowLeaves& rows) {
  Parameter w;
  w.value = layer.w;
  w.matmul = layer.precision;
  w.tree = std::make_shared<GradTree>(OneMicrobatch());
  Tape tape;
  tape.SetNumerics(Numerics::kInvariant);
  const Dispatch dispatch = PlanDispatch(tape, tape.Input(layer.choices), kExperts);
  options.leaves = std::make_shared<GroupedLeaves>(LeavesOfRows(dispatch, rows));
  Var sorted = tape.Input(Permute(tape, tape.Input(layer.tokens), dispatch).tensor(), true);
  Var y = GroupedLinear(tape, sorted, w, dispatch.offsets, options);
  tape.SetNumerics(Numerics::kFast);
  tape.RunBackward(y, layer.dy);
  Result result{y.tensor(), sorted.grad()->grad, {}, w.tree->Take()};
  if (result.nodes.size() == 1 && result.nodes[0].level == 0) result.dw = result.nodes[0].sum;
  return result;
}

ExpertLayer WholeExperts(const SplitCase& c) {
  return {Random({kTokens, c.in}, "tokens"), Random({kExperts, c.out, c.in}, "experts"),
          Random({kTokens * kTopK, c.out}, "dy"), ChoicesOf(kTokens), c.precision};
}

Tensor Expert(const Tensor& w, int64_t e) {
  return w.Rows(e, 1).Reshape({w.dim(1), w.dim(2)}).Clone();
}

// The twin: each expert is a Linear of its own rows.
TEST_P(GroupedSplit, EachExpertIsALinear) {
  const SplitCase& c = GetParam();
  const ExpertLayer layer = WholeExperts(c);
  const Result whole =
      RunExperts(layer, {"grouped", PiecesOf(c.in), PiecesOf(c.out), {}}, *ChunksOf(kTokens));
  int64_t row = 0;
  for (int64_t e = 0; e < kExperts; ++e) {
    std::vector<int64_t> tokens;
    for (int64_t i = 0; i < kTokens * kTopK; ++i) {
      if (layer.choices.data<int32_t>()[i] == e) tokens.push_back(i / kTopK);
    }
    const auto count = static_cast<int64_t>(tokens.size());
    Layer alone{Tensor::Empty({count, c.in}, {}), Expert(layer.w, e), layer.dy.Rows(row, count),
                c.precision};
    for (int64_t i = 0; i < count; ++i) {
      alone.x.Rows(i, 1).CopyFrom(layer.tokens.Rows(tokens[static_cast<size_t>(i)], 1));
    }
    auto rows = std::make_shared<RowLeaves>();
    rows->bounds.push_back(0);
    for (int64_t leaf = 0; leaf < kAll; ++leaf) {
      const int64_t end = PieceBegin(kTokens, kAll, leaf + 1);
      rows->index.push_back(leaf);
      rows->bounds.push_back(
          std::count_if(tokens.begin(), tokens.end(), [end](int64_t t) { return t < end; }));
    }
    const Result twin = RunLayer(alone, {"linear", PiecesOf(c.in), PiecesOf(c.out)}, rows);
    ExpectSameBits(whole.y.Rows(row, count).Clone(), twin.y);
    ExpectSameBits(whole.dx.Rows(row, count).Clone(), twin.dx);
    ExpectSameBits(Expert(whole.dw, e), twin.dw);
    row += count;
  }
}

// Ranks with a part of the tokens each, every expert on all of them.
TEST_P(GroupedSplit, OverTokens) {
  const SplitCase& c = GetParam();
  const ExpertLayer layer = WholeExperts(c);
  const GroupedOptions options{"grouped", PiecesOf(c.in), PiecesOf(c.out), {}};
  const Result whole = RunExperts(layer, options, *ChunksOf(kTokens));
  Tape plan;
  const Dispatch dispatch = PlanDispatch(plan, plan.Input(layer.choices), kExperts);
  for (int64_t ranks : {2, 4, 8}) {
    GradTree tree(OneMicrobatch());
    for (int64_t r = 0; r < ranks; ++r) {
      const int64_t begin = PieceBegin(kTokens, ranks, r);
      const int64_t count = PieceBegin(kTokens, ranks, r + 1) - begin;
      ExpertLayer own{layer.tokens.Rows(begin, count), layer.w,
                      Tensor::Empty({count * kTopK, c.out}, {}), ChoicesOf(count, begin),
                      c.precision};
      const Dispatch local = PlanDispatch(plan, plan.Input(own.choices), kExperts);
      const int32_t* place = dispatch.position.data<int32_t>() + begin * kTopK;
      for (int64_t i = 0; i < count * kTopK; ++i) {
        own.dy.Rows(local.position.data<int32_t>()[i], 1).CopyFrom(layer.dy.Rows(place[i], 1));
      }
      Result part =
          RunExperts(own, options, *ChunksOf(kTokens, r * kAll / ranks, (r + 1) * kAll / ranks));
      for (int64_t i = 0; i < count * kTopK; ++i) {
        const int64_t at = local.position.data<int32_t>()[i];
        ExpectSameBits(part.y.Rows(at, 1), whole.y.Rows(place[i], 1));
        ExpectSameBits(part.dx.Rows(at, 1), whole.dx.Rows(place[i], 1));
      }
      for (GradTree::Node& node : part.nodes) tree.AddNode(std::move(node));
    }
    std::vector<GradTree::Node> root = tree.Take();
    ASSERT_EQ(root.size(), 1u);
    ExpectSameBits(root[0].sum, whole.dw);
  }
}

TEST(GroupedLinearInvariant, ALeafOfTheWeightGradientIsOneChain) {
  Tensor choices = Tensor::Zeros({kManyTokens, 1}, {DType::kI32});  // all to expert 0
  const ExpertLayer layer{Random({kManyTokens, kIn}, "x"), Random({kExperts, kOut, kIn}, "w"),
                          Random({kManyTokens, kOut}, "dy"), choices};
  const Result result = RunExperts(layer, {}, *AllInOneLeaf());
  ExpectChains(Expert(result.dw, 0), layer.dy, layer.tokens);
}

TEST(GroupedLinearInvariant, WithoutRows) {
  const ExpertLayer none{Tensor::Empty({0, kIn}, {}), Random({kExperts, kOut, kIn}, "w"),
                         Tensor::Empty({0, kOut}, {}), ChoicesOf(0)};
  const Result result =
      RunExperts(none, {"grouped", PiecesOf(kIn), PiecesOf(kOut), {}}, *ChunksOf(0));
  EXPECT_EQ(result.y.shape(), Shape({0, kOut}));
  EXPECT_EQ(result.dx.shape(), Shape({0, kIn}));
  ExpectSameBits(result.dw, Tensor::Zeros({kExperts, kOut, kIn}, {}));
}

// --- leaves of sorted rows -------------------------------------------------------------------

TEST(LeavesOfRows, AreTheRowsOfEachTokenChunk) {
  Tape tape;
  for (int64_t tokens : {0, 1, 5, 64, 100}) {
    const Tensor choices = ChoicesOf(tokens);
    const Dispatch dispatch = PlanDispatch(tape, tape.Input(choices), kExperts);
    RowLeaves rows{{4, 5, 6, 9}, {0, tokens / 3, tokens / 3, tokens / 2, tokens}};
    const GroupedLeaves leaves = LeavesOfRows(dispatch, rows);
    EXPECT_EQ(leaves.index, rows.index);
    EXPECT_EQ(leaves.experts, kExperts);
    std::vector<int> covered(static_cast<size_t>(tokens * kTopK));
    for (int64_t i = 0; i < 4; ++i) {
      for (int64_t e = 0; e < kExperts; ++e) {
        for (int64_t n = leaves.Begin(i, e); n < leaves.End(i, e); ++n) {
          ++covered[static_cast<size_t>(n)];
          const int32_t choice = dispatch.source.data<int32_t>()[n];
          EXPECT_EQ(choices.data<int32_t>()[choice], e);
          EXPECT_GE(choice / kTopK, rows.bounds[static_cast<size_t>(i)]);
          EXPECT_LT(choice / kTopK, rows.bounds[static_cast<size_t>(i + 1)]);
        }
      }
    }
    EXPECT_EQ(covered, std::vector<int>(covered.size(), 1));
  }
}

TEST(LeavesOfRows, OnMetaEveryRunIsEmpty) {
  Tape tape;
  const Tensor choices = Tensor::Empty({6, kTopK}, {DType::kI32, Device::kMeta});
  const Dispatch dispatch = PlanDispatch(tape, tape.Input(choices), kExperts);
  const GroupedLeaves leaves = LeavesOfRows(dispatch, {{0, 1}, {0, 3, 6}});
  EXPECT_EQ(leaves.bounds, std::vector<int32_t>(2 * kExperts * 2, 0));
}

TEST(Permute, WithoutTokens) {
  Tape tape;
  const Dispatch dispatch = PlanDispatch(tape, tape.Input(ChoicesOf(0)), kExperts);
  Var x = tape.Input(Tensor::Empty({0, kIn}, {}), true);
  Var weights = tape.Input(Tensor::Empty({0, kTopK}, {}), true);
  Var y = Unpermute(tape, Permute(tape, x, dispatch), weights, dispatch);
  ASSERT_EQ(y.shape(), Shape({0, kIn}));
  tape.RunBackward(y, Tensor::Empty({0, kIn}, {}));
  EXPECT_EQ(x.grad()->grad.shape(), Shape({0, kIn}));
  EXPECT_EQ(weights.grad()->grad.shape(), Shape({0, kTopK}));
}

}  // namespace
}  // namespace choir
