// The product of a matrix with its own transpose, for little more than half the work of a general
// one: on OpenBLAS, over raw CPU memory, row-major.
#pragma once

#include <cstdint>

namespace choir {

// c [n, n] = alpha a a^T + beta c, with a [n, k]. With beta != 0 c is symmetric before; after, it
// is so bit for bit.
template <class T>
struct SyrkArgs {
  int64_t n = 0, k = 0;
  T alpha = 1;
  const T* a = nullptr;
  int64_t lda = 0;
  T beta = 0;
  T* c = nullptr;
  int64_t ldc = 0;
};

// On the calling thread; may be called from several threads at once.
template <class T>
void Syrk(const SyrkArgs<T>& args);
// On all threads of ParallelFor, in tiles that depend on n only. Bits may differ from Syrk's.
template <class T>
void SyrkParallel(const SyrkArgs<T>& args);

}  // namespace choir
