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
  const int64_t experts = w.dim(0), in = w.dim(-1);
  return {experts, w.NumElements() / (experts * in), in};
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
template <class T>
void MultiplyRows(const Tensor& to, const Tensor& from, const Tensor& w, const Tensor& offsets,
                  Transpose transpose_w) {
  const Sizes size = SizesOf(w);
  const bool forward = transpose_w == Transpose::kYes;
  const int64_t n = forward ? size.out : size.in, k = forward ? size.in : size.out;
  const int32_t* offset = offsets.data<int32_t>();
  std::vector<Tile> tiles;
  for (int64_t e = 0; e < size.experts; ++e) {
    AddTiles(tiles, {e, offset[e], offset[e + 1] - offset[e], 1}, kRowTile);
  }
  RunTiles(tiles, [&](const Tile& tile) {
    Gemm(GemmArgs<T>{.transpose_b = transpose_w,
                     .m = tile.count,
                     .n = n,
                     .k = k,
                     .a = from.data<T>() + tile.begin * k,
                     .lda = k,
                     .b = w.data<T>() + tile.expert * size.out * size.in,
                     .ldb = size.in,
                     .c = to.data<T>() + tile.begin * n,
                     .ldc = n});
  });
}

// grad[e] += dy[rows of e]^T x[rows of e].
template <class T>
void AddWeightGrad(const Tensor& grad, const Tensor& dy, const Tensor& x, const Tensor& offsets) {
  const Sizes size = SizesOf(grad);
  const int32_t* offset = offsets.data<int32_t>();
  std::vector<Tile> tiles;
  for (int64_t e = 0; e < size.experts; ++e) {
    const int64_t rows = offset[e + 1] - offset[e];
    if (rows == 0) continue;
    AddTiles(tiles, {e, 0, size.out, rows}, rows > kManyRows ? kSmallOutTile : kOutTile);
  }
  RunTiles(tiles, [&](const Tile& tile) {
    const int64_t row = offset[tile.expert];
    Gemm(GemmArgs<T>{.transpose_a = Transpose::kYes,
                     .m = tile.count,
                     .n = size.in,
                     .k = offset[tile.expert + 1] - row,
                     .a = dy.data<T>() + row * size.out + tile.begin,
                     .lda = size.out,
                     .b = x.data<T>() + row * size.in,
                     .ldb = size.in,
                     .beta = 1,
                     .c = grad.data<T>() + (tile.expert * size.out + tile.begin) * size.in,
                     .ldc = size.in});
  });
}

Tensor Multiply(const Tensor& from, const Tensor& w, const Tensor& offsets, Transpose transpose_w) {
  const Sizes size = SizesOf(w);
  const int64_t width = transpose_w == Transpose::kYes ? size.out : size.in;
  Tensor to = Tensor::Empty({from.dim(0), width}, from.options(MemoryCategory::kActivations));
  Launch(to.device(), "grouped_linear", [&] {
    CHECK(offsets.data<int32_t>()[size.experts] == from.dim(0)) << "rows without an expert";
    DispatchFloat(to.dtype(),
                  [&]<class T>() { MultiplyRows<T>(to, from, w, offsets, transpose_w); });
  });
  return to;
}

}  // namespace

Var GroupedLinear(Tape& tape, const Var& x, Parameter& w, const Tensor& offsets, const Tag& tag) {
  CHECK(x.shape().rank() == 2 && w.value.shape().rank() >= 3) << w.name << " " << w.value.shape();
  CHECK(x.dim(1) == w.value.dim(-1)) << w.name << " " << w.value.shape();
  CHECK(offsets.dtype() == DType::kI32);
  CHECK(offsets.NumElements() == w.value.dim(0) + 1) << w.name << " " << w.value.shape();
  tape.Use(w);
  Saved xs = x.Save();
  Var y = tape.Compute(
      tag, [xs, &w, offsets] { return Multiply(xs.Get(), w.value, offsets, Transpose::kYes); });
  tape.Record({&y}, [xs, gx = x.grad(), &w, offsets](Sink& sink) {
    const Tensor dy = sink.OutputGrad(0);
    if (gx != nullptr) sink.Add(gx, Multiply(dy, w.value, offsets, Transpose::kNo));
    sink.Weight(w, [x = xs.Get(), dy, offsets](const Tensor& grad) {
      Launch(grad.device(), "grouped_linear_weight", [&] {
        DispatchFloat(grad.dtype(), [&]<class T>() { AddWeightGrad<T>(grad, dy, x, offsets); });
      });
    });
  });
  return y;
}

}  // namespace choir
