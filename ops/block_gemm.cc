#include "ops/block_gemm.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "ops/parallel_for.h"
#include "ops/round_operand.h"

namespace choir {
namespace {

// A tile's block products and sums stay in the second-level cache.
constexpr int64_t kTileRows = 256, kTileColumns = 256;

// What a thread needs for one tile; kept for the next one.
struct Workspace {
  std::vector<float> product = std::vector<float>(kTileRows * kTileColumns);
  std::vector<std::vector<float>> sums;  // by height of the stack of the tree

  float* Sum(size_t level) {
    while (sums.size() <= level) sums.emplace_back(kTileRows * kTileColumns);
    return sums[level].data();
  }
};

const float* Along(const float* p, bool in_rows, int64_t ld, int64_t k) {
  return p + (in_rows ? k * ld : k);
}

// Terms [begin, end) of the sum over k of a tile.
GemmArgs<float> Slice(GemmArgs<float> g, int64_t begin, int64_t end) {
  g.a = Along(g.a, g.transpose_a == Transpose::kYes, g.lda, begin);
  g.b = Along(g.b, g.transpose_b == Transpose::kNo, g.ldb, begin);
  g.k = end - begin;
  return g;
}

// sum += product, scaled; [m, n] without gaps.
void AddScaled(const GemmArgs<float>& g, const float* a_scales, const float* b_scales,
               const float* product, float* sum) {
  for (int64_t i = 0; i < g.m; ++i) {
    const float scale = a_scales[i];
    const float* p = product + i * g.n;
    float* s = sum + i * g.n;
    for (int64_t j = 0; j < g.n; ++j) s[j] = std::fma(p[j] * scale, b_scales[j], s[j]);
  }
}

// One tile: at most kTileRows x kTileColumns.
class TileProduct {
 public:
  TileProduct(const GemmArgs<float>& g, const BlockScales& scales, const InnerSum& order,
              Workspace& work)
      : g_(g),
        scales_(scales),
        numerics_(order.numerics),
        work_(work),
        pieces_(BoundsOf(order.pieces)),
        blocks_(BlockBounds(g.k, pieces_, kFp8Block)) {}

  void Run() {
    const bool tree = numerics_ == Numerics::kInvariant && !pieces_.empty();
    const float* sum = tree ? SumPieceTree() : SumBlocks(g_.k, work_.Sum(0));
    for (int64_t i = 0; i < g_.m; ++i) {
      float* c = g_.c + i * g_.ldc;
      const float* s = sum + i * g_.n;
      for (int64_t j = 0; j < g_.n; ++j) c[j] = g_.beta == 1 ? c[j] + s[j] : s[j];
    }
  }

 private:
  // sum = the blocks that come next, up to the element `end`.
  const float* SumBlocks(int64_t end, float* sum) {
    std::fill_n(sum, g_.m * g_.n, 0.0f);
    for (; next_ + 1 < blocks_.size() && blocks_[next_ + 1] <= end; ++next_) {
      GemmArgs<float> block = Slice(g_, blocks_[next_], blocks_[next_ + 1]);
      block.beta = 0;
      block.c = work_.product.data();
      block.ldc = g_.n;
      Gemm(block, InnerSum{numerics_, nullptr});
      const auto b = static_cast<int64_t>(next_);
      AddScaled(g_, scales_.a + b * scales_.a_stride, scales_.b + b * scales_.b_stride,
                work_.product.data(), sum);
    }
    return sum;
  }

  // After piece i as many pairs are complete as the binary number i ends with ones.
  const float* SumPieceTree() {
    const size_t count = pieces_.size() - 1;
    CHECK(std::has_single_bit(count)) << count << " pieces";
    size_t height = 0;
    for (size_t i = 0; i < count; ++i) {
      SumBlocks(pieces_[i + 1], work_.Sum(height++));
      for (size_t ones = i; ones % 2 == 1; ones /= 2) {
        --height;
        float* left = work_.Sum(height - 1);
        const float* right = work_.Sum(height);
        for (int64_t j = 0; j < g_.m * g_.n; ++j) left[j] += right[j];
      }
    }
    CHECK(height == 1);
    return work_.Sum(0);
  }

  GemmArgs<float> g_;
  BlockScales scales_;
  Numerics numerics_;
  Workspace& work_;
  PieceBounds pieces_;
  std::vector<int64_t> blocks_;
  size_t next_ = 0;
};

int64_t Tiles(const GemmArgs<float>& g) {
  return (g.m + kTileRows - 1) / kTileRows * ((g.n + kTileColumns - 1) / kTileColumns);
}

void RunTile(GemmArgs<float> g, BlockScales scales, const InnerSum& order, int64_t i) {
  thread_local Workspace work;
  const int64_t down = (g.m + kTileRows - 1) / kTileRows;
  // Neighbouring tasks share columns of b.
  const int64_t row = i % down * kTileRows, column = i / down * kTileColumns;
  g.a += g.transpose_a == Transpose::kNo ? row * g.lda : row;
  g.b += g.transpose_b == Transpose::kNo ? column : column * g.ldb;
  g.c += row * g.ldc + column;
  g.m = std::min(kTileRows, g.m - row);
  g.n = std::min(kTileColumns, g.n - column);
  scales.a += row;
  scales.b += column;
  TileProduct(g, scales, order, work).Run();
}

void CheckArgs(const GemmArgs<float>& g) {
  CHECK(g.alpha == 1 && (g.beta == 0 || g.beta == 1)) << g.alpha << " " << g.beta;
}

}  // namespace

void BlockGemm(const GemmArgs<float>& args, const BlockScales& scales, const InnerSum& order) {
  CheckArgs(args);
  for (int64_t i = 0; i < Tiles(args); ++i) RunTile(args, scales, order, i);
}

void BlockGemmParallel(const GemmArgs<float>& args, const BlockScales& scales,
                       const InnerSum& order) {
  CheckArgs(args);
  ParallelFor(Tiles(args), [&](int64_t i) { RunTile(args, scales, order, i); });
}

}  // namespace choir
