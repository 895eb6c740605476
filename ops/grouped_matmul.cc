#include "ops/grouped_matmul.h"

#include <algorithm>
#include <array>
#include <type_traits>
#include <vector>

#include "ops/block_gemm.h"
#include "ops/gemm.h"
#include "ops/launch.h"
#include "ops/parallel_for.h"
#include "ops/round_operand.h"

namespace choir {
namespace {

// Tiles of rows of x and y, and of rows of w: large enough that packing costs little, small enough
// that the last task to end does not keep the other cores waiting. The gradient of an expert with
// more than kManyRows rows is one long sum for each element of w, so it is cut finer.
constexpr int64_t kRowTile = 512;
constexpr int64_t kOutTile = 512, kSmallOutTile = 64;
constexpr int64_t kManyRows = 2048;

struct Sizes {
  int64_t experts, out, in;
};

Sizes SizesOf(const Tensor& w) {
  int64_t out = 1;
  for (int i = 1; i + 1 < w.shape().rank(); ++i) out *= w.dim(i);
  return {w.dim(0), out, w.dim(-1)};
}

// A task: `count` rows (of x or of w) of one expert from `begin` on, `cost` in proportion to its
// arithmetic.
struct Tile {
  int64_t expert, begin, count, cost;
};

// Cuts [begin, begin + count) of an expert into equal tiles of at most `most`.
void AddTiles(std::vector<Tile>& tiles, const Tile& whole, int64_t most) {
  const int64_t pieces = (whole.count + most - 1) / most;
  for (int64_t i = 0; i < pieces; ++i) {
    const int64_t begin = whole.count * i / pieces, end = whole.count * (i + 1) / pieces;
    tiles.push_back({whole.expert, whole.begin + begin, end - begin, (end - begin) * whole.cost});
  }
}

// Runs the tiles on all threads, the largest first, so that none is left alone at the end.
template <class Task>
void RunTiles(std::vector<Tile>& tiles, const Task& task) {
  std::stable_sort(tiles.begin(), tiles.end(),
                   [](const Tile& a, const Tile& b) { return a.cost > b.cost; });
  ParallelFor(static_cast<int64_t>(tiles.size()),
              [&](int64_t i) { task(tiles[static_cast<size_t>(i)]); });
}

int64_t NumBlocks(int64_t n, PieceBounds pieces) {
  return static_cast<int64_t>(BlockBounds(n, pieces, kFp8Block).size()) - 1;
}

// to[rows of e] = from[rows of e] op(w[e]), with op the transpose forward (to is y).
struct RowProduct {
  Tensor from, w, offsets;
  Transpose transpose_w;
  InnerSum order;
  MatmulPrecision precision;
  SumPieces other_pieces;                       // of the dim of w that is not summed
  std::shared_ptr<const GroupedLeaves> leaves;  // 128 x 128 blocks of dy end where they do

