#include "ops/syrk.h"

#include <cblas.h>

#include <algorithm>
#include <limits>

#include "ops/gemm.h"
#include "ops/parallel_for.h"

namespace choir {
namespace {

int Int(int64_t n) {
  CHECK(n <= std::numeric_limits<int>::max())
      << "a matrix dim of " << n << " exceeds BLAS' 32 bits";
  return static_cast<int>(n);
}

void Lower(const SyrkArgs<float>& x) {
  cblas_ssyrk(CblasRowMajor, CblasLower, CblasNoTrans, Int(x.n), Int(x.k), x.alpha, x.a,
              Int(std::max<int64_t>(1, x.lda)), x.beta, x.c, Int(std::max<int64_t>(1, x.ldc)));
}
void Lower(const SyrkArgs<double>& x) {
  cblas_dsyrk(CblasRowMajor, CblasLower, CblasNoTrans, Int(x.n), Int(x.k), x.alpha, x.a,
              Int(std::max<int64_t>(1, x.lda)), x.beta, x.c, Int(std::max<int64_t>(1, x.ldc)));
}

// Copies the elements below the diagonal to the other side, rows [begin, end) of that.
template <class T>
void Mirror(const SyrkArgs<T>& x, int64_t begin, int64_t end) {
  constexpr int64_t kBlock = 32;
  for (int64_t column = begin / kBlock * kBlock; column < x.n; column += kBlock) {
    const int64_t last = std::min(x.n, column + kBlock);
    for (int64_t i = begin; i < end; ++i) {
      for (int64_t j = std::max(i + 1, column); j < last; ++j)
        x.c[i * x.ldc + j] = x.c[j * x.ldc + i];
    }
  }
}

constexpr int64_t kTile = 512;

}  // namespace

template <class T>
void Syrk(const SyrkArgs<T>& args) {
  Lower(args);
  constexpr int64_t kRows = 32;
  for (int64_t i = 0; i < args.n; i += kRows) Mirror(args, i, std::min(args.n, i + kRows));
}

template <class T>
void SyrkParallel(const SyrkArgs<T>& args) {
  const int64_t tiles = (args.n + kTile - 1) / kTile;
  // Tile (row, column), column <= row, is number row (row + 1) / 2 + column.
  ParallelFor(tiles * (tiles + 1) / 2, [&](int64_t i) {
    int64_t row = 0;
    while ((row + 1) * (row + 2) / 2 <= i) ++row;
    const int64_t column = i - row * (row + 1) / 2;
    const int64_t r = row * kTile, c = column * kTile;
    SyrkArgs<T> tile = args;
    tile.n = std::min(kTile, args.n - r);
    tile.a = args.a + r * args.lda;
    tile.c = args.c + r * args.ldc + c;
    if (row == column) return Lower(tile);
    Gemm(GemmArgs<T>{.transpose_b = Transpose::kYes,
                     .m = tile.n,
                     .n = kTile,
                     .k = args.k,
                     .alpha = args.alpha,
                     .a = tile.a,
                     .lda = args.lda,
                     .b = args.a + c * args.lda,
                     .ldb = args.lda,
                     .beta = args.beta,
                     .c = tile.c,
                     .ldc = args.ldc});
  });
  ParallelRanges(args.n, 32, [&](int64_t begin, int64_t end) { Mirror(args, begin, end); });
}

template void Syrk(const SyrkArgs<float>&);
template void Syrk(const SyrkArgs<double>&);
template void SyrkParallel(const SyrkArgs<float>&);
template void SyrkParallel(const SyrkArgs<double>&);

}  // namespace choir
