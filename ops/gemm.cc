#include "ops/gemm.h"

#include <cblas.h>

#include <algorithm>
#include <limits>
#include <span>

#include "base/strings.h"
#include "ops/gemm_cuda.h"
#include "ops/invariant_gemm.h"
#include "ops/launch.h"
#include "ops/parallel_for.h"

extern "C" void openblas_set_num_threads(int threads);
extern "C" char* openblas_get_config();
extern "C" char* openblas_get_corename();

namespace choir {
namespace {

// OpenBLAS keeps its own pool of threads; ParallelFor has ours.
const bool kSingleThreaded = [] {
  openblas_set_num_threads(1);
  return true;
}();

CBLAS_TRANSPOSE Flag(Transpose t) { return t == Transpose::kYes ? CblasTrans : CblasNoTrans; }

int Int(int64_t n) {
  CHECK(n <= std::numeric_limits<int>::max()) << "a GEMM dim of " << n << " exceeds BLAS' 32 bits";
  return static_cast<int>(n);
}

// The distance between rows: BLAS refuses 0, which matrices without columns have.
int Leading(int64_t distance) { return Int(std::max<int64_t>(1, distance)); }

std::span<const int64_t> Bounds(const SumPieces& pieces) {
  return pieces == nullptr ? std::span<const int64_t>() : *pieces;
}

// Tiles of the result: large enough that packing both operands is cheap beside the product, and
// small enough that a few cores find work.
constexpr int64_t kTile = 512;

template <class T>
void GemmTiles(const GemmArgs<T>& args) {
  const int64_t rows = (args.m + kTile - 1) / kTile, columns = (args.n + kTile - 1) / kTile;
  ParallelFor(rows * columns, [&](int64_t i) {
    // Neighbouring tasks share columns of b.
    const int64_t row = (i % rows) * kTile, column = (i / rows) * kTile;
    GemmArgs<T> tile = args;
    tile.m = std::min(kTile, args.m - row);
    tile.n = std::min(kTile, args.n - column);
    tile.a += args.transpose_a == Transpose::kNo ? row * args.lda : row;
    tile.b += args.transpose_b == Transpose::kNo ? column : column * args.ldb;
    tile.c += row * args.ldc + column;
    Gemm(tile);
  });
}

}  // namespace

std::string GemmLibrary() {
  return StrCat(openblas_get_config(), " for ", openblas_get_corename());
}

void Gemm(const GemmArgs<float>& g) {
  if (g.m == 0 || g.n == 0) return;
  cblas_sgemm(CblasRowMajor, Flag(g.transpose_a), Flag(g.transpose_b), Int(g.m), Int(g.n), Int(g.k),
              g.alpha, g.a, Leading(g.lda), g.b, Leading(g.ldb), g.beta, g.c, Leading(g.ldc));
}

void Gemm(const GemmArgs<double>& g) {
  if (g.m == 0 || g.n == 0) return;
  cblas_dgemm(CblasRowMajor, Flag(g.transpose_a), Flag(g.transpose_b), Int(g.m), Int(g.n), Int(g.k),
              g.alpha, g.a, Leading(g.lda), g.b, Leading(g.ldb), g.beta, g.c, Leading(g.ldc));
}

void GemmParallel(const GemmArgs<float>& args) { GemmTiles(args); }
void GemmParallel(const GemmArgs<double>& args) { GemmTiles(args); }

template <class T>
void Gemm(const GemmArgs<T>& args, const InnerSum& order) {
  if (order.numerics == Numerics::kFast) return Gemm(args);
  InvariantGemm(args, Bounds(order.pieces));
}
template void Gemm(const GemmArgs<float>& args, const InnerSum& order);
template void Gemm(const GemmArgs<double>& args, const InnerSum& order);

template <class T>
void GemmParallel(const GemmArgs<T>& args, const InnerSum& order) {
  if (order.numerics == Numerics::kFast) return GemmParallel(args);
  InvariantGemmParallel(args, Bounds(order.pieces));
}
template void GemmParallel(const GemmArgs<float>& args, const InnerSum& order);
template void GemmParallel(const GemmArgs<double>& args, const InnerSum& order);

void MatmulInto(const Tensor& c, const Tensor& a, Transpose transpose_a, const Tensor& b,
                Transpose transpose_b, double beta, const InnerSum& order, MatmulFormat operands) {
  const bool ta = transpose_a == Transpose::kYes, tb = transpose_b == Transpose::kYes;
  CHECK(c.shape().rank() == 2 && a.shape().rank() == 2 && b.shape().rank() == 2);
  CHECK(a.device() == c.device() && b.device() == c.device());
  const int64_t m = c.dim(0), n = c.dim(1), k = a.dim(ta ? 0 : 1);
  CHECK(a.dim(ta ? 1 : 0) == m) << a.shape() << " into " << c.shape();
  CHECK(b.dim(tb ? 0 : 1) == n) << b.shape() << " into " << c.shape();
  CHECK(b.dim(tb ? 1 : 0) == k) << a.shape() << " times " << b.shape();
  Work work = ProductWork("gemm", m, n, k);
  work.bytes = BytesOf(a, b, c, beta != 0 ? c : Tensor());
  work.operands = operands;
  Launch(
      c.device(), work,
      [&] {
        DispatchFloat(c.dtype(), [&]<class T>() {
          const GemmArgs<T> args{transpose_a,
                                 transpose_b,
                                 m,
                                 n,
                                 k,
                                 T(1),
                                 a.data<T>(),
                                 a.dim(1),
                                 b.data<T>(),
                                 b.dim(1),
                                 static_cast<T>(beta),
                                 c.data<T>(),
                                 n};
          GemmParallel(args, order);
        });
      },
      [&] {
        CHECK(c.dtype() == DType::kF32);
        CHECK(order.numerics == Numerics::kFast) << "invariant products are for the CPU";
        CudaGemm({ta, tb, m, n, k, 1.0f, a.data<float>(), a.dim(1), b.data<float>(), b.dim(1),
                  static_cast<float>(beta), c.data<float>(), n});
      });
}

}  // namespace choir
