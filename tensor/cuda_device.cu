#include <string>

#include "tensor/cuda_check.h"
#include "tensor/cuda_device.h"

namespace choir {
namespace {

struct Context {
  cudaStream_t stream;
  cudaMemPool_t pool;
};

Context MakeContext() {
  int device = 0, has_pools = 0;
  CudaCheck(cudaGetDevice(&device), "cudaGetDevice");
  CudaCheck(cudaDeviceGetAttribute(&has_pools, cudaDevAttrMemoryPoolsSupported, device),
            "cudaDeviceGetAttribute");
  if (has_pools == 0) CudaCheck(cudaErrorNotSupported, "stream-ordered allocation");
  Context context;
  CudaCheck(cudaDeviceGetMemPool(&context.pool, device), "cudaDeviceGetMemPool");
  // Freed memory stays with the process, as in the CPU's block cache: by default every
  // synchronisation would give it back to the driver.
  uint64_t keep = UINT64_MAX;
  CudaCheck(cudaMemPoolSetAttribute(context.pool, cudaMemPoolAttrReleaseThreshold, &keep),
            "cudaMemPoolSetAttribute");
  // Not ordered with the legacy default stream: nothing here uses that one.
  CudaCheck(cudaStreamCreateWithFlags(&context.stream, cudaStreamNonBlocking),
            "cudaStreamCreateWithFlags");
  return context;
}

// Never destroyed: it outlives every static tensor.
const Context& GetContext() {
  static const Context& context = *new Context(MakeContext());
  return context;
}

cudaStream_t Stream() { return GetContext().stream; }

cudaMemcpyKind Kind(CopyKind kind) {
  switch (kind) {
    case CopyKind::kHostToDevice:
      return cudaMemcpyHostToDevice;
    case CopyKind::kDeviceToHost:
      return cudaMemcpyDeviceToHost;
    case CopyKind::kDeviceToDevice:
      return cudaMemcpyDeviceToDevice;
  }
  return cudaMemcpyDefault;
}

std::string Numbered(const char* call, int64_t bytes) {
  return std::string(call) + " of " + std::to_string(bytes) + " bytes";
}

}  // namespace

bool CudaBuilt() { return true; }

int CudaDeviceCount() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  // How the runtime says that there is no device, no driver, or only the driver's link library.
  if (status == cudaErrorNoDevice || status == cudaErrorInsufficientDriver ||
      status == cudaErrorStubLibrary) {
    cudaGetLastError();  // the runtime remembers it, and the next check would report it
    return 0;
  }
  CudaCheck(status, "cudaGetDeviceCount");
  return count;
}

void* CudaAllocate(int64_t bytes) {
  const Context& context = GetContext();
  void* block = nullptr;
  cudaError_t status = cudaMallocAsync(&block, static_cast<size_t>(bytes), context.stream);
  if (status == cudaErrorMemoryAllocation) {
    // Frees that are still under way may be enough, and blocks kept for other sizes.
    cudaGetLastError();
    CudaSynchronize();
    CudaCheck(cudaMemPoolTrimTo(context.pool, 0), "cudaMemPoolTrimTo");
    status = cudaMallocAsync(&block, static_cast<size_t>(bytes), context.stream);
  }
  if (status == cudaSuccess) return block;
  std::string call = Numbered("cudaMallocAsync", bytes);
  size_t available = 0, total = 0;
  if (cudaMemGetInfo(&available, &total) == cudaSuccess) {
    call += " (" + std::to_string(available) + " free of " + std::to_string(total) + ")";
  }
  CudaCheck(status, call.c_str());
  return nullptr;
}

void CudaFree(void* block) {
  const cudaError_t status = cudaFreeAsync(block, Stream());
  // A static tensor may be destroyed after the runtime, which has then freed everything itself.
  if (status != cudaErrorCudartUnloading) CudaCheck(status, "cudaFreeAsync");
}

void CudaCopy(void* to, const void* from, int64_t bytes, CopyKind kind) {
  const cudaError_t status =
      cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), Kind(kind), Stream());
  if (status != cudaSuccess) CudaCheck(status, Numbered("cudaMemcpyAsync", bytes).c_str());
}

void CudaZero(void* block, int64_t bytes) {
  const cudaError_t status = cudaMemsetAsync(block, 0, static_cast<size_t>(bytes), Stream());
  if (status != cudaSuccess) CudaCheck(status, Numbered("cudaMemsetAsync", bytes).c_str());
}

void CudaSynchronize() { CudaCheck(cudaStreamSynchronize(Stream()), "cudaStreamSynchronize"); }

void* CudaComputeStream() { return Stream(); }

void* CudaBlasHandle() {
  static const cublasHandle_t handle = [] {
    cublasHandle_t made = nullptr;
    CudaCheck(cublasCreate(&made), "cublasCreate");
    CudaCheck(cublasSetStream(made, Stream()), "cublasSetStream");
    // FP32 means FP32: no TF32. One stream and no atomics: the same bits every time.
    CudaCheck(cublasSetMathMode(made, CUBLAS_DEFAULT_MATH), "cublasSetMathMode");
    CudaCheck(cublasSetAtomicsMode(made, CUBLAS_ATOMICS_NOT_ALLOWED), "cublasSetAtomicsMode");
    return made;
  }();
  return handle;
}

}  // namespace choir
