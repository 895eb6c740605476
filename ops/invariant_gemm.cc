#include "ops/invariant_gemm.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <memory>
#include <vector>

#include "ops/invariant_gemm_kernel.h"
#include "ops/parallel_for.h"

namespace choir {
namespace {

// A tile of the result is summed from packed panels of both operands. The panel of b (512 KiB) and
// most of the panel of a stay in the second-level cache, kBlockRows rows of a in the first.
constexpr int64_t kTileRows = 360, kTileColumns = 512;
constexpr int64_t kLeastTileRows = 48;
template <class T>
constexpr int64_t kDepth = 1024 / static_cast<int64_t>(sizeof(T));

static_assert(kTileRows % kBlockRows == 0 && kTileColumns % kBlockColumns<float> == 0);

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t RoundUp(int64_t a, int64_t unit) { return CeilDiv(a, unit) * unit; }

// One operand as the kernel reads it: `width` rows of op(a), or columns of op(b), times k.
template <class T>
struct Operand {
  const T* data;
  int64_t width_stride, depth_stride;  // one of them is 1
  const T* At(int64_t w, int64_t k) const { return data + w * width_stride + k * depth_stride; }
};

// to[k, w] = from(w, k) for one panel, `kPanel` wide: elements from `width` on are zero, so that
// edges run the same kernel as everything else.
template <int64_t kPanel, class T>
void PackPanel(const Operand<T>& from, int64_t width, int64_t depth, T* to) {
  if (width < kPanel) std::fill_n(to, kPanel * depth, T(0));
  if (from.width_stride == 1) {
    for (int64_t k = 0; k < depth; ++k) std::copy_n(from.At(0, k), width, to + k * kPanel);
    return;
  }
  // A cache line of each row at a time: rows may lie a power of two apart and evict each other.
  constexpr int64_t kLine = 64 / static_cast<int64_t>(sizeof(T));
  for (int64_t begin = 0; begin < depth; begin += kLine) {
    const int64_t count = std::min(kLine, depth - begin);
    T* const block = to + begin * kPanel;
    for (int64_t w = 0; w < width; ++w) {
      const T* row = from.At(w, begin);
      for (int64_t k = 0; k < count; ++k) block[k * kPanel + w] = row[k];
    }
  }
}

template <int64_t kPanel, class T>
void Pack(const Operand<T>& from, int64_t width, int64_t depth, T* to) {
  for (int64_t w = 0; w < width; w += kPanel) {
    PackPanel<kPanel>(Operand<T>{from.At(w, 0), from.width_stride, from.depth_stride},
                      std::min(kPanel, width - w), depth, to + w * depth);
  }
}

template <class T>
struct FreeMemory {
  void operator()(T* p) const { std::free(p); }
};
template <class T>
using Buffer = std::unique_ptr<T[], FreeMemory<T>>;

template <class T>
Buffer<T> MakeBuffer(int64_t elements) {
  void* p = std::aligned_alloc(64, static_cast<size_t>(elements) * sizeof(T));
  CHECK(p != nullptr) << "no memory for " << elements << " elements of a matrix product";
  return Buffer<T>(static_cast<T*>(p));
}

// What a thread needs for one tile; kept for the next one.
template <class T>
struct Workspace {
  Buffer<T> a = MakeBuffer<T>(kTileRows * kDepth<T>);
  Buffer<T> b = MakeBuffer<T>(kTileColumns * kDepth<T>);
  std::vector<Buffer<T>> sums;  // by height of the stack of the tree

  T* Sum(size_t level) {
    while (sums.size() <= level) sums.push_back(MakeBuffer<T>(kTileRows * kTileColumns));
    return sums[level].get();
  }
};

// Rows and columns of one tile of the result, at most kTileRows and kTileColumns.
template <class T>
struct Tile {
  Operand<T> a, b;
  int64_t rows, columns;

