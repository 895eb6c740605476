// The CUDA device layer. In a build without CUDA every function ends the process with a message:
// nothing reaches them, because the configuration refuses `device: cuda` there.
#pragma once

#include <cstdint>

namespace choir {

// Whether this program was built with CUDA.
bool CudaBuilt();
// Devices the driver offers; 0 without a driver or without CUDA.
int CudaDeviceCount();

// Stream-ordered on the compute stream. Aborts naming the bytes when the device is full.
void* CudaAllocate(int64_t bytes);
void CudaFree(void* block);

enum class CopyKind { kHostToDevice, kDeviceToHost, kDeviceToDevice };
// Asynchronous on the compute stream; `from` must stay until CudaSynchronize. Pageable host memory
// makes it synchronous.
void CudaCopy(void* to, const void* from, int64_t bytes, CopyKind kind);
void CudaZero(void* block, int64_t bytes);
// Waits for the compute stream, and aborts with the error of any kernel that failed before.
void CudaSynchronize();

// The compute stream (a cudaStream_t) and the cuBLAS handle bound to it, made at first use.
void* CudaComputeStream();
void* CudaBlasHandle();

}  // namespace choir
