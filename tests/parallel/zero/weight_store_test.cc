// Weights in shards against the same weights whole.
#include "parallel/zero/weight_store.h"

#include <gtest/gtest.h>

#include <deque>
#include <string>

#include "base/random.h"
#include "base/strings.h"
#include "ops/elementwise.h"
#include "ops/matmul.h"
#include "parallel/comm/local_world.h"
#include "tests/ops/recompute_where.h"

namespace choir {
namespace {

constexpr int kUnits = 5, kRanks = 2;
constexpr int64_t kRows = 3, kWidth = 9;  // an odd number of elements: shards of two sizes

Tensor Random(const Shape& shape, const std::string& name) {
  Tensor t = Tensor::Empty(shape, {});
  CounterRandom random(7, name);
  for (int64_t i = 0; i < t.NumElements(); ++i) {
    t.data<float>()[i] = static_cast<float>(0.3 * random.Normal(static_cast<uint64_t>(i)));
  }
  return t;
}

const ShardCut kCuts[kUnits] = {{}, ShardCut::Rows(1), ShardCut::Owner(0), ShardCut::Owner(1), {}};

// One product per unit; the last uses the first one's weight too, as a tied table does.
struct Net {
  std::deque<Parameter> weights;
  std::deque<Tensor> shards;
  std::unique_ptr<WeightStore> store;

  // Null: whole weights.
  explicit Net(const Place* place, int forward_only = -1) : weights(kUnits) {
    std::vector<WeightStore::Weight> held;
    for (int i = 0; i < kUnits; ++i) {
      Parameter& w = weights[static_cast<size_t>(i)];
      w.name = StrCat("w", i);
      const Tensor value = Random({kWidth, kWidth}, w.name);
      if (place == nullptr) {
        w.value = value;
        continue;
      }
      w.sharded = std::make_shared<ShardedValue>(
          ShardedValue{value.shape(), value.options(MemoryCategory::kParameters), {}, {}});
      const int64_t n = value.NumElements(), me = place->Coord(Axis::kShard);
      const int64_t begin = ShardBegin(value.shape(), kCuts[i], kRanks, me);
      const int64_t end = ShardBegin(value.shape(), kCuts[i], kRanks, me + 1);
      shards.push_back(value.Reshape({n}).Rows(begin, end - begin).Clone());
      std::vector<int> units = {i};
      if (i == 0) units.push_back(kUnits - 1);
      held.push_back({w.sharded, shards.back(), Axis::kShard, kCuts[i], units});
    }
    if (place != nullptr) store = std::make_unique<WeightStore>(*place, held, forward_only);
  }

  int Whole() const {
    int n = 0;
    for (const Parameter& w : weights) n += w.sharded->whole.defined() ? 1 : 0;
    return n;
  }