  int64_t row_blocks() const { return CeilDiv(rows, kBlockRows); }
  int64_t column_blocks() const { return CeilDiv(columns, kBlockColumns<T>); }
  int64_t elements() const {
    return row_blocks() * column_blocks() * kBlockRows * kBlockColumns<T>;
  }
};

// sum = the chains over k in [begin, end), block by block of the kernel. The sums are stored
// between steps of kDepth, which changes nothing: they continue from the same bits.
template <class T>
void SumChains(const Tile<T>& tile, int64_t begin, int64_t end, Workspace<T>& work, T* sum) {
  if (begin == end) std::fill_n(sum, tile.elements(), T(0));
  for (int64_t k = begin; k < end; k += kDepth<T>) {
    const int64_t depth = std::min(kDepth<T>, end - k);
    Pack<kBlockRows>({tile.a.At(0, k), tile.a.width_stride, tile.a.depth_stride}, tile.rows, depth,
                     work.a.get());
    Pack<kBlockColumns<T>>({tile.b.At(0, k), tile.b.width_stride, tile.b.depth_stride},
                           tile.columns, depth, work.b.get());
    T* block = sum;
    for (int64_t r = 0; r < tile.row_blocks(); ++r) {
      for (int64_t c = 0; c < tile.column_blocks(); ++c) {
        MultiplyBlock(depth, work.a.get() + r * kBlockRows * depth,
                      work.b.get() + c * kBlockColumns<T> * depth, k == begin, block);
        block += kBlockRows * kBlockColumns<T>;
      }
    }
  }
}

// The tree over the pieces, by a stack of subtrees: after piece i, as many pairs are complete as
// the binary number i ends with ones.
template <class T>
const T* SumPiecesOf(const Tile<T>& tile, std::span<const int64_t> bounds, Workspace<T>& work) {
  size_t height = 0;
  for (size_t i = 0; i + 1 < bounds.size(); ++i) {
    SumChains(tile, bounds[i], bounds[i + 1], work, work.Sum(height++));
    for (size_t ones = i; ones % 2 == 1; ones /= 2) {
      --height;
      T* left = work.Sum(height - 1);
      const T* right = work.Sum(height);
      for (int64_t j = 0; j < tile.elements(); ++j) left[j] += right[j];
    }
  }
  CHECK(height == 1);
  return work.Sum(0);
}

template <class T>
void WriteTile(const Tile<T>& tile, const T* sum, bool add, T* c, int64_t ldc) {
  for (int64_t row = 0; row < tile.rows; ++row) {
    const int64_t block_row = row / kBlockRows * tile.column_blocks();
    const int64_t offset = row % kBlockRows * kBlockColumns<T>;
    for (int64_t b = 0; b < tile.column_blocks(); ++b) {
      const T* from = sum + (block_row + b) * kBlockRows * kBlockColumns<T> + offset;
      const int64_t column = b * kBlockColumns<T>;
      const int64_t count = std::min(kBlockColumns<T>, tile.columns - column);
      T* to = c + row * ldc + column;
      for (int64_t j = 0; j < count; ++j) to[j] = add ? to[j] + from[j] : from[j];
    }
  }
}

// A product cut into tiles. How it is cut changes no bit.
template <class T>
class Plan {
 public:
  Plan(const GemmArgs<T>& args, std::span<const int64_t> pieces, int threads)
      : args_(args), bounds_{0, args.k} {
    CHECK(args.alpha == 1) << "alpha " << args.alpha;
    CHECK(args.beta == 0 || args.beta == 1) << "beta " << args.beta;
    if (!pieces.empty()) bounds_.assign(pieces.begin(), pieces.end());
    CHECK(std::has_single_bit(bounds_.size() - 1)) << bounds_.size() - 1 << " pieces";
    CHECK(bounds_.front() == 0 && bounds_.back() == args.k)
        << "pieces end at " << bounds_.back() << " of " << args.k;
    CHECK(std::is_sorted(bounds_.begin(), bounds_.end()));
    column_tiles_ = CeilDiv(args.n, kTileColumns);
    columns_ = RoundUp(CeilDiv(args.n, std::max<int64_t>(1, column_tiles_)), kBlockColumns<T>);
    const int64_t share = CeilDiv(args.m * column_tiles_, threads);
    row_tiles_ = CeilDiv(args.m, std::clamp(share, kLeastTileRows, kTileRows));
    rows_ = RoundUp(CeilDiv(args.m, std::max<int64_t>(1, row_tiles_)), kBlockRows);
    // Rounding up may leave nothing for the last one.
    if (columns_ > 0) column_tiles_ = CeilDiv(args.n, columns_);
    if (rows_ > 0) row_tiles_ = CeilDiv(args.m, rows_);
  }

  int64_t tiles() const { return row_tiles_ * column_tiles_; }

  void Run(int64_t i) const {
    thread_local Workspace<T> work;
    // Neighbouring tasks share columns of b.
    const int64_t row = i % row_tiles_ * rows_, column = i / row_tiles_ * columns_;
    const bool ta = args_.transpose_a == Transpose::kYes, tb = args_.transpose_b == Transpose::kYes;
    const Operand<T> a{args_.a, ta ? 1 : args_.lda, ta ? args_.lda : 1};
    const Operand<T> b{args_.b, tb ? args_.ldb : 1, tb ? 1 : args_.ldb};
    const bool empty = args_.k == 0;  // there may be no memory to point into
    const Tile<T> tile{{empty ? nullptr : a.At(row, 0), a.width_stride, a.depth_stride},
                       {empty ? nullptr : b.At(column, 0), b.width_stride, b.depth_stride},
                       std::min(rows_, args_.m - row),
                       std::min(columns_, args_.n - column)};
    const T* sum = SumPiecesOf<T>(tile, bounds_, work);
    WriteTile(tile, sum, args_.beta == 1, args_.c + row * args_.ldc + column, args_.ldc);
  }

 private:
  GemmArgs<T> args_;
  std::vector<int64_t> bounds_;
  int64_t rows_, columns_, row_tiles_, column_tiles_;
};

template <class T>
void RunHere(const GemmArgs<T>& args, std::span<const int64_t> pieces) {
  const Plan<T> plan(args, pieces, 1);
  for (int64_t i = 0; i < plan.tiles(); ++i) plan.Run(i);
}

template <class T>
void RunParallel(const GemmArgs<T>& args, std::span<const int64_t> pieces) {
  const Plan<T> plan(args, pieces, NumThreads());
  ParallelFor(plan.tiles(), [&](int64_t i) { plan.Run(i); });
}

}  // namespace

void InvariantGemm(const GemmArgs<float>& args, std::span<const int64_t> pieces) {
  RunHere(args, pieces);
}
void InvariantGemm(const GemmArgs<double>& args, std::span<const int64_t> pieces) {
  RunHere(args, pieces);
}
void InvariantGemmParallel(const GemmArgs<float>& args, std::span<const int64_t> pieces) {
  RunParallel(args, pieces);
}
void InvariantGemmParallel(const GemmArgs<double>& args, std::span<const int64_t> pieces) {
  RunParallel(args, pieces);
}

}  // namespace choir