  bool forward() const { return transpose_w == Transpose::kYes; }
  bool rounds() const { return precision.format != MatmulFormat::kFull; }
  OperandRounding RoundingOfRows() const {
    return RoundingOf(precision, forward() ? OperandRole::kActivation : OperandRole::kGradient,
                      false);
  }
  OperandRounding RoundingOfWeight() const {
    return RoundingOf(precision, OperandRole::kWeight, !forward());
  }
};

// Workspace for the rounded operands of a product; all undefined for kFull.
struct RoundedRows {
  Tensor from, w;
  Tensor from_scales;  // kFp8Block: [blocks of k, N]
  Tensor w_scales;     // [E, blocks of k, width]
};

RoundedRows MakeRounded(const RowProduct& p) {
  if (!p.rounds()) return {};
  CHECK(p.from.dtype() == DType::kF32)
      << "products with rounded operands are for F32, not " << p.from.dtype();
  const TensorOptions options = p.from.options(MemoryCategory::kWorkspace);
  RoundedRows r{
      Tensor::Empty(p.from.shape(), options), Tensor::Empty(p.w.shape(), options), {}, {}};
  if (!p.RoundingOfRows().HasScales()) return r;
  const Sizes size = SizesOf(p.w);
  const int64_t blocks = NumBlocks(p.from.dim(1), BoundsOf(p.order.pieces));
  r.from_scales = Tensor::Empty({blocks, p.from.dim(0)}, options);
  r.w_scales = Tensor::Empty({size.experts, blocks, p.forward() ? size.out : size.in}, options);
  return r;
}

// Where 128 x 128 blocks of rows of an expert end beside: the leaves, from its first row.
std::vector<int64_t> LeafBounds(const RowProduct& p, int64_t expert) {
  const bool cut = p.order.numerics == Numerics::kInvariant && p.RoundingOfRows().square;
  if (p.leaves == nullptr || !cut) return {};
  const int32_t* offset = p.offsets.data<int32_t>() + expert;
  std::vector<int64_t> bounds = {0};
  for (size_t i = 0; i < p.leaves->index.size(); ++i) {
    const auto leaf = static_cast<int64_t>(i);
    const int64_t end = p.leaves->End(leaf, expert);
    if (p.leaves->Begin(leaf, expert) < end) bounds.push_back(end - offset[0]);
  }
  std::sort(bounds.begin(), bounds.end());
  CHECK(bounds.back() == offset[1] - offset[0]) << "rows of expert " << expert << " in no leaf";
  return bounds;
}

// The rows of experts [begin, end), and their weights. Each has its blocks of its own.
void RoundExperts(const RowProduct& p, const RoundedRows& rounded, int64_t begin, int64_t end) {
  const Sizes size = SizesOf(p.w);
  const int64_t k = p.from.dim(1), n = p.from.dim(0), elements = size.out * size.in;
  const int32_t* offset = p.offsets.data<int32_t>();
  const bool scaled = rounded.w_scales.defined();
  const int64_t per_expert = scaled ? rounded.w_scales.dim(1) * rounded.w_scales.dim(2) : 0;
  for (int64_t e = begin; e < end; ++e) {
    const int64_t first = offset[e], count = offset[e + 1] - first;
    if (count == 0 || elements == 0) continue;
    const std::vector<int64_t> leaves = LeafBounds(p, e);
    RoundOperand({.how = p.RoundingOfRows(),
                  .from = p.from.data<float>() + first * k,
                  .rows = count,
                  .columns = k,
                  .sum_pieces = BoundsOf(p.order.pieces),
                  .other_pieces = leaves,
                  .to = rounded.from.data<float>() + first * k,
                  .scales = scaled ? rounded.from_scales.data<float>() + first : nullptr,
                  .scale_stride = n});
    RoundOperand({.how = p.RoundingOfWeight(),
                  .from = p.w.data<float>() + e * elements,
                  .rows = size.out,
                  .columns = size.in,
                  .sum_pieces = BoundsOf(p.order.pieces),
                  .other_pieces = BoundsOf(p.other_pieces),
                  .to = rounded.w.data<float>() + e * elements,
                  .scales = scaled ? rounded.w_scales.data<float>() + e * per_expert : nullptr,
                  .scale_stride = p.forward() ? size.out : size.in});
  }
}

int64_t NumRuns(const ExpertRuns& runs) {
  return std::max<int64_t>(1, static_cast<int64_t>(runs.bounds.size()) - 1);
}

void AwaitRows(const ExpertRuns& runs) {
  if (!runs.before) return;
  for (int64_t i = 0; i < NumRuns(runs); ++i) runs.before(i);
}

// What runs of experts do besides their products, in the same order.
void PassRuns(const ExpertRuns& runs, const Tensor& to) {
  for (int64_t i = 0; i < NumRuns(runs); ++i) {
    if (runs.before) runs.before(i);
    if (runs.after) runs.after(i, to);
  }
}

// Experts [begin, end). Each tile is a product of its own, so that what is computed together
// changes no bit.
template <class T>
void MultiplyExperts(const Tensor& to, const RowProduct& p, const RoundedRows& rounded,
                     std::array<int64_t, 2> experts, const std::function<void()>& poll) {
  const Sizes size = SizesOf(p.w);
  const Tensor& from = p.rounds() ? rounded.from : p.from;
  const Tensor& w = p.rounds() ? rounded.w : p.w;
  const int64_t n = p.forward() ? size.out : size.in, k = p.forward() ? size.in : size.out;
  const int32_t* offset = p.offsets.data<int32_t>();
  const auto multiply = [&](const Tile& tile) {
    const GemmArgs<T> args{.transpose_b = p.transpose_w,
                           .m = tile.count,
                           .n = n,
                           .k = k,
                           .a = from.data<T>() + tile.begin * k,
                           .lda = k,
                           .b = w.data<T>() + tile.expert * size.out * size.in,
                           .ldb = size.in,
                           .c = to.data<T>() + tile.begin * n,
                           .ldc = n};
    if constexpr (std::is_same_v<T, float>) {
      if (rounded.w_scales.defined()) {
        const int64_t per_expert = rounded.w_scales.dim(1) * n;
        return BlockGemm(args,
                         {rounded.from_scales.data<float>() + tile.begin, p.from.dim(0),
                          rounded.w_scales.data<float>() + tile.expert * per_expert, n},
                         p.order);
      }
    }
    Gemm(args, p.order);
  };
  std::vector<Tile> tiles;
  for (int64_t e = experts[0]; e < experts[1]; ++e) {
    AddTiles(tiles, {e, offset[e], offset[e + 1] - offset[e], 1}, kRowTile);
    // As few at once as keep all threads busy.
    if (!poll || static_cast<int>(tiles.size()) < NumThreads()) continue;
    RunTiles(tiles, multiply);
    tiles.clear();
    poll();
  }
  RunTiles(tiles, multiply);
}

// The products of all rows with their experts; `moved`: what they read and write.
Work GroupedWork(const char* name, int64_t rows, const Sizes& size,
                 const MatmulPrecision& precision, double moved) {
  Work work = ProductWork(name, rows, size.out, size.in);
  work.kind = WorkKind::kGrouped;
  work.bytes = moved;
  work.groups = size.experts;
  work.operands = precision.format;
  return work;
}

Tensor Multiply(const RowProduct& p, const ExpertRuns& runs) {
  const Sizes size = SizesOf(p.w);
  const int64_t width = p.forward() ? size.out : size.in;
  Tensor to = Tensor::Empty({p.from.dim(0), width}, p.from.options(MemoryCategory::kActivations));
  const RoundedRows rounded = MakeRounded(p);
  if (p.rounds()) {
    RecordWork(MemoryWork("round_operand", p.from, rounded.from, rounded.from_scales));
    RecordWork(MemoryWork("round_operand", p.w, rounded.w, rounded.w_scales));
  }
  Work work = GroupedWork("grouped_gemm", p.from.dim(0), size, p.precision,
                          BytesOf(p.from, rounded.from_scales, p.w, rounded.w_scales, to));
  if (!p.forward()) std::swap(work.n, work.k);
  Launch(to.device(), work, [&] {
    CHECK(p.offsets.data<int32_t>()[size.experts] == p.from.dim(0)) << "rows without an expert";
    const std::vector<int64_t> all = {0, size.experts};
    const std::vector<int64_t>& bounds = runs.bounds.empty() ? all : runs.bounds;
    CHECK(bounds.front() == 0 && bounds.back() == size.experts) << "runs of other experts";
    for (size_t i = 0; i + 1 < bounds.size(); ++i) {
      const auto run = static_cast<int64_t>(i);
      if (runs.before) runs.before(run);
      if (p.rounds()) RoundExperts(p, rounded, bounds[i], bounds[i + 1]);
      DispatchFloat(to.dtype(), [&]<class T>() {
        MultiplyExperts<T>(to, p, rounded, {bounds[i], bounds[i + 1]}, runs.poll);
      });
      if (runs.after) runs.after(run, to);
    }
  });
  if (to.device() == Device::kMeta) PassRuns(runs, to);
  return to;
}

// grad[e] += dy[rows of e]^T x[rows of e]: all rows of an expert, or those of one leaf.
struct WeightGrad {
  Tensor dy, x, offsets;
  std::shared_ptr<const GroupedLeaves> leaves;
  Numerics numerics;
  MatmulPrecision precision;
  SumPieces out_pieces;  // of O: 128 x 128 blocks of dy end there

