#include "ops/swiglu.h"

#include <limits>

#include "ops/launch.h"
#include "ops/parallel_for.h"
#include "ops/simd.h"

namespace choir {
namespace {

// Two vectors of (gate, up) pairs.
template <class T>
struct Interleaved {
  Vec<T> first, second;
};

template <class T>
Vec<T> Gates(const Interleaved<T>& v) {
  return __builtin_shufflevector(v.first, v.second, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24,
                                 26, 28, 30);
}
template <class T>
Vec<T> Ups(const Interleaved<T>& v) {
  return __builtin_shufflevector(v.first, v.second, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25,
                                 27, 29, 31);
}
template <class T>
Interleaved<T> Interleave(const Vec<T>& gate, const Vec<T>& up) {
  return {__builtin_shufflevector(gate, up, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23),
          __builtin_shufflevector(gate, up, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30,
                                  15, 31)};
}

// Calls body(i, count) for the vectors of [begin, end); count < kLanes at the tail.
template <class Body>
void ForEachStep(int64_t begin, int64_t end, Body&& body) {
  int64_t i = begin;
  for (; i + kLanes <= end; i += kLanes) body(i, std::integral_constant<int64_t, kLanes>());
  if (i < end) body(i, end - i);
}

template <class T>
Interleaved<T> LoadPairs(const T* p, int64_t count) {
  if (count == kLanes) return {Load(p), Load(p + kLanes)};
  T pairs[2 * kLanes] = {};
  std::memcpy(pairs, p, static_cast<size_t>(2 * count) * sizeof(T));
  return {Load(pairs), Load(pairs + kLanes)};
}
template <class T>
void StorePairs(T* p, const Interleaved<T>& v, int64_t count) {
  T pairs[2 * kLanes];
  Store(pairs, v.first);
  Store(pairs + kLanes, v.second);
  std::memcpy(p, pairs, static_cast<size_t>(2 * count) * sizeof(T));
}

// Elements are independent of each other, so rows do not matter: `n` outputs in all.
template <class T>
void ForwardCpu(const T* gate_up, T* y, int64_t n, T clamp) {
  ParallelRanges(n, kElementGrain, [&](int64_t begin, int64_t end) {
    ForEachStep(begin, end, [&](int64_t i, auto count) {
      const Interleaved<T> pairs = LoadPairs(gate_up + 2 * i, count);
      const Vec<T> limit = Splat(clamp);
      const Vec<T> gate = Min<T>(limit, Gates(pairs));
      const Vec<T> up = Min<T>(limit, Max<T>(-limit, Ups(pairs)));
      StorePartial<T>(y + i, gate * Sigmoid<T>(gate) * up, count);
    });
  });
}

template <class T>
void BackwardCpu(const T* gate_up, const T* dy, T* dgate_up, int64_t n, T clamp) {
  ParallelRanges(n, kElementGrain, [&](int64_t begin, int64_t end) {
    ForEachStep(begin, end, [&](int64_t i, auto count) {
      const Interleaved<T> pairs = LoadPairs(gate_up + 2 * i, count);
      const Vec<T> limit = Splat(clamp), zero{};
      const Vec<T> raw_gate = Gates(pairs), raw_up = Ups(pairs);
      const Vec<T> gate = Min<T>(limit, raw_gate);
      const Vec<T> up = Min<T>(limit, Max<T>(-limit, raw_up));
      const Vec<T> g = LoadPartial(dy + i, count);
      const Vec<T> sigmoid = Sigmoid<T>(gate);
      const Vec<T> silu = gate * sigmoid;
      // d silu / d gate = sigmoid * (1 + gate * (1 - sigmoid))
      Vec<T> dgate = g * up * (sigmoid + silu * (T(1) - sigmoid));
      Vec<T> dup = g * silu;
      dgate = raw_gate > limit ? zero : dgate;
      dup = raw_up > limit ? zero : raw_up < -limit ? zero : dup;
      StorePairs<T>(dgate_up + 2 * i, Interleave<T>(dgate, dup), count);
    });
  });
}

template <class T>
T Limit(std::optional<double> clamp) {
  return clamp ? static_cast<T>(*clamp) : std::numeric_limits<T>::infinity();
}

Tensor Forward(const Tensor& gate_up, std::optional<double> clamp) {
  const int64_t width = gate_up.dim(1) / 2;
  Tensor y = Tensor::Empty({gate_up.dim(0), width}, gate_up.options(MemoryCategory::kActivations));
  Launch(y.device(), MemoryWork("swiglu", gate_up, y), [&] {
    DispatchFloat(y.dtype(), [&]<class T>() {
      ForwardCpu<T>(gate_up.data<T>(), y.data<T>(), y.NumElements(), Limit<T>(clamp));
    });
  });
  return y;
}

Tensor Backward(const Tensor& gate_up, const Tensor& dy, std::optional<double> clamp) {
  Tensor dx = Tensor::Empty(gate_up.shape(), dy.options());
  Launch(dx.device(), MemoryWork("swiglu_backward", gate_up, dy, dx), [&] {
    DispatchFloat(dx.dtype(), [&]<class T>() {
      BackwardCpu<T>(gate_up.data<T>(), dy.data<T>(), dx.data<T>(), dy.NumElements(),
                     Limit<T>(clamp));
    });
  });
  return dx;
}

}  // namespace

Var SwiGlu(Tape& tape, const Var& gate_up, std::optional<double> clamp, const Tag& tag) {
  CHECK(gate_up.shape().rank() == 2);
  CHECK(gate_up.dim(1) % 2 == 0) << "gates and ups come in pairs";
  CHECK(!clamp || *clamp > 0) << "a clamp of " << *clamp;
  Saved xs = gate_up.Save();
  Var y = tape.Compute(tag, [xs, clamp] { return Forward(xs.Get(), clamp); });
  tape.Record({&y}, [xs, gx = gate_up.grad(), clamp](Sink& sink) {
    if (gx != nullptr) sink.Add(gx, Backward(xs.Get(), sink.OutputGrad(0), clamp));
  });
  return y;
}

}  // namespace choir
