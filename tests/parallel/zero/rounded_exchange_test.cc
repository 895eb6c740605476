// Sums whose elements travel in bf16, against exact sums.
#include "parallel/zero/rounded_exchange.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "base/random.h"
#include "base/strings.h"
#include "parallel/comm/local_world.h"
#include "parallel/zero/sum_queue.h"
#include "tensor/tolerance.h"

namespace choir {
namespace {

constexpr int64_t kSizes[] = {300, 1, 77, 0, 1030};
constexpr int64_t kAll = 300 + 1 + 77 + 1030;
const ShardCut kCuts[] = {{}, ShardCut::Owner(1), ShardCut::Rows(1), {}, {}};

void OnRanks(const Degrees& degrees, const std::function<void(const Place&, World&)>& body) {
  WorldOptions options;
  options.timeout_s = 60;
  const Mesh mesh(degrees);
  const absl::Status status = RunLocal(mesh.size(), options, [&](World& world) {
    body(Place(mesh, &world, Numerics::kFast), world);
  });
  EXPECT_TRUE(status.ok()) << status;
}

float Value(int rank, size_t tensor, int64_t i) {
  const CounterRandom random(7, StrCat("value ", tensor), static_cast<uint64_t>(rank));
  return static_cast<float>(random.Normal(static_cast<uint64_t>(i)));
}

Tensor Made(int rank, size_t tensor) {
  Tensor t = Tensor::Empty({kSizes[tensor]}, {});
  for (int64_t i = 0; i < kSizes[tensor]; ++i) t.data<float>()[i] = Value(rank, tensor, i);
  return t;
}

using Sums = std::vector<std::vector<float>>;  // this rank's piece of each tensor

Sums SumAll(const Place& place, const SumAxes& axes, int64_t bucket_bytes, uint64_t step) {
  SumQueue queue(place, bucket_bytes, {DType::kBF16, /*seed=*/3, step});
  Sums sums(std::size(kSizes));
  for (size_t i = 0; i < std::size(kSizes); ++i) {
    static const std::string names[] = {"a", "b", "c", "d", "e"};
    queue.Add(axes, {Made(place.rank(), i), kCuts[i], names[i]}, [&sums, i](const Tensor& piece) {
      sums[i].assign(piece.span<float>().begin(), piece.span<float>().end());
    });
  }
  queue.Wait();
  return sums;
}

int64_t Begin(const Place& place, const SumAxes& axes, size_t i) {
  if (axes.shard.empty()) return 0;
  return ShardBegin({kSizes[i]}, kCuts[i], place.Size(axes.shard), place.Coord(axes.shard));
}

const std::vector<std::pair<Degrees, SumAxes>>& Cases() {
  static const auto& cases = *new std::vector<std::pair<Degrees, SumAxes>>{
      {{.shard = 3}, {{}, Axis::kShard, {}}},
      {{.replica = 3}, {{}, {}, kDataAxes}},
      {{.replica = 2, .shard = 2}, {{}, Axis::kShard, Axis::kReplica}},
      {{.replica = 2, .shard = 2, .tensor = 2}, {Axis::kTensor, Axis::kShard, Axis::kReplica}},
  };
  return cases;
}

// Every element is rounded once on each of the two ways at most: the bounds of the header, and of
// the piece's second way that of what came out of the first.
TEST(RoundedExchangeThreadTest, StaysWithinItsBound) {
  const double u = UnitRoundoff(DType::kBF16);
  for (const auto& [degrees, axes] : Cases()) {
    OnRanks(degrees, [&, axes = axes](const Place& place, World&) {
      const Sums sums = SumAll(place, axes, 1 << 20, 1);
      for (size_t i = 0; i < sums.size(); ++i) {
        const int64_t begin = Begin(place, axes, i);
        for (size_t j = 0; j < sums[i].size(); ++j) {
          double want = 0, magnitude = 0;
          for (int r : place.mesh().Peers(place.rank(), axes.inner | axes.shard | axes.outer)) {
            const double v = static_cast<double>(Value(r, i, begin + static_cast<int64_t>(j)));
            want += v;
            magnitude += std::abs(v);
          }
          const double bound = (2 * u + 2 * u * (1 + 2 * u)) * magnitude +
                               ErrorBound(DType::kF32, place.mesh().size()) * magnitude;
          ASSERT_NEAR(static_cast<double>(sums[i][j]), want, bound) << i << " " << j;
        }
      }
    });
  }
}

// How tensors share buckets does not matter, and copies hold the same bits.
TEST(RoundedExchangeThreadTest, SameBitsWhateverTheBuckets) {
  for (const auto& [degrees, axes] : Cases()) {
    OnRanks(degrees, [&, axes = axes](const Place& place, World&) {
      const Sums sums = SumAll(place, axes, 1 << 20, 1);
      EXPECT_EQ(SumAll(place, axes, 1, 1), sums);
      EXPECT_EQ(SumAll(place, axes, 1500, 1), sums);
      EXPECT_NE(SumAll(place, axes, 1 << 20, 2), sums);
      const AxisSet copies = axes.inner | axes.outer;
      if (copies.empty()) return;
      for (size_t i = 0; i < sums.size(); ++i) {
        if (sums[i].empty()) continue;
        const Tensor mine = Tensor::From<float>({static_cast<int64_t>(sums[i].size())}, sums[i]);
        for (AxisSet axis : {axes.inner, axes.outer}) {
          if (axis.empty() || place.Size(axis) == 1) continue;
          const Tensor first = mine.Clone();
          place.Group(axis).Broadcast(first, 0).Wait();
          for (int64_t j = 0; j < mine.NumElements(); ++j) {
            ASSERT_EQ(first.data<float>()[j], mine.data<float>()[j]) << i << " " << j;
          }
        }
      }
    });
  }
}

// The mean over many steps comes to the exact sum: its error has the spread of the header over the
// root of their number; five of those.
TEST(RoundedExchangeThreadTest, IsUnbiased) {
  constexpr int kSteps = 100;
  const double u = UnitRoundoff(DType::kBF16);
  for (const auto& [degrees, axes] : Cases()) {
    OnRanks(degrees, [&, axes = axes](const Place& place, World&) {
      std::vector<double> errors;
      std::vector<double> mean;
      for (int step = 0; step < kSteps; ++step) {
        const Sums sums = SumAll(place, axes, 1 << 20, static_cast<uint64_t>(step));
        mean.resize(sums[0].size());
        for (size_t j = 0; j < mean.size(); ++j)
          mean[j] += static_cast<double>(sums[0][j]) / kSteps;
      }
      // Over all elements: they are independent too.
      double error = 0, squares = 0;
      for (size_t j = 0; j < mean.size(); ++j) {
        const auto at = Begin(place, axes, 0) + static_cast<int64_t>(j);
        double want = 0;
        for (int r : place.mesh().Peers(place.rank(), axes.inner | axes.shard | axes.outer)) {
          const double v = static_cast<double>(Value(r, 0, at));
          want += v;
          squares += 2 * (u * v) * (u * v);  // two ways
        }
        error += mean[j] - want;
      }
      EXPECT_LE(std::abs(error), 5 * std::sqrt(squares / kSteps) + 1e-4 * u);
    });
  }
}

// Half the bytes of F32 over the shards; with replicas, the gather of sums is in F32.
TEST(RoundedExchangeThreadTest, SendsTwoBytesForAnElement) {
  const auto sent = [](const Degrees& degrees, const SumAxes& axes) {
    std::vector<int64_t> bytes(8);
    OnRanks(degrees, [&](const Place& place, World& world) {
      SumAll(place, axes, 1 << 20, 1);
      int64_t& mine = bytes[static_cast<size_t>(place.rank())];
      for (const CommCount& count : world.Counts()) mine += count.bytes_sent;
    });
    int64_t all = 0;
    for (int64_t b : bytes) all += b;
    return all;
  };
  EXPECT_EQ(sent({.shard = 3}, {{}, Axis::kShard, {}}), 2 * 2 * kAll);
  EXPECT_EQ(sent({.replica = 3}, {{}, {}, kDataAxes}), 2 * (2 + 4) * kAll);
}

}  // namespace
}  // namespace choir