  struct Range {
    int64_t begin, end;
  };
  Range Rows(int64_t leaf, int64_t expert) const {
    if (leaf >= 0) return {leaves->Begin(leaf, expert), leaves->End(leaf, expert)};
    const int32_t* offset = offsets.data<int32_t>();
    return {offset[expert], offset[expert + 1]};
  }
  bool rounds() const { return precision.format != MatmulFormat::kFull; }
  OperandRounding RoundingOfRows(OperandRole role) const {
    return RoundingOf(precision, role, /*sum_in_rows=*/true);
  }
};

// dy or x, rounded along the rows of each expert. Undefined for kFull.
struct RoundedRange {
  Tensor values;
  Tensor scales;  // kFp8Block: [blocks, width], the blocks of each expert after those before it
};

RoundedRange MakeRange(const WeightGrad& g, const Tensor& of, int64_t experts) {
  if (!g.rounds()) return {of, {}};
  CHECK(of.dtype() == DType::kF32)
      << "products with rounded operands are for F32, not " << of.dtype();
  const TensorOptions options = of.options(MemoryCategory::kWorkspace);
  RoundedRange range{Tensor::Empty(of.shape(), options), {}};
  if (!g.RoundingOfRows(OperandRole::kActivation).HasScales()) return range;
  // The most that there can be, however rows are dealt to experts.
  range.scales = Tensor::Empty({of.dim(0) / kFp8Block + experts, of.dim(1)}, options);
  return range;
}

// Rounds the rows of every expert; returns the first block of each.
std::vector<int64_t> RoundRange(const WeightGrad& g, int64_t leaf, const Tensor& of,
                                OperandRole role, const RoundedRange& to) {
  std::vector<int64_t> first_block = {0};
  const int64_t width = of.dim(1);
  const bool is_gradient = role == OperandRole::kGradient;
  for (int64_t e = 0; e + 1 < g.offsets.NumElements(); ++e) {
    const auto [begin, end] = g.Rows(leaf, e);
    first_block.push_back(first_block.back() + (end - begin + kFp8Block - 1) / kFp8Block);
    if (begin == end || width == 0) continue;
    float* scales = nullptr;
    if (to.scales.defined()) {
      scales = to.scales.data<float>() + first_block[static_cast<size_t>(e)] * width;
    }
    RoundOperand({.how = g.RoundingOfRows(role),
                  .from = of.data<float>() + begin * width,
                  .rows = end - begin,
                  .columns = width,
                  .sum_pieces = {},
                  .other_pieces = is_gradient ? BoundsOf(g.out_pieces) : PieceBounds(),
                  .to = to.values.data<float>() + begin * width,
                  .scales = scales,
                  .scale_stride = width});
  }
  return first_block;
}

// The rounded operands of a leaf's products.
struct RoundedGrads {
  RoundedRange dy, x;
  std::vector<int64_t> first_block;

