// Every comparison here is of bits: an element is one chain of fused multiply-adds, or a tree of
// them, whatever else is computed along with it.
#include "ops/invariant_gemm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "base/random.h"
#include "ops/parallel_for.h"

namespace choir {
namespace {

// Values of very different sizes, so that another order of a sum has other bits.
template <class T>
std::vector<T> Random(int64_t n, const std::string& name) {
  CounterRandom random(5, name);
  std::vector<T> v(static_cast<size_t>(n));
  for (size_t i = 0; i < v.size(); ++i) {
    const double x = random.Uniform(i) - 0.5;
    v[i] = static_cast<T>(x * std::exp2(static_cast<double>(i * 7 % 11)));
  }
  return v;
}

// A stored product: op(a) of [m, k] and op(b) of [k, n], with gaps between the rows as stored.
template <class T>
struct Product {
  int64_t m, n, k;
  bool ta, tb;
  std::vector<T> a, b, c;
  int64_t lda, ldb, ldc;

  Product(int64_t m, int64_t n, int64_t k, bool ta = false, bool tb = false)
      : m(m), n(n), k(k), ta(ta), tb(tb) {
    lda = (ta ? m : k) + 3, ldb = (tb ? k : n) + 5, ldc = n + 2;
    a = Random<T>((ta ? k : m) * lda, "a");
    b = Random<T>((tb ? n : k) * ldb, "b");
    c = Random<T>(m * ldc, "c");
  }
  T A(int64_t i, int64_t j) const { return a[static_cast<size_t>(ta ? j * lda + i : i * lda + j)]; }
  T B(int64_t i, int64_t j) const { return b[static_cast<size_t>(tb ? j * ldb + i : i * ldb + j)]; }

