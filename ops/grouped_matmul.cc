#include "ops/grouped_matmul.h"

#include <algorithm>
#include <vector>

#include "ops/gemm.h"
#include "ops/launch.h"
#include "ops/parallel_for.h"

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

// to[rows of e] = from[rows of e] op(w[e]), with op the transpose forward (to is y).
struct RowProduct {
  Tensor from, w, offsets;
  Transpose transpose_w;
  InnerSum order;

  bool forward() const { return transpose_w == Transpose::kYes; }
};

int64_t NumRuns(const ExpertRuns& runs) {
  return std::max<int64_t>(1, static_cast<int64_t>(runs.bounds.size()) - 1);
}

void AwaitRows(const ExpertRuns& runs) {
  if (!runs.before) return;
  for (int64_t i = 0; i < NumRuns(runs); ++i) runs.before(i);
}

// Experts [begin, end). Each tile is a product of its own, so that what is computed together
// changes no bit.
template <class T>
void MultiplyExperts(const Tensor& to, const RowProduct& p, int64_t begin, int64_t end,
                     const std::function<void()>& poll) {
  const Sizes size = SizesOf(p.w);
  const int64_t n = p.forward() ? size.out : size.in, k = p.forward() ? size.in : size.out;
  const int32_t* offset = p.offsets.data<int32_t>();
  const auto multiply = [&](const Tile& tile) {
    const GemmArgs<T> args{.transpose_b = p.transpose_w,
                           .m = tile.count,
                           .n = n,
                           .k = k,
                           .a = p.from.data<T>() + tile.begin * k,
                           .lda = k,
                           .b = p.w.data<T>() + tile.expert * size.out * size.in,
                           .ldb = size.in,
                           .c = to.data<T>() + tile.begin * n,
                           .ldc = n};
    Gemm(args, p.order);
  };
  std::vector<Tile> tiles;
  for (int64_t e = begin; e < end; ++e) {
    AddTiles(tiles, {e, offset[e], offset[e + 1] - offset[e], 1}, kRowTile);
    // As few at once as keep all threads busy.
    if (!poll || static_cast<int>(tiles.size()) < NumThreads()) continue;
    RunTiles(tiles, multiply);
    tiles.clear();
    poll();
  }
  RunTiles(tiles, multiply);
}

Tensor Multiply(const RowProduct& p, const ExpertRuns& runs) {
  const Sizes size = SizesOf(p.w);
  const int64_t width = p.forward() ? size.out : size.in;
  Tensor to = Tensor::Empty({p.from.dim(0), width}, p.from.options(MemoryCategory::kActivations));
  Launch(to.device(), "grouped_linear", [&] {
    CHECK(p.offsets.data<int32_t>()[size.experts] == p.from.dim(0)) << "rows without an expert";
    const std::vector<int64_t> all = {0, size.experts};
    const std::vector<int64_t>& bounds = runs.bounds.empty() ? all : runs.bounds;
    CHECK(bounds.front() == 0 && bounds.back() == size.experts) << "runs of other experts";
    for (size_t i = 0; i + 1 < bounds.size(); ++i) {
      const auto run = static_cast<int64_t>(i);
      if (runs.before) runs.before(run);
      DispatchFloat(to.dtype(), [&]<class T>() {
        MultiplyExperts<T>(to, p, bounds[i], bounds[i + 1], runs.poll);
      });
      if (runs.after) runs.after(run, to);
    }
  });
  return to;
}

// grad[e] += dy[rows of e]^T x[rows of e]: all rows of an expert, or those of one leaf.
struct WeightGrad {
  Tensor dy, x, offsets;
  std::shared_ptr<const GroupedLeaves> leaves;
  Numerics numerics;

  struct Range {
    int64_t begin, end;
  };
  Range Rows(int64_t leaf, int64_t expert) const {
    if (leaf >= 0) return {leaves->Begin(leaf, expert), leaves->End(leaf, expert)};
    const int32_t* offset = offsets.data<int32_t>();
    return {offset[expert], offset[expert + 1]};
  }
};

template <class T>
void AddWeightGrad(const Tensor& grad, const WeightGrad& g, int64_t leaf) {
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
                           .a = g.dy.data<T>() + begin * size.out + tile.begin,
                           .lda = size.out,
                           .b = g.x.data<T>() + begin * size.in,
                           .ldb = size.in,
                           .beta = 1,
                           .c = grad.data<T>() + (tile.expert * size.out + tile.begin) * size.in,
                           .ldc = size.in};
    Gemm(args, InnerSum{g.numerics, nullptr});
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
  const InnerSum over_in{tape.numerics(), options.in_pieces};
  const InnerSum over_out{tape.numerics(), options.out_pieces};
  Var y = tape.Compute(options.tag, [xs, &w, offsets, over_in, runs = options.forward] {
    return Multiply({xs.Get(), w.Value(), offsets, Transpose::kYes, over_in}, runs);
  });
  tape.Record({&y}, [xs, gx = x.grad(), &w, offsets, over_out, leaves = options.leaves,
                     arriving = options.forward, runs = options.backward](Sink& sink) {
    const Tensor dy = sink.OutputGrad(0), x = xs.Get();  // rows may set out again
    if (gx != nullptr) {
      sink.Add(gx, Multiply({dy, w.Value(), offsets, Transpose::kNo, over_out}, runs));
    }
    std::vector<int64_t> index;
    if (leaves != nullptr) index = leaves->index;
    const WeightGrad sum{dy, x, offsets, leaves, over_out.numerics};
    AwaitRows(arriving);
    AwaitRows(runs);
    sink.Weight(w, std::move(index), [sum](const Tensor& grad, int64_t leaf) {
      Launch(grad.device(), "grouped_linear_weight", [&] {
        DispatchFloat(grad.dtype(), [&]<class T>() { AddWeightGrad<T>(grad, sum, leaf); });
      });
    });
  });
  return y;
}

Var GroupedLinear(Tape& tape, const Var& x, Parameter& w, const Tensor& offsets, const Tag& tag) {
  return GroupedLinear(tape, x, w, offsets, GroupedOptions{.tag = tag});
}

}  // namespace choir
