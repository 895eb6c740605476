// Rates of the matrix products of step_bench's models: Choir's GemmParallel (its tiles, OpenBLAS on
// one thread each) beside one call of OpenBLAS on its own threads, best of interleaved repeats; and
// that of InvariantGemm on one thread.
//
//   gemm_bench [THREADS [REPEATS]]     defaults: 2, 15
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "ops/gemm.h"
#include "ops/invariant_gemm.h"
#include "ops/parallel_for.h"
#include "tensor/tolerance.h"
#include "train/gemm_peak.h"

extern "C" void openblas_set_num_threads(int threads);

namespace choir {
namespace {

// A layer y[tokens, out] = x[tokens, in] w[out, in]^T.
struct Layer {
  const char* name;
  int64_t tokens, out, in;
};

constexpr Layer kLayers[] = {{"qkv", 4096, 1152, 384},         {"attention out", 4096, 384, 384},
                             {"ffn gate_up", 4096, 2048, 384}, {"ffn down", 4096, 384, 1024},
                             {"head", 512, 8192, 384},         {"expert gate_up", 384, 256, 384},
                             {"expert down", 384, 384, 128}};

struct Product {
  const char* name;
  Transpose a, b;
  int64_t m, n, k;
};

double Seconds(const auto& body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

Tensor Filled(int64_t rows, int64_t columns) {
  Tensor t = Tensor::Empty({rows, columns}, {});
  uint32_t value = 1;
  for (float& x : t.span<float>()) {
    value = value * 1664525 + 1013904223;
    x = static_cast<float>(value >> 8) / (1 << 24) - 0.5f;
  }
  return t;
}

// Whether two products of matrices of Filled over k terms agree.
bool Agree(const Tensor& c, const Tensor& d, int64_t k) {
  float worst = 0;
  for (int64_t i = 0; i < c.NumElements(); ++i) {
    worst = std::max(worst, std::abs(c.data<float>()[i] - d.data<float>()[i]));
  }
  // Terms are below 1/4; see tensor/tolerance.h.
  return worst <= ErrorBound(DType::kF32, k) * std::sqrt(static_cast<double>(k));
}

// Prints one row; false when the two results differ.
bool Run(const Layer& layer, const Product& p, int threads, int repeats) {
  const bool ta = p.a == Transpose::kYes, tb = p.b == Transpose::kYes;
  const Tensor a = ta ? Filled(p.k, p.m) : Filled(p.m, p.k);
  const Tensor b = tb ? Filled(p.n, p.k) : Filled(p.k, p.n);
  const Tensor c = Tensor::Empty({p.m, p.n}, {}), d = Tensor::Empty({p.m, p.n}, {});
  double own = 1e30, library = 1e30;
  for (int i = 0; i < repeats; ++i) {
    own = std::min(own, Seconds([&] { MatmulInto(c, a, p.a, b, p.b, 0); }));
    openblas_set_num_threads(threads);
    const GemmArgs<float> args{p.a,
                               p.b,
                               p.m,
                               p.n,
                               p.k,
                               1,
                               a.data<float>(),
                               a.dim(1),
                               b.data<float>(),
                               b.dim(1),
                               0,
                               d.data<float>(),
                               p.n};
    library = std::min(library, Seconds([&] { Gemm(args); }));
    openblas_set_num_threads(1);
  }
  const bool same = Agree(c, d, p.k);
  const double flops = 2.0 * static_cast<double>(p.m * p.n * p.k);
  std::printf("%-15s %-9s %5lld x %5lld x %5lld %8.1f %8.1f   %s\n", layer.name, p.name,
              static_cast<long long>(p.m), static_cast<long long>(p.n), static_cast<long long>(p.k),
              flops / own / 1e9, flops / library / 1e9, same ? "" : "DIFFERS");
  return same;
}

double BestSeconds(int repeats, const auto& body) {
  double best = 1e30;
  for (int i = 0; i < repeats; ++i) best = std::min(best, Seconds(body));
  return best;
}

// A row for the products of `numerics: invariant`, on one thread: their fixed order of sums beside
// OpenBLAS. False when the two results differ.
bool RunInvariant(int64_t size, int repeats) {
  const Tensor a = Filled(size, size), b = Filled(size, size);
  const Tensor c = Tensor::Empty({size, size}, {}), d = Tensor::Empty({size, size}, {});
  GemmArgs<float> args{Transpose::kNo,
                       Transpose::kYes,
                       size,
                       size,
                       size,
                       1,
                       a.data<float>(),
                       size,
                       b.data<float>(),
                       size,
                       0,
                       c.data<float>(),
                       size};
  const double own = BestSeconds(repeats, [&] { InvariantGemm(args); });
  args.c = d.data<float>();
  const double library = BestSeconds(repeats, [&] { Gemm(args); });
  const bool same = Agree(c, d, size);
  const double flops = 2.0 * std::pow(static_cast<double>(size), 3);
  const auto n = static_cast<long long>(size);
  std::printf("%-15s %-9s %5lld x %5lld x %5lld %8.1f %8.1f   %s\n", "invariant", "1 thread", n, n,
              n, flops / own / 1e9, flops / library / 1e9, same ? "" : "DIFFERS");
  return same;
}

int RunAll(int threads, int repeats) {
  SetNumThreads(threads);
  std::printf("%d threads; SGEMM peak %.1f GFLOP/s\n%-15s %-9s %21s %8s %8s\n", threads,
              MeasureGemmPeak(1) / 1e9, "layer", "product", "m x n x k", "Choir", "OpenBLAS");
  bool same = true;
  for (const Layer& l : kLayers) {
    const Product products[] = {{"forward", Transpose::kNo, Transpose::kYes, l.tokens, l.out, l.in},
                                {"input", Transpose::kNo, Transpose::kNo, l.tokens, l.in, l.out},
                                {"weight", Transpose::kYes, Transpose::kNo, l.out, l.in, l.tokens}};
    for (const Product& p : products) same = Run(l, p, threads, repeats) && same;
  }
  same = RunInvariant(1024, repeats) && same;
  return same ? 0 : 1;
}

}  // namespace
}  // namespace choir

int main(int argc, char** argv) {
  const long threads = argc > 1 ? std::strtol(argv[1], nullptr, 10) : 2;
  const long repeats = argc > 2 ? std::strtol(argv[2], nullptr, 10) : 15;
  if (argc > 3 || threads < 1 || threads > 1024 || repeats < 1) {
    std::fprintf(stderr, "usage: gemm_bench [THREADS [REPEATS]]\n");
    return 2;
  }
  return choir::RunAll(static_cast<int>(threads), static_cast<int>(repeats));
}
