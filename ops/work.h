// What a kernel computes and moves, told to whoever listens: how `choir plan` knows the FLOPs and
// bytes of a step that it runs on the meta device. Kernels report on every device, once per call.
#pragma once

#include <cstdint>
#include <functional>

#include "ops/matmul_format.h"
#include "tensor/tensor.h"

namespace choir {

enum class WorkKind : uint8_t {
  kMatmul,     // one product, or `groups` equal ones
  kGrouped,    // products of `groups` experts, which share the m rows unevenly; the gradient of
               // their weights, a sum over these rows, has the same m, n and k
  kAttention,  // a fused attention core; m queries of all heads, n keys of the longest document,
               // k the head's width. Flops are 4 k for each pair that the mask shows, 8 k backward
               // (what is computed again to save memory is not counted)
  kMemory,     // bound by the bytes it moves
  kOptimizer   // the same, of weights and their state
};
inline constexpr int kNumWorkKinds = 5;

struct Work {
  WorkKind kind = WorkKind::kMemory;
  const char* name = "";        // a static string: "gemm", "rms_norm_backward"
  double flops = 0;             // multiply and add count as two
  double bytes = 0;             // read and written, each tensor once
  int64_t m = 0, n = 0, k = 0;  // of a product [m, k] x [k, n]
  int64_t groups = 1;
  MatmulFormat operands = MatmulFormat::kFull;
};

// Of all of them together; an undefined one has none.
template <class... Tensors>
double BytesOf(const Tensors&... tensors) {
  return static_cast<double>((int64_t{0} + ... + (tensors.defined() ? tensors.bytes() : 0)));
}
// A kernel bound by the bytes of these tensors; one that is read and written stands twice.
template <class... Tensors>
Work MemoryWork(const char* name, const Tensors&... tensors) {
  return {.name = name, .bytes = BytesOf(tensors...)};
}
// One product [m, k] x [k, n] with its flops; bytes and operands are the caller's to fill in.
Work ProductWork(const char* name, int64_t m, int64_t n, int64_t k);

using WorkListener = std::function<void(const Work&)>;

// Tells this thread's listener; nothing without one.
void RecordWork(const Work& work);

// Listens to this thread while it lives; the one before it is not told meanwhile. `listener`
// outlives it.
class ScopedWorkListener {
 public:
  explicit ScopedWorkListener(const WorkListener& listener);
  ~ScopedWorkListener();
  ScopedWorkListener(const ScopedWorkListener&) = delete;

 private:
  const WorkListener* previous_;
};

}  // namespace choir
