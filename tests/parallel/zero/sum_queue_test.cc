// Sums in buckets against sums of whole tensors. Integers, so that every order gives the same bits.
#include "parallel/zero/sum_queue.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "base/strings.h"
#include "parallel/comm/local_world.h"

namespace choir {
namespace {

const Mesh& FourRanks() {
  static const Mesh& mesh = *new Mesh({.replica = 2, .shard = 2});
  return mesh;
}

void OnFourRanks(const std::function<void(const Place&)>& body) {
  WorldOptions options;
  options.check = true;
  options.timeout_s = 60;
  const absl::Status status = RunLocal(
      4, options, [&](World& world) { body(Place(FourRanks(), &world, Numerics::kFast)); });
  EXPECT_TRUE(status.ok()) << status;
}

constexpr int64_t kSizes[] = {5, 1, 64, 0, 7, 30, 2};
// Taken in turn: a bucket has tensors of every cut, and shards that are empty.
const ShardCut kCuts[] = {{}, ShardCut::Owner(1), ShardCut::Rows(1), ShardCut::Owner(0)};

Tensor Made(int rank, size_t i) {
  Tensor t = Tensor::Empty({kSizes[i]}, {});
  for (int64_t j = 0; j < kSizes[i]; ++j) {
    t.data<float>()[j] = static_cast<float>((rank + 1) * (100 * static_cast<int>(i) + j));
  }
  return t;
}

// What this rank should get of tensor i: its piece of the sum over the ranks that differ from it in
// the axes only.
std::vector<float> Expected(const Place& place, const SumAxes& axes, const ShardCut& cut,
                            size_t i) {
  const AxisSet summed = axes.inner | axes.shard | axes.outer;
  std::vector<float> sum(static_cast<size_t>(kSizes[i]));
  for (int rank : place.mesh().Peers(place.rank(), summed)) {
    const Tensor part = Made(rank, i);
    for (size_t j = 0; j < sum.size(); ++j) sum[j] += part.data<float>()[j];
  }
  const int64_t pieces = axes.shard.empty() ? 1 : place.Size(axes.shard);
  const int64_t me = axes.shard.empty() ? 0 : place.Coord(axes.shard);
  return {sum.begin() + ShardBegin({kSizes[i]}, cut, pieces, me),
          sum.begin() + ShardBegin({kSizes[i]}, cut, pieces, me + 1)};
}

// Kinds take turns, so that buckets of all of them are filled at the same time.
void CheckSums(const std::vector<SumAxes>& kinds, int64_t bucket_bytes) {
  OnFourRanks([&](const Place& place) {
    SumQueue queue(place, bucket_bytes);
    std::vector<std::vector<float>> want, got(kinds.size() * std::size(kSizes));
    for (size_t i = 0; i < std::size(kSizes); ++i) {
      for (const SumAxes& axes : kinds) {
        auto& mine = got[want.size()];
        const ShardCut cut = kCuts[want.size() % std::size(kCuts)];
        want.push_back(Expected(place, axes, cut, i));
        queue.Add(axes, {Made(place.rank(), i), cut}, [&mine](const Tensor& piece) {
          const auto values = piece.span<float>();
          mine.assign(values.begin(), values.end());
        });
      }
      if (i == 3) queue.Flush();
    }
    queue.Wait();
    EXPECT_EQ(got, want) << "bucket of " << bucket_bytes << " bytes";
  });
}

TEST(SumQueueThreadTest, SumsAndCutsWhateverTheBuckets) {
  const std::vector<SumAxes> together = {
      {{}, Axis::kShard, Axis::kReplica}, {{}, Axis::kShard, {}}, {kDataAxes, {}, {}}};
  const std::vector<SumAxes> alone = {{Axis::kReplica, Axis::kShard, {}}};
  for (int64_t bucket_bytes : {1, 100, 1 << 20}) {
    for (const std::vector<SumAxes>& kinds : {together, alone}) CheckSums(kinds, bucket_bytes);
  }
}

// What does not fill a bucket waits; a full one lets its tensors go.
TEST(SumQueueThreadTest, BucketsLeaveWhenTheyAreFull) {
  OnFourRanks([&](const Place& place) {
    const SumAxes axes{{}, Axis::kShard, {}};
    SumQueue queue(place, 4 * 64);
    int done = 0;
    const auto count = [&done](const Tensor&) { ++done; };
    const Tensor small = Made(place.rank(), 0), large = Made(place.rank(), 2);
    queue.Add(axes, {small, {}}, count);
    EXPECT_FALSE(small.Unique());
    queue.Poll();
    EXPECT_EQ(done, 0);
    queue.Add(axes, {large, {}}, count);
    EXPECT_TRUE(small.Unique());
    EXPECT_TRUE(large.Unique());
    queue.Add(axes, {small, {}}, count);
    EXPECT_FALSE(small.Unique());
    queue.Flush();
    EXPECT_TRUE(small.Unique());
    queue.Wait();
    EXPECT_EQ(done, 3);
  });
}

// Contributions of one tensor arrive in the order in which they were added, whatever the network
// does: sums in floating point are the same in every run.
TEST(SumQueueThreadTest, IsDoneInOrder) {
  OnFourRanks([&](const Place& place) {
    SumQueue queue(place, 1);
    std::string order;
    for (int i = 0; i < 20; ++i) {
      const SumAxes axes =
          i % 3 == 0 ? SumAxes{{}, Axis::kShard, Axis::kReplica} : SumAxes{{}, Axis::kShard, {}};
      queue.Add(axes, {Made(place.rank(), 2), {}},
                [&order, i](const Tensor&) { order += StrCat(i, " "); });
    }
    queue.Wait();
    EXPECT_EQ(order, "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 ");
  });
}

}  // namespace
}  // namespace choir
