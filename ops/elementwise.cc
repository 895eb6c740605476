#include "ops/elementwise.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "ops/elementwise_cuda.h"
#include "ops/launch.h"
#include "ops/parallel_for.h"
#include "ops/simd.h"
#include "tensor/cast.h"
#include "tensor/format_cast.h"

namespace choir {
namespace {

template <class T>
void AddScaledCpu(T* to, const T* from, T scale, int64_t n) {
  ParallelRanges(n, kElementGrain, [&](int64_t begin, int64_t end) {
    ForEachVec<T>(end - begin, [&](int64_t, auto load, auto store) {
      store(to + begin, load(to + begin) + scale * load(from + begin));
    });
  });
}

// Runs f(begin, end) -> double over fixed blocks and adds the results in order.
template <class F>
double ReduceBlocks(int64_t n, F&& f) {
  const int64_t blocks = (n + kElementGrain - 1) / kElementGrain;
  std::vector<double> partial(static_cast<size_t>(blocks));
  ParallelFor(blocks, [&](int64_t i) {
    partial[static_cast<size_t>(i)] = f(i * kElementGrain, std::min(n, (i + 1) * kElementGrain));
  });
  double sum = 0;
  for (double p : partial) sum += p;
  return sum;
}

float ToFloatValue(float x) { return x; }
float ToFloatValue(BFloat16 x) { return ToFloat(x); }
float ToFloatValue(Float16 x) { return ToFloat(x); }
double ToFloatValue(double x) { return x; }

template <class T>
T FromValue(double x) {
  if constexpr (std::is_same_v<T, BFloat16>) return ToBFloat16(static_cast<float>(x));
  if constexpr (std::is_same_v<T, Float16>) return ToFloat16(static_cast<float>(x));
  if constexpr (std::is_arithmetic_v<T>) return static_cast<T>(x);
}

template <class F>
void DispatchStorage(DType dtype, F&& f) {
  switch (dtype) {
    case DType::kF64:
      return f.template operator()<double>();
    case DType::kF32:
      return f.template operator()<float>();
    case DType::kBF16:
      return f.template operator()<BFloat16>();
    case DType::kF16:
      return f.template operator()<Float16>();
    case DType::kI32:
      CHECK(false) << "i32 is not a float format";
  }
}

}  // namespace

void AddScaledInto(const Tensor& to, const Tensor& from, double scale) {
  CHECK(to.device() == from.device());
  CHECK(to.shape() == from.shape());
  Launch(
      to.device(), MemoryWork("add_scaled", to, to, from),
      [&] {
        DispatchFloat(to.dtype(), [&]<class T>() {
          AddScaledCpu(to.data<T>(), from.data<T>(), static_cast<T>(scale), to.NumElements());
        });
      },
      [&] {
        CHECK(to.dtype() == DType::kF32 && from.dtype() == DType::kF32);
        CudaAddScaled(to.data<float>(), from.data<float>(), static_cast<float>(scale),
                      to.NumElements());
      });
}

void AddInto(const Tensor& to, const Tensor& from) { AddScaledInto(to, from, 1.0); }

void ScaleInPlace(const Tensor& x, double scale) {
  Launch(x.device(), MemoryWork("scale", x, x), [&] {
    DispatchFloat(x.dtype(), [&]<class T>() {
      T* p = x.data<T>();
      ParallelRanges(x.NumElements(), kElementGrain, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) p[i] *= static_cast<T>(scale);
      });
    });
  });
}

void CopyInto(const Tensor& to, const Tensor& from) {
  RecordWork(MemoryWork("copy", from, to));
  to.CopyFrom(from);
}

void ZeroInPlace(const Tensor& x) {
  RecordWork(MemoryWork("zero", x));
  x.Zero();
}

Tensor CopyOf(const Tensor& x, MemoryCategory category) {
  RecordWork(MemoryWork("copy", x, x));
  return x.Clone(category);
}

Tensor Sum(const Tensor& a, const Tensor& b) {
  Tensor y = CopyOf(a, a.category());
  AddInto(y, b);
  return y;
}

double SumOfSquares(const Tensor& x) {
  double sum = 0;
  Launch(x.device(), MemoryWork("sum_of_squares", x), [&] {
    DispatchFloat(x.dtype(), [&]<class T>() {
      const T* p = x.data<T>();
      sum = ReduceBlocks(x.NumElements(), [&](int64_t begin, int64_t end) {
        // Sixteen double lanes: wide enough to vectorise, and one order on every machine.
        double lanes[kLanes] = {};
        int64_t i = begin;
        for (; i + kLanes <= end; i += kLanes) {
          for (int l = 0; l < kLanes; ++l) {
            lanes[l] += static_cast<double>(p[i + l]) * static_cast<double>(p[i + l]);
          }
        }
        for (; i < end; ++i) lanes[0] += static_cast<double>(p[i]) * static_cast<double>(p[i]);
        return SumLanes<double>(Load(lanes));
      });
    });
  });
  return sum;
}

