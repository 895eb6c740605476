// Casts of arrays between float and the formats with fewer bits: bytes read and written per second,
// beside a copy of floats in the same run, best of interleaved repeats.
//
//   cast_bench [THREADS [REPEATS [MIB]]]     defaults: 2, 9, 64 MiB of floats
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "ops/parallel_for.h"
#include "tensor/cast.h"
#include "tensor/format_cast.h"
#include "tensor/tensor.h"

namespace choir {
namespace {

constexpr int64_t kTask = 1 << 18;  // elements

struct Arrays {
  Tensor floats, other_floats, codes;  // codes: two bytes an element

  explicit Arrays(int64_t n)
      : floats(Tensor::Empty({n}, {})),
        other_floats(Tensor::Empty({n}, {})),
        codes(Tensor::Empty({n}, {DType::kBF16})) {
    const CounterRandom random(1, "bench");
    ParallelRanges(n, kTask, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        // Uniform bits would be NaN and overflow: these lie in the range of every format.
        const auto u = static_cast<int32_t>(random.Bits(static_cast<uint64_t>(i)));
        floats.data<float>()[i] = static_cast<float>(u) * 0x1p-29f;
      }
    });
    other_floats.Zero();
    codes.Zero();
  }
};

struct Cast {
  std::string name;
  double bytes;  // an element
  std::function<void(int64_t begin, int64_t count)> run;
  double best = 1e30;
};

double Seconds(const auto& body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void AddFormat(std::vector<Cast>& casts, const Arrays& a, NumberFormat format,
               const CounterRandom& random) {
  const float* x = a.floats.data<float>();
  float* y = a.other_floats.data<float>();
  auto* wide = static_cast<uint16_t*>(a.codes.raw());
  auto* narrow = static_cast<uint8_t*>(a.codes.raw());
  const bool is_wide = format == NumberFormat::kBF16 || format == NumberFormat::kF16;
  const double bytes = is_wide ? 6 : 5;
  const std::string name(Name(format));
  for (const bool stochastic : {false, true}) {
    const auto options = [&random, stochastic](int64_t begin) {
      return CastOptions{true, stochastic ? &random : nullptr, static_cast<uint64_t>(begin)};
    };
    const std::string how = stochastic ? ", stochastic" : ", nearest";
    casts.push_back({"f32 to " + name + how, bytes, [=](int64_t begin, int64_t n) {
                       if (is_wide)
                         return Encode(format, x + begin, wide + begin, n, options(begin));
                       Encode(format, x + begin, narrow + begin, n, options(begin));
                     }});
    casts.push_back({"f32 to values of " + name + how, 8, [=](int64_t begin, int64_t n) {
                       RoundTo(format, x + begin, y + begin, n, options(begin));
                     }});
  }
  casts.push_back({name + " to f32", bytes, [=](int64_t begin, int64_t n) {
                     if (is_wide) return Decode(format, wide + begin, y + begin, n);
                     Decode(format, narrow + begin, y + begin, n);
                   }});
}

std::vector<Cast> MakeCasts(const Arrays& a, const CounterRandom& random) {
  const float* x = a.floats.data<float>();
  float* y = a.other_floats.data<float>();
  auto* brain = a.codes.data<BFloat16>();
  std::vector<Cast> casts;
  casts.push_back({"copy of f32", 8, [=](int64_t begin, int64_t n) {
                     std::memcpy(y + begin, x + begin, static_cast<size_t>(n) * sizeof(float));
                   }});
  casts.push_back({"RoundToBFloat16", 6, [=](int64_t begin, int64_t n) {
                     RoundToBFloat16(x + begin, brain + begin, n);
                   }});
  casts.push_back({"StochasticToBFloat16", 6, [=, &random](int64_t begin, int64_t n) {
                     StochasticToBFloat16(x + begin, brain + begin, n, random,
                                          static_cast<uint64_t>(begin));
                   }});
  casts.push_back(
      {"ToFloats", 6, [=](int64_t begin, int64_t n) { ToFloats(brain + begin, y + begin, n); }});
  for (const NumberFormat format :
       {NumberFormat::kBF16, NumberFormat::kF16, NumberFormat::kE4M3, NumberFormat::kE5M2,
        NumberFormat::kE2M1, NumberFormat::kE8M0}) {
    AddFormat(casts, a, format, random);
  }
  return casts;
}

int Run(int threads, long repeats, int64_t n) {
  SetNumThreads(threads);
  const Arrays arrays(n);
  const CounterRandom random(7, "bench", 3);
  std::vector<Cast> casts = MakeCasts(arrays, random);
  for (long i = 0; i < repeats; ++i) {
    for (Cast& cast : casts) {
      cast.best = std::min(cast.best, Seconds([&] {
                             ParallelRanges(n, kTask, [&](int64_t begin, int64_t end) {
                               cast.run(begin, end - begin);
                             });
                           }));
    }
  }
  std::printf("%d threads, %lld elements\n%-32s %8s %8s\n", threads, static_cast<long long>(n),
              "cast", "GB/s", "of copy");
  const double copy = casts.front().bytes / casts.front().best;
  for (const Cast& cast : casts) {
    const double rate = cast.bytes / cast.best;
    std::printf("%-32s %8.1f %6.0f %%\n", cast.name.c_str(), rate * static_cast<double>(n) / 1e9,
                100 * rate / copy);
  }
  return 0;
}

}  // namespace
}  // namespace choir

int main(int argc, char** argv) {
  const long threads = argc > 1 ? std::strtol(argv[1], nullptr, 10) : 2;
  const long repeats = argc > 2 ? std::strtol(argv[2], nullptr, 10) : 9;
  const long mib = argc > 3 ? std::strtol(argv[3], nullptr, 10) : 64;
  if (argc > 4 || threads < 1 || threads > 1024 || repeats < 1 || mib < 1 || mib > 65536) {
    std::fprintf(stderr, "usage: cast_bench [THREADS [REPEATS [MIB]]]\n");
    return 2;
  }
  return choir::Run(static_cast<int>(threads), repeats, int64_t{mib} << 18);
}
