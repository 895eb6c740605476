// Products with rounded operands (ops/low_product.h) as a share of the rate of the same product in
// F32 on OpenBLAS, best of interleaved repeats. The formats are emulated, so all are below 100 %:
// this is what checking a recipe on a CPU costs.
//
//   low_product_bench [THREADS [REPEATS]]     defaults: 2, 7
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "ops/low_product.h"
#include "ops/parallel_for.h"

namespace choir {
namespace {

struct Format {
  const char* name;
  MatmulFormat format;
};
constexpr Format kFormats[] = {{"fp32", MatmulFormat::kFull},
                               {"bf16", MatmulFormat::kBF16},
                               {"fp16", MatmulFormat::kF16},
                               {"fp8-block", MatmulFormat::kFp8Block},
                               {"mxfp8", MatmulFormat::kMxfp8}};
constexpr size_t kCount = std::size(kFormats);

// A layer y[tokens, out] = x[tokens, in] w[out, in]^T.
struct Layer {
  const char* name;
  int64_t tokens, out, in;
};
constexpr Layer kLayers[] = {{"ffn gate_up", 4096, 2048, 384},
                             {"ffn down", 4096, 384, 1024},
                             {"expert gate_up", 384, 256, 384},
                             {"wide", 1024, 4096, 4096}};

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

// Prints one row: the rate of F32 in GFLOP/s, then shares of it.
void Run(const Layer& l, const char* name, const ProductOperand& a, const ProductOperand& b,
         long repeats, Numerics numerics) {
  const int64_t m = a.matrix.dim(a.transpose == Transpose::kYes ? 1 : 0);
  const int64_t n = b.matrix.dim(b.transpose == Transpose::kYes ? 0 : 1);
  const Tensor c = Tensor::Zeros({m, n}, {});
  std::array<double, kCount> best;
  best.fill(1e30);
  for (long i = 0; i < repeats; ++i) {
    for (size_t f = 0; f < kCount; ++f) {
      best[f] = std::min(best[f], Seconds([&] {
                           ProductInto(c, a, b, 1, {kFormats[f].format}, {numerics, nullptr});
                         }));
    }
  }
  const double flops = 2.0 * static_cast<double>(l.tokens) * static_cast<double>(l.out * l.in);
  std::printf("%-15s %-8s %9.1f", l.name, name, flops / best[0] / 1e9);
  for (size_t f = 1; f < kCount; ++f) std::printf(" %8.0f %%", 100 * best[0] / best[f]);
  std::printf("\n");
}

int RunAll(int threads, long repeats) {
  SetNumThreads(threads);
  const auto yes = Transpose::kYes, no = Transpose::kNo;
  const auto weight = OperandRole::kWeight, gradient = OperandRole::kGradient;
  for (const Numerics numerics : {Numerics::kFast, Numerics::kInvariant}) {
    std::printf("%d threads, numerics: %s\n%-15s %-8s %9s", threads,
                numerics == Numerics::kFast ? "fast" : "invariant", "layer", "product", "GFLOP/s");
    for (size_t f = 1; f < kCount; ++f) std::printf(" %10s", kFormats[f].name);
    std::printf("\n");
    for (const Layer& l : kLayers) {
      const Tensor x = Filled(l.tokens, l.in), dy = Filled(l.tokens, l.out);
      const Tensor w = Filled(l.out, l.in);
      Run(l, "forward", {x}, {w, yes, weight}, repeats, numerics);
      Run(l, "input", {dy, no, gradient}, {w, no, weight}, repeats, numerics);
      Run(l, "weight", {dy, yes, gradient}, {x}, repeats, numerics);
    }
  }
  return 0;
}

}  // namespace
}  // namespace choir

int main(int argc, char** argv) {
  const long threads = argc > 1 ? std::strtol(argv[1], nullptr, 10) : 2;
  const long repeats = argc > 2 ? std::strtol(argv[2], nullptr, 10) : 7;
  if (argc > 3 || threads < 1 || threads > 1024 || repeats < 1) {
    std::fprintf(stderr, "usage: low_product_bench [THREADS [REPEATS]]\n");
    return 2;
  }
  return choir::RunAll(static_cast<int>(threads), repeats);
}