ExactSum ExactSumOfSquares(const Tensor& x) {
  ExactSum sum;
  Launch(x.device(), MemoryWork("exact_sum_of_squares", x), [&] {
    DispatchFloat(x.dtype(), [&]<class T>() {
      // A few parts for each thread, as a sum has a fixed cost; where they are cut changes nothing.
      const int64_t n = x.NumElements();
      const int64_t parts = std::clamp<int64_t>(n / kElementGrain, 1, 4 * NumThreads());
      std::vector<ExactSum> partial(static_cast<size_t>(parts));
      ParallelFor(parts, [&](int64_t i) {
        const int64_t begin = PieceBegin(n, parts, i), end = PieceBegin(n, parts, i + 1);
        partial[static_cast<size_t>(i)].AddSquares(
            std::span<const T>(x.data<T>() + begin, static_cast<size_t>(end - begin)));
      });
      for (const ExactSum& part : partial) sum.Merge(part);
    });
  });
  return sum;
}

bool AllFinite(const Tensor& x) { return std::isfinite(SumOfSquares(x)); }

namespace {

void Widen(const Tensor& to, const Tensor& from) {
  float* t = to.data<float>();
  const BFloat16* f = from.data<BFloat16>();
  ParallelRanges(to.NumElements(), kElementGrain,
                 [&](int64_t begin, int64_t end) { ToFloats(f + begin, t + begin, end - begin); });
}

}  // namespace

void ConvertInto(const Tensor& to, const Tensor& from) {
  CHECK(to.shape() == from.shape());
  Launch(to.device(), MemoryWork("convert", to, from), [&] {
    if (to.dtype() == DType::kF32 && from.dtype() == DType::kBF16) return Widen(to, from);
    DispatchStorage(to.dtype(), [&]<class To>() {
      DispatchStorage(from.dtype(), [&]<class From>() {
        To* t = to.data<To>();
        const From* f = from.data<From>();
        ParallelRanges(to.NumElements(), kElementGrain, [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) t[i] = FromValue<To>(ToFloatValue(f[i]));
        });
      });
    });
  });
}

void RoundInPlace(const Tensor& x, DType format) {
  CHECK(x.dtype() == DType::kF32 && (format == DType::kBF16 || format == DType::kF16))
      << x.dtype() << " " << format;
  const NumberFormat to = format == DType::kBF16 ? NumberFormat::kBF16 : NumberFormat::kF16;
  Launch(x.device(), MemoryWork("round", x, x), [&] {
    float* p = x.data<float>();
    ParallelRanges(x.NumElements(), kElementGrain, [&](int64_t begin, int64_t end) {
      RoundTo(to, p + begin, p + begin, end - begin);
    });
  });
}

double ScalarValue(const Tensor& x) {
  CHECK(x.NumElements() == 1);
  if (x.device() == Device::kMeta) return 0;
  double value = 0;
  DispatchFloat(x.dtype(), [&]<class T>() { value = static_cast<double>(*x.data<T>()); });
  return value;
}

Tensor ScalarTensor(double value, const TensorOptions& options) {
  Tensor t = Tensor::Empty({1}, options);
  if (options.device == Device::kMeta) return t;
  DispatchFloat(options.dtype, [&]<class T>() { *t.data<T>() = static_cast<T>(value); });
  return t;
}

Var Add(Tape& tape, const Var& a, const Var& b) {
  Saved as = a.Save(), bs = b.Save();
  Var y = tape.Compute("add", [as, bs] { return Sum(as.Get(), bs.Get()); });
  tape.Record({&y}, [ga = a.grad(), gb = b.grad()](Sink& sink) {
    sink.Add(ga, sink.OutputGrad(0));
    sink.Add(gb, sink.OutputGrad(0));
  });
  return y;
}

Var Scale(Tape& tape, const Var& x, double scale) {
  Saved xs = x.Save();
  auto scaled = [scale](const Tensor& t) {
    Tensor y = CopyOf(t, MemoryCategory::kActivations);
    ScaleInPlace(y, scale);
    return y;
  };
  Var y = tape.Compute("scale", [xs, scaled] { return scaled(xs.Get()); });
  tape.Record({&y},
              [gx = x.grad(), scaled](Sink& sink) { sink.Add(gx, scaled(sink.OutputGrad(0))); });
  return y;
}

}  // namespace choir