  // Of one tile of an expert.
  BlockScales Scales(const Tile& tile) const {
    const int64_t block = first_block[static_cast<size_t>(tile.expert)];
    const int64_t out = dy.values.dim(1), in = x.values.dim(1);
    return {dy.scales.data<float>() + block * out + tile.begin, out,
            x.scales.data<float>() + block * in, in};
  }
};

template <class T>
void AddWeightGrad(const Tensor& grad, const WeightGrad& g, const RoundedGrads& rounded,
                   int64_t leaf) {
  const Sizes size = SizesOf(grad);
  std::vector<Tile> tiles;
  for (int64_t e = 0; e < size.experts; ++e) {
    const auto [begin, end] = g.Rows(leaf, e);
    if (begin == end) continue;
    AddTiles(tiles, {e, 0, size.out, end - begin},
             end - begin > kManyRows ? kSmallOutTile : kOutTile);
  }
  RunTiles(tiles, [&](const Tile& tile) {
    const auto [begin, end] = g.Rows(leaf, tile.expert);
    const GemmArgs<T> args{.transpose_a = Transpose::kYes,
                           .m = tile.count,
                           .n = size.in,
                           .k = end - begin,
                           .a = rounded.dy.values.data<T>() + begin * size.out + tile.begin,
                           .lda = size.out,
                           .b = rounded.x.values.data<T>() + begin * size.in,
                           .ldb = size.in,
                           .beta = 1,
                           .c = grad.data<T>() + (tile.expert * size.out + tile.begin) * size.in,
                           .ldc = size.in};
    const InnerSum order{g.numerics, nullptr};
    if constexpr (std::is_same_v<T, float>) {
      if (rounded.dy.scales.defined()) return BlockGemm(args, rounded.Scales(tile), order);
    }
    Gemm(args, order);
  });
}

// Leaves share out the rows in ways that meta does not know: the first one reports for all.
Work WeightWork(const Tensor& grad, const WeightGrad& g, const RoundedGrads& rounded,
                int64_t leaf) {
  if (leaf > 0) return MemoryWork("grouped_leaf");
  if (g.rounds()) {
    RecordWork(MemoryWork("round_operand", g.dy, rounded.dy.values, rounded.dy.scales));
    RecordWork(MemoryWork("round_operand", g.x, rounded.x.values, rounded.x.scales));
  }
  return GroupedWork("grouped_gemm_weight", g.dy.dim(0), SizesOf(grad), g.precision,
                     BytesOf(g.dy, g.x, grad, grad));
}

void AddWeight(const Tensor& grad, const WeightGrad& g, int64_t leaf) {
  RoundedGrads rounded{MakeRange(g, g.dy, grad.dim(0)), MakeRange(g, g.x, grad.dim(0)), {}};
  Launch(grad.device(), WeightWork(grad, g, rounded, leaf), [&] {
    if (g.rounds()) {
      rounded.first_block = RoundRange(g, leaf, g.dy, OperandRole::kGradient, rounded.dy);
      RoundRange(g, leaf, g.x, OperandRole::kActivation, rounded.x);
    }
    DispatchFloat(grad.dtype(), [&]<class T>() { AddWeightGrad<T>(grad, g, rounded, leaf); });
  });
}

void CheckLeaves(const GroupedLeaves& leaves, const Parameter& w) {
  CHECK(leaves.experts == w.shape().dim(0)) << w.name << " " << leaves.experts;
  CHECK(leaves.bounds.size() == leaves.index.size() * static_cast<size_t>(2 * leaves.experts))
      << w.name << " " << leaves.bounds.size();
}

}  // namespace

Var GroupedLinear(Tape& tape, const Var& x, Parameter& w, const Tensor& offsets,
                  const GroupedOptions& options) {
  CHECK(x.shape().rank() == 2 && w.shape().rank() >= 3) << w.name << " " << w.shape();
  CHECK(x.dim(1) == w.shape().dim(-1)) << w.name << " " << w.shape();
  CHECK(offsets.dtype() == DType::kI32);
  CHECK(offsets.NumElements() == w.shape().dim(0) + 1) << w.name << " " << w.shape();
  if (options.leaves != nullptr) CheckLeaves(*options.leaves, w);
  tape.Use(w);
  Saved xs = x.Save();
  const Numerics numerics = tape.numerics();
  const MatmulPrecision precision = w.matmul;
  Var y = tape.Compute(options.tag, [xs, &w, offsets, options, numerics, precision] {
    return Multiply({xs.Get(),
                     w.Value(),
                     offsets,
                     Transpose::kYes,
                     {numerics, options.in_pieces},
                     precision,
                     options.out_pieces,
                     nullptr},
                    options.forward);
  });
  tape.Record({&y}, [xs, gx = x.grad(), &w, offsets, options, numerics, precision](Sink& sink) {
    const Tensor dy = sink.OutputGrad(0), x = xs.Get();  // rows may set out again
    if (gx != nullptr) {
      sink.Add(gx, Multiply({dy,
                             w.Value(),
                             offsets,
                             Transpose::kNo,
                             {numerics, options.out_pieces},
                             precision,
                             options.in_pieces,
                             options.leaves},
                            options.backward));
    }
    std::vector<int64_t> index;
    if (options.leaves != nullptr) index = options.leaves->index;
    const WeightGrad sum{dy, x, offsets, options.leaves, numerics, precision, options.out_pieces};
    AwaitRows(options.forward);
    AwaitRows(options.backward);
    sink.Weight(w, std::move(index),
                [sum](const Tensor& grad, int64_t leaf) { AddWeight(grad, sum, leaf); });
  });
  return y;
}

Var GroupedLinear(Tape& tape, const Var& x, Parameter& w, const Tensor& offsets, const Tag& tag) {
  return GroupedLinear(tape, x, w, offsets, GroupedOptions{.tag = tag});
}

}  // namespace choir