  Var Forward(Tape& tape, Var x) {
    for (int i = 0; i < kUnits; ++i) {
      tape.SetLayer(i);
      tape.SetUnit(i);
      x = Add(tape, x, Linear(tape, x, weights[static_cast<size_t>(i)], "product"));
    }
    return Linear(tape, x, weights[0], "tied");
  }
};

void OnTwoRanks(const std::function<void(const Place&, World&)>& body) {
  WorldOptions options;
  options.check = true;
  options.timeout_s = 60;
  const absl::Status status = RunLocal(kRanks, options, [&](World& world) {
    body(Place(Mesh({.shard = kRanks}), &world, Numerics::kFast), world);
  });
  EXPECT_TRUE(status.ok()) << status;
}

// Output, gradient of the input (if asked for), gradients of the weights.
std::vector<float> Numbers(Net& net, const RecomputePolicy& policy, bool defer,
                           bool input_grad = true) {
  for (Parameter& w : net.weights) w.grad = Tensor();
  Tape tape;
  if (net.store != nullptr) net.store->Serve(tape, 0, kUnits - 1);
  tape.SetRecomputePolicy(policy);
  WeightGradQueue queue;
  if (defer) tape.DeferWeightGrads(&queue);
  Var x = tape.Input(Random({kRows, kWidth}, "x"), input_grad);
  const GradRef gx = x.grad();
  Var y = net.Forward(tape, std::move(x));
  std::vector<float> numbers;
  const auto append = [&](const Tensor& t) {
    numbers.insert(numbers.end(), t.span<float>().begin(), t.span<float>().end());
  };
  append(y.tensor());
  Tensor seed = Random(y.shape(), "dy");
  tape.RunBackward(y, seed);
  for (auto& run : queue) run();
  if (input_grad) append(gx->grad);
  for (const Parameter& w : net.weights) append(w.grad);
  return numbers;
}

TEST(WeightStoreThreadTest, GivesTheNumbersOfWholeWeights) {
  Net whole(nullptr);
  const RecomputePolicy policies[] = {nullptr,
                                      RecomputeWhere([](std::string_view, int) { return true; }),
                                      RecomputeWhere([](std::string_view tag, int layer) {
                                        return tag == "product" && layer % 2 == 1;
                                      })};
  for (const RecomputePolicy& policy : policies) {
    for (bool defer : {false, true}) {
      const std::vector<float> want = Numbers(whole, policy, defer);
      OnTwoRanks([&](const Place& place, World&) {
        Net net(&place);
        EXPECT_EQ(Numbers(net, policy, defer), want);
        EXPECT_EQ(Numbers(net, policy, defer), want) << "the second time";
      });
    }
  }
}

// The unit that is computed with and the next one; what is recomputed may need one more.
TEST(WeightStoreThreadTest, HoldsTwoUnitsAtMost) {
  OnTwoRanks([&](const Place& place, World&) {
    Net net(&place);
    const int64_t each = RoundedBytes(4 * kWidth * kWidth);
    MemoryLedger& ledger = CurrentLedger(Device::kCpu);
    Numbers(net, nullptr, false);
    // The tied weight belongs to the last unit too.
    EXPECT_EQ(ledger.Peak(MemoryCategory::kParameters), 3 * each);
    net.store->Release();
    EXPECT_EQ(ledger.Current(MemoryCategory::kParameters), 0);
    EXPECT_EQ(net.Whole(), 0);
    Numbers(net, RecomputeWhere([](std::string_view, int) { return true; }), false);
    EXPECT_LE(ledger.Peak(MemoryCategory::kParameters), 4 * each);
  });
}

// Calls of all-gather: each unit once a pass, but for what the pass before has left.
TEST(WeightStoreThreadTest, GathersEachUnitOnceAPass) {
  const auto gathers = [](World& world) {
    int64_t calls = 0;
    for (const CommCount& count : world.Counts()) {
      if (count.operation == "all_gather") calls += count.calls;
    }
    return calls;
  };
  for (bool input_grad : {true, false}) {
    OnTwoRanks([&](const Place& place, World& world) {
      // Without gradient of the input, backward does not read unit 0.
      Net net(&place, input_grad ? -1 : 0);
      Numbers(net, nullptr, false, input_grad);
      // Up: the tied weight twice. Down: the last unit is still there.
      const int up = kUnits + 1, down = kUnits - (input_grad ? 1 : 2);
      EXPECT_EQ(gathers(world), up + down);
      Numbers(net, nullptr, false, input_grad);  // and now the first that backward has read
      EXPECT_EQ(gathers(world), up + down + up - 1 + down);
    });
  }
}

TEST(WeightStoreThreadTest, ReleasedValuesFollowTheShards) {
  OnTwoRanks([&](const Place& place, World&) {
    Net net(&place);
    Parameter& w = net.weights[2];
    const float before = w.Value().data<float>()[0];
    for (const Tensor& shard : net.shards) ScaleInPlace(shard, 2);
    EXPECT_EQ(w.Value().data<float>()[0], before);
    net.store->Release();
    EXPECT_EQ(w.Value().data<float>()[0], 2 * before);
    EXPECT_EQ(net.Whole(), 1);
    net.weights[3].Value();  // one value outside of its unit at a time
    EXPECT_EQ(net.Whole(), 1);
  });
}

}  // namespace
}  // namespace choir
