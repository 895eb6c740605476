// What every call of CUDA and cuBLAS goes through. A failed call ends the process and names the
// source line, the call and the library's own message. For `.cu` files: plain C++17.
#pragma once

#include <cublas_v2.h>
#include <cuda_runtime_api.h>

namespace choir {

// `call` is what was tried; the line is that of the caller. Kernels report what went wrong while
// they ran only later: at CudaSynchronize, or at whichever call comes before it.
void CudaCheck(cudaError_t status, const char* call, const char* file = __builtin_FILE(),
               int line = __builtin_LINE());
void CudaCheck(cublasStatus_t status, const char* call, const char* file = __builtin_FILE(),
               int line = __builtin_LINE());

}  // namespace choir
