// Compiled by the host compiler, so that errors of CUDA take the way of every CHECK: with rank and
// step, into the log.
#ifdef CHOIR_WITH_CUDA
#include "tensor/cuda_check.h"

#include <string>

#include "base/check.h"

namespace choir {

void CudaCheck(cudaError_t status, const char* call, const char* file, int line) {
  if (status == cudaSuccess) return;
  CheckFailed(
      file, line,
      std::string(call) + ": " + cudaGetErrorName(status) + ": " + cudaGetErrorString(status));
}

void CudaCheck(cublasStatus_t status, const char* call, const char* file, int line) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  CheckFailed(file, line,
              std::string(call) + ": " + cublasGetStatusName(status) + ": " +
                  cublasGetStatusString(status));
}

}  // namespace choir
#endif
