#include "ops/kv_cache.h"

#include "ops/attention_forward.h"
#include "ops/launch.h"
#include "ops/parallel_for.h"

namespace choir {
namespace {

// Copies the keys (head R of a group) or values (R + 1) of `qkv` behind the `length` tokens held.
template <class T>
void Append(const Tensor& qkv, int64_t head, T* to) {
  const int64_t groups = qkv.dim(0) * qkv.dim(1), dim = qkv.dim(3);
  const T* from = qkv.data<T>() + head * dim;
  for (int64_t i = 0; i < groups; ++i, from += qkv.dim(2) * dim, to += dim) {
    std::copy(from, from + dim, to);
  }
}

template <class T>
void AttendCpu(const Tensor& qkv, const KvCache& cache, T scale, const Tensor& out) {
  const int64_t n = qkv.dim(0), groups = qkv.dim(1), heads = qkv.dim(2) - 2, dim = qkv.dim(3);
  const int64_t key_stride = groups * dim, group_size = (heads + 2) * dim;
  const int64_t filled = cache.length * key_stride;
  Append<T>(qkv, heads, cache.keys.data<T>() + filled);
  Append<T>(qkv, heads + 1, cache.values.data<T>() + filled);
  const int64_t tile_rows = TileRows(dim), rows = n * heads;
  const int64_t blocks = (rows + tile_rows - 1) / tile_rows;
  ParallelFor(groups * blocks, [&](int64_t task) {
    const int64_t g = task / blocks, begin = task % blocks * tile_rows;
    const AttentionForward<T> forward{
        {qkv.data<T>() + g * group_size, groups * group_size, heads, dim},
        cache.keys.data<T>() + g * dim,
        cache.values.data<T>() + g * dim,
        key_stride,
        cache.length + n,
        cache.length,
        scale,
        {out.data<T>() + g * heads * dim, groups * heads * dim, heads, dim},
        nullptr,
        0};
    AttendRows(forward, begin, std::min(rows, begin + tile_rows));
  });
}

}  // namespace

KvCache KvCache::Empty(int64_t capacity, int64_t groups, int64_t head_dim,
                       const TensorOptions& options) {
  const Shape shape{capacity, groups, head_dim};
  return {Tensor::Empty(shape, options), Tensor::Empty(shape, options), 0};
}

Tensor CachedAttention(const Tensor& qkv, KvCache& cache, double scale) {
  CHECK(qkv.shape().rank() == 4) << "[n, G, R + 2, D] is wanted, not " << qkv.shape();
  const int64_t n = qkv.dim(0), groups = qkv.dim(1), heads = qkv.dim(2) - 2, dim = qkv.dim(3);
  CHECK(heads >= 1) << "a query, a key and a value";
  CHECK(dim <= kRowElements);
  CHECK(cache.keys.dim(1) == groups && cache.keys.dim(2) == dim) << cache.keys.shape();
  CHECK(cache.length + n <= cache.capacity()) << "the key-value cache is full";
  Tensor out = Tensor::Empty({n, groups * heads * dim}, qkv.options(MemoryCategory::kActivations));
  const int64_t seen = cache.length + n;  // by the last query
  const AttentionDims dims(qkv);
  Work work = AttentionWork("cached_attention", dims, CausalPairs(n, cache.length));
  work.m = n * groups * heads;
  work.n = seen;
  work.bytes = BytesOf(qkv, out, cache.keys.Rows(0, seen), cache.values.Rows(0, seen));
  Launch(qkv.device(), work, [&] {
    DispatchFloat(qkv.dtype(),
                  [&]<class T>() { AttendCpu(qkv, cache, static_cast<T>(scale), out); });
  });
  cache.length += n;
  return out;
}

}  // namespace choir
