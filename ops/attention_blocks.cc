#include "ops/attention_blocks.h"

#include <map>

#include "ops/attention_backward.h"
#include "ops/attention_forward.h"
#include "ops/launch.h"
#include "ops/parallel_for.h"

namespace choir {
namespace {

void CheckBlocks(const BlockAttention& a) {
  CHECK(a.keys.shape().rank() == 4 && a.keys.dim(2) >= 2) << a.keys.shape();
  CHECK(a.keys.dim(1) == a.qkv.dim(1) && a.keys.dim(3) == a.qkv.dim(3)) << a.keys.shape();
  for (const SeenBlock& b : a.blocks) {
    CHECK(b.query >= 0 && b.queries > 0 && b.query + b.queries <= a.qkv.dim(0));
    CHECK(b.key >= 0 && b.keys > 0 && b.key + b.keys <= a.keys.dim(0));
  }
}

// Where the keys of an array [S, G, n, D] are; the value follows its key.
struct KeyDims {
  int64_t token, group, first;

  explicit KeyDims(const Tensor& keys)
      : token(keys.dim(1) * keys.dim(2) * keys.dim(3)),
        group(keys.dim(2) * keys.dim(3)),
        first((keys.dim(2) - 2) * keys.dim(3)) {}
  int64_t At(int64_t row, int64_t g) const { return row * token + g * group + first; }
};

// The blocks of the same queries are added by one task, one after another.
std::vector<std::vector<SeenBlock>> ByQueries(const std::vector<SeenBlock>& blocks) {
  std::map<int64_t, std::vector<SeenBlock>> by_query;
  for (const SeenBlock& b : blocks) by_query[b.query].push_back(b);
  std::vector<std::vector<SeenBlock>> lists;
  for (auto& [query, list] : by_query) {
    for (const SeenBlock& b : list) CHECK(b.queries == list[0].queries) << "from row " << query;
    lists.push_back(std::move(list));
  }
  return lists;
}

template <class T>
void ForwardCpu(const BlockAttention& a, const AttentionResult& result) {
  const AttentionDims d(a.qkv);
  const KeyDims kd(a.keys);
  const int64_t tile_rows = TileRows(d.head_dim);
  const std::vector<std::vector<SeenBlock>> lists = ByQueries(a.blocks);
  struct Task {
    size_t list;
    int64_t group, row;
  };
  std::vector<Task> tasks;
  for (size_t i = 0; i < lists.size(); ++i) {
    for (int64_t g = 0; g < d.groups; ++g) {
      for (int64_t row = 0; row < lists[i][0].queries * d.heads; row += tile_rows) {
        tasks.push_back({i, g, row});
      }
    }
  }
  PollingFor(static_cast<int64_t>(tasks.size()), a.poll, [&](int64_t i) {
    const auto& [list, group, row] = tasks[static_cast<size_t>(i)];
    for (const SeenBlock& b : lists[list]) {
      const T* k = a.keys.data<T>() + kd.At(b.key, group);
      const AttentionForward<T> forward{
          d.Queries(static_cast<const T*>(a.qkv.data<T>()), b.query, group),
          k,
          k + d.head_dim,
          kd.token,
          b.keys,
          /*past=*/b.keys,
          static_cast<T>(a.scale),
          d.Outputs(result.out.data<T>(), b.query, group),
          result.lse.data<T>() + (b.query * d.groups + group) * d.heads,
          d.groups * d.heads,
          /*resume=*/true};
      AttendRows(forward, row, std::min(b.queries * d.heads, row + tile_rows));
    }
  });
}

// Chunk `i` of a block's queries with chunk `j` of its keys.
struct ChunkPair {
  size_t block;
  int64_t i, j;
};

int64_t Chunks(int64_t tokens) { return (tokens + kTileKeys - 1) / kTileKeys; }

// Rounds of pairs: those of one round share neither queries nor keys, so they may run at once, and
// what is added to a row comes in one order.
std::vector<std::vector<ChunkPair>> Rounds(const std::vector<SeenBlock>& blocks) {
  std::vector<std::vector<ChunkPair>> rounds;
  std::map<int64_t, size_t> query_free, key_free;  // by first row: the first round without it
  for (size_t b = 0; b < blocks.size(); ++b) {
    const int64_t rows = Chunks(blocks[b].queries), columns = Chunks(blocks[b].keys);
    const int64_t count = std::max(rows, columns);
    size_t& query = query_free[blocks[b].query];
    size_t& key = key_free[blocks[b].key];
    const size_t first = std::max(query, key);
    query = key = first + static_cast<size_t>(count);
    if (rounds.size() < query) rounds.resize(query);
    for (int64_t r = 0; r < count; ++r) {
      for (int64_t i = 0; i < rows; ++i) {
        const int64_t j = (i + r) % count;
        if (j < columns) rounds[first + static_cast<size_t>(r)].push_back({b, i, j});
      }
    }
  }
  return rounds;
}

template <class T>
void BackwardCpu(const BlockAttention& a, const AttentionGradient& in, const Tensor& dqkv,
                 const Tensor& dkeys) {
  const AttentionDims d(a.qkv);
  const KeyDims kd(a.keys);
  const auto run = [&](const ChunkPair& pair, int64_t group) {
    const SeenBlock& b = a.blocks[pair.block];
    const T* k = a.keys.data<T>() + kd.At(b.key, group);
    T* dk = dkeys.data<T>() + kd.At(b.key, group);
    const AttentionBackward<T> backward{
        d.Queries(static_cast<const T*>(a.qkv.data<T>()), b.query, group),
        d.Outputs(static_cast<const T*>(in.out.data<T>()), b.query, group),
        d.Outputs(static_cast<const T*>(in.dout.data<T>()), b.query, group),
        k,
        k + d.head_dim,
        kd.token,
        b.queries,
        b.keys,
        /*past=*/b.keys,
        in.lse.data<T>() + (b.query * d.groups + group) * d.heads,
        d.groups * d.heads,
        static_cast<T>(a.scale),
        d.Queries(dqkv.data<T>(), b.query, group),
        dk,
        dk + d.head_dim,
        /*add=*/true};
    BackwardChunks(backward, pair.i, pair.j);
  };
  for (const std::vector<ChunkPair>& round : Rounds(a.blocks)) {
    PollingFor(static_cast<int64_t>(round.size()) * d.groups, a.poll,
               [&](int64_t t) { run(round[static_cast<size_t>(t / d.groups)], t % d.groups); });
  }
}

// Each block reads its queries and keys, and reads and writes what it adds to.
Work BlockWork(const char* name, const BlockAttention& a, bool backward) {
  const AttentionDims d(a.qkv);
  int64_t pairs = 0, elements = 0, queries = 0, longest = 0;
  // Of a token: its queries (or results, or gradients of either), its log-sum-exps, key and value.
  const int64_t query = d.out_token(), lse = d.groups * d.heads, key = 2 * d.groups * d.head_dim;
  for (const SeenBlock& b : a.blocks) {
    pairs += b.queries * b.keys;
    queries += b.queries;
    longest = std::max(longest, b.keys);
    // Forward: q; out and lse twice. Backward: q, out, dout, lse; dq twice; k, v; dk and dv twice.
    elements += b.queries * (backward ? 5 * query + lse : 3 * query + 2 * lse);
    elements += b.keys * (backward ? 3 : 1) * key;
  }
  Work work = AttentionWork(name, d, static_cast<double>(pairs));
  if (backward) work.flops *= 2;
  work.m = queries * d.groups * d.heads;
  work.n = longest;
  work.bytes = static_cast<double>(elements * SizeOf(a.qkv.dtype()));
  return work;
}

}  // namespace

void AttendBlocks(const BlockAttention& a, const AttentionResult& result) {
  CheckBlocks(a);
  Launch(a.qkv.device(), BlockWork("attention_blocks", a, /*backward=*/false),
         [&] { DispatchFloat(a.qkv.dtype(), [&]<class T>() { ForwardCpu<T>(a, result); }); });
}

void AttendBlocksBackward(const BlockAttention& a, const AttentionGradient& in, const Tensor& dqkv,
                          const Tensor& dkeys) {
  CheckBlocks(a);
  CHECK(dqkv.shape() == a.qkv.shape() && dkeys.shape() == a.keys.shape()) << dkeys.shape();
  Launch(a.qkv.device(), BlockWork("attention_blocks_backward", a, /*backward=*/true), [&] {
    DispatchFloat(a.qkv.dtype(), [&]<class T>() { BackwardCpu<T>(a, in, dqkv, dkeys); });
  });
}

}  // namespace choir