  // The rows [row, row + rows) and columns [column, column + columns), summed over [from, to).
  struct Box {
    int64_t row, rows, column, columns, from, to;
  };
  Box Whole() const { return {0, m, 0, n, 0, k}; }
  GemmArgs<T> Args(const Box& box, T* out, T beta = 0) const {
    return {ta ? Transpose::kYes : Transpose::kNo,
            tb ? Transpose::kYes : Transpose::kNo,
            box.rows,
            box.columns,
            box.to - box.from,
            1,
            a.data() + (ta ? box.from * lda + box.row : box.row * lda + box.from),
            lda,
            b.data() + (tb ? box.column * ldb + box.from : box.from * ldb + box.column),
            ldb,
            beta,
            out + box.row * ldc + box.column,
            ldc};
  }
  // The twin: one element.
  T Chain(int64_t i, int64_t j, int64_t from, int64_t to) const {
    T sum = 0;
    for (int64_t x = from; x < to; ++x) sum = std::fma(A(i, x), B(x, j), sum);
    return sum;
  }
  T Tree(int64_t i, int64_t j, std::span<const int64_t> bounds) const {
    if (bounds.size() == 2) return Chain(i, j, bounds[0], bounds[1]);
    const size_t middle = bounds.size() / 2;
    const T left = Tree(i, j, bounds.first(middle + 1)), right = Tree(i, j, bounds.subspan(middle));
    return left + right;
  }
};

template <class T>
bool SameBits(const T& x, const T& y) {
  return std::memcmp(&x, &y, sizeof(T)) == 0;
}
template <class T>
bool SameBits(const std::vector<T>& x, const std::vector<T>& y) {
  return x.size() == y.size() && std::memcmp(x.data(), y.data(), x.size() * sizeof(T)) == 0;
}

std::vector<int64_t> Bounds(int64_t n, int64_t pieces) {
  std::vector<int64_t> bounds;
  for (int64_t i = 0; i <= pieces; ++i) bounds.push_back(PieceBegin(n, pieces, i));
  return bounds;
}

// c is c0 with the product written over it or added, and nothing beside it has changed.
template <class T>
void ExpectTrees(const Product<T>& p, const std::vector<T>& c, bool add,
                 std::span<const int64_t> bounds, int64_t step) {
  for (int64_t i = 0; i < p.m; i += i % 2 == 0 ? 1 : step) {
    for (int64_t j = 0; j < p.ldc; ++j) {
      if (j % step > 1 && j + 3 < p.n) continue;
      const auto at = static_cast<size_t>(i * p.ldc + j);
      T wanted = p.c[at];
      if (j < p.n) wanted = add ? p.c[at] + p.Tree(i, j, bounds) : p.Tree(i, j, bounds);
      ASSERT_TRUE(SameBits(c[at], wanted)) << i << "," << j << ": " << c[at] << " " << wanted;
    }
  }
}

template <class T>
void CheckEverySize() {
  for (const auto& [m, n, k] : {std::tuple<int64_t, int64_t, int64_t>{1, 1, 1},
                                {12, 32, 5},
                                {13, 33, 300},
                                {375, 530, 37},
                                {3, 17, 700},
                                {5, 4, 0}}) {
    for (int which = 0; which < 8; ++which) {
      const Product<T> p(m, n, k, which & 1, which & 2);
      const bool add = which & 4;
      SCOPED_TRACE(testing::Message() << m << " " << n << " " << k << " which " << which);
      std::vector<T> c = p.c;
      InvariantGemm(p.Args(p.Whole(), c.data(), add));
      ExpectTrees(p, c, add, std::vector<int64_t>{0, k}, 29);
    }
  }
}

TEST(InvariantGemm, EveryElementIsOneChain) {
  CheckEverySize<float>();
  CheckEverySize<double>();
}

TEST(InvariantGemm, PiecesAreAddedAsATree) {
  for (int64_t k : {0, 1, 5, 8, 41, 900}) {
    for (int64_t pieces : {1, 2, 4, 8, 16}) {
      for (bool add : {false, true}) {
        const Product<float> p(14, 35, k, pieces == 4, add);
        std::vector<float> c = p.c;
        const std::vector<int64_t> bounds = Bounds(k, pieces);
        InvariantGemm(p.Args(p.Whole(), c.data(), add), bounds);
        ExpectTrees(p, c, add, bounds, 1);
      }
    }
  }
}

// The sum of nothing is +0, and adding it turns -0 into +0.
TEST(InvariantGemm, EmptyPiecesAreAdded) {
  const float a = -std::numeric_limits<float>::min(), b = std::numeric_limits<float>::min();
  float c = 1;
  const GemmArgs<float> args{
      .m = 1, .n = 1, .k = 1, .a = &a, .lda = 1, .b = &b, .ldb = 1, .c = &c, .ldc = 1};
  InvariantGemm(args);
  EXPECT_TRUE(SameBits(c, -0.0f));
  InvariantGemm(args, std::vector<int64_t>{0, 1, 1});
  EXPECT_TRUE(SameBits(c, 0.0f));
}

template <class T>
void CheckBlocksAlone() {
  for (int which = 0; which < 4; ++which) {
    const Product<T> p(397, 541, 130, which & 1, which & 2);
    const std::vector<int64_t> bounds = Bounds(p.k, 8);
    std::vector<T> whole = p.c;
    InvariantGemm(p.Args(p.Whole(), whole.data()), bounds);
    for (int64_t parts : {2, 4, 8, 100}) {
      std::vector<T> c = p.c;
      for (int64_t r = 0; r < parts; ++r) {
        for (int64_t s = 0; s < std::min<int64_t>(parts, 8); ++s) {
          const int64_t columns = std::min<int64_t>(parts, 8);
          const int64_t row = PieceBegin(p.m, parts, r), column = PieceBegin(p.n, columns, s);
          InvariantGemm(p.Args({row, PieceBegin(p.m, parts, r + 1) - row, column,
                                PieceBegin(p.n, columns, s + 1) - column, 0, p.k},
                               c.data()),
                        bounds);
        }
      }
      ASSERT_TRUE(SameBits(c, whole)) << parts << " which " << which;
    }
  }
}

TEST(InvariantGemm, BlocksAloneHaveTheSameBits) {
  CheckBlocksAlone<float>();
  CheckBlocksAlone<double>();
}

// Ranks that hold neighbouring pieces compute subtrees.
TEST(InvariantGemm, RanksHoldSubtreesOfThePieces) {
  for (int64_t k : {3, 37, 1000}) {
    const Product<float> p(17, 40, k);
    const std::vector<int64_t> bounds = Bounds(k, 8);
    std::vector<float> whole = p.c;
    InvariantGemm(p.Args(p.Whole(), whole.data()), bounds);
    for (size_t ranks : {2, 4, 8}) {
      std::vector<std::vector<float>> sums;
      for (size_t r = 0; r < ranks; ++r) {
        const size_t each = 8 / ranks;
        std::vector<int64_t> own(bounds.begin() + static_cast<int64_t>(r * each),
                                 bounds.begin() + static_cast<int64_t>((r + 1) * each + 1));
        const int64_t from = own.front(), to = own.back();
        for (int64_t& bound : own) bound -= from;
        sums.push_back(p.c);
        InvariantGemm(p.Args({0, p.m, 0, p.n, from, to}, sums.back().data()), own);
      }
      for (size_t i = 0; i < whole.size(); ++i) {
        if (static_cast<int64_t>(i) % p.ldc >= p.n) continue;  // between the rows
        std::function<float(size_t, size_t)> tree = [&](size_t lo, size_t hi) -> float {
          if (hi - lo == 1) return sums[lo][i];
          return tree(lo, (lo + hi) / 2) + tree((lo + hi) / 2, hi);
        };
        ASSERT_TRUE(SameBits(whole[i], tree(0, ranks))) << k << " " << ranks << " " << i;
      }
    }
  }
}

// The test would see nothing if these orders had the same bits anyway.
TEST(InvariantGemm, OrdersDiffer) {
  const Product<float> p(20, 20, 200);
  std::vector<float> chain = p.c, tree = p.c;
  InvariantGemm(p.Args(p.Whole(), chain.data()));
  InvariantGemm(p.Args(p.Whole(), tree.data()), Bounds(p.k, 8));
  EXPECT_FALSE(SameBits(chain, tree));
}

TEST(InvariantGemm, ThreadsDoNotMatter) {
  const Product<float> p(777, 600, 65, false, true);
  const Product<double> q(100, 33, 300, true, false);
  std::vector<float> one = p.c;
  std::vector<double> two = q.c;
  InvariantGemm(p.Args(p.Whole(), one.data(), 1), Bounds(p.k, 4));
  InvariantGemm(q.Args(q.Whole(), two.data()));
  for (int threads : {1, 2, 3, 7}) {
    SetNumThreads(threads);
    std::vector<float> c = p.c;
    std::vector<double> d = q.c;
    InvariantGemmParallel(p.Args(p.Whole(), c.data(), 1), Bounds(p.k, 4));
    InvariantGemmParallel(q.Args(q.Whole(), d.data()));
    SetNumThreads(0);
    EXPECT_TRUE(SameBits(c, one)) << threads;
    EXPECT_TRUE(SameBits(d, two)) << threads;
  }
}

TEST(InvariantGemm, NanAndInfinityStayInTheirRowAndColumn) {
  Product<float> p(13, 33, 20), damaged = p;
  damaged.a[static_cast<size_t>(6 * p.lda + 4)] = std::numeric_limits<float>::quiet_NaN();
  damaged.b[static_cast<size_t>(3 * p.ldb + 32)] = std::numeric_limits<float>::infinity();
  std::vector<float> c = p.c, d = p.c;
  InvariantGemm(p.Args(p.Whole(), c.data()));
  InvariantGemm(damaged.Args(p.Whole(), d.data()));
  for (int64_t i = 0; i < p.m; ++i) {
    for (int64_t j = 0; j < p.n; ++j) {
      const auto at = static_cast<size_t>(i * p.ldc + j);
      EXPECT_EQ(SameBits(c[at], d[at]), i != 6 && j != 32) << i << "," << j;
      EXPECT_EQ(std::isnan(d[at]), i == 6) << i << "," << j;
    }
  }
}

TEST(InvariantGemmDeathTest, NamesWhatItCannotDo) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const Product<float> p(2, 2, 6);
  std::vector<float> c = p.c;
  EXPECT_DEATH(InvariantGemm(p.Args(p.Whole(), c.data(), 0.5f)), "beta 0.5");
  EXPECT_DEATH(InvariantGemm(p.Args(p.Whole(), c.data()), Bounds(6, 3)), "3 pieces");
  EXPECT_DEATH(InvariantGemm(p.Args(p.Whole(), c.data()), Bounds(5, 2)), "end at 5 of 6");
}

}  // namespace
}  // namespace choir
