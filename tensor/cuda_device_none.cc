// The build without CUDA.
#include "base/check.h"
#include "tensor/cuda_device.h"

#ifndef CHOIR_WITH_CUDA
namespace choir {
namespace {
[[noreturn]] void Refuse(const char* what) {
  CHECK(false) << what << ": this program was built without CUDA; build the `cuda` preset";
  __builtin_unreachable();
}
}  // namespace

bool CudaBuilt() { return false; }
int CudaDeviceCount() { return 0; }
void* CudaAllocate(int64_t) { Refuse("CudaAllocate"); }
void CudaFree(void*) { Refuse("CudaFree"); }
void CudaCopy(void*, const void*, int64_t, CopyKind) { Refuse("CudaCopy"); }
void CudaZero(void*, int64_t) { Refuse("CudaZero"); }
void CudaSynchronize() { Refuse("CudaSynchronize"); }
void* CudaComputeStream() { Refuse("CudaComputeStream"); }
void* CudaBlasHandle() { Refuse("CudaBlasHandle"); }

}  // namespace choir
#endif
