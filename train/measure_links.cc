#include "train/measure_links.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <limits>
#include <numeric>

#include "ops/elementwise.h"
#include "ops/gemm.h"

namespace choir {
namespace {

constexpr TensorOptions kBuffers{DType::kF32, Device::kCpu, MemoryCategory::kCommunication};

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

Tensor Zeros(int64_t elements) { return Tensor::Zeros({elements}, kBuffers); }

// The largest of the members' numbers.
double Slowest(Communicator& group, double seconds) {
  const Tensor x = ScalarTensor(seconds, {DType::kF64, Device::kCpu, kBuffers.category});
  group.AllReduce(x, ReduceOp::kMax).Wait();
  return ScalarValue(x);
}

// Of the fastest of `rounds` rounds, each `count` runs.
double FastestRound(Communicator& group, int rounds, int count, const std::function<void()>& run) {
  run();  // groups and staging memory are made at first use
  double fastest = std::numeric_limits<double>::infinity();
  for (int i = 0; i < rounds; ++i) {
    group.Barrier().Wait();
    const double start = Now();
    for (int j = 0; j < count; ++j) run();
    fastest = std::min(fastest, Slowest(group, (Now() - start) / count));
  }
  return fastest;
}

struct Level {
  Communicator* group;
  int ranks_per_node;  // of the group
};

std::vector<Level> LevelsOf(World& world) {
  const int node = world.node_size(), nodes = world.size() / node;
  std::vector<Level> levels;
  if (node > 1) {
    std::vector<int> ranks(static_cast<size_t>(node));
    std::iota(ranks.begin(), ranks.end(), world.rank() / node * node);
    levels.push_back({&world.Group(ranks, "node"), node});
  }
  if (nodes > 1) {
    std::vector<int> ranks;
    for (int i = 0; i < nodes; ++i) ranks.push_back(i * node + world.rank() % node);
    levels.push_back({&world.Group(ranks, "nodes"), 1});
  }
  return levels;
}

// The exchanges of tensors that all members together have `segment` elements of each in.
class Exchanges {
 public:
  Exchanges(Communicator& group, int64_t segment)
      : group_(group),
        counts_(static_cast<size_t>(group.size()), segment),
        whole_(Zeros(segment * group.size())),
        other_(Zeros(segment * group.size())),
        part_(Zeros(segment)) {}

  double bytes() const { return static_cast<double>(whole_.bytes()); }

  void Run(ExchangeKind kind) const {
    switch (kind) {
      case ExchangeKind::kAllReduce:
        return group_.AllReduce(whole_, ReduceOp::kSum).Wait();
      case ExchangeKind::kAllGather:
        return group_.AllGather(whole_, part_, counts_).Wait();
      case ExchangeKind::kReduceScatter:
        return group_.ReduceScatter(part_, whole_, counts_).Wait();
      case ExchangeKind::kAllToAll:
        return group_.AllToAll(other_, counts_, whole_, counts_).Wait();
      case ExchangeKind::kSend: {  // to the next one, as along a pipeline
        const int n = group_.size(), me = group_.rank();
        const Event sent = group_.Send(whole_, (me + 1) % n, 0);
        group_.Recv(other_, (me + n - 1) % n, 0).Wait();
        return sent.Wait();
      }
    }
  }

 private:
  Communicator& group_;
  std::vector<int64_t> counts_;
  Tensor whole_, other_, part_;
};

}  // namespace

std::vector<TimedExchange> MeasureExchanges(World& world) {
  constexpr ExchangeKind kKinds[] = {ExchangeKind::kAllReduce, ExchangeKind::kAllGather,
                                     ExchangeKind::kReduceScatter, ExchangeKind::kAllToAll,
                                     ExchangeKind::kSend};
  std::vector<TimedExchange> samples;
  for (const auto& [group, ranks_per_node] : LevelsOf(world)) {
    for (int64_t bytes = int64_t{1} << 10; bytes <= int64_t{4} << 20; bytes *= 8) {
      const Exchanges exchanges(*group, std::max<int64_t>(1, bytes / 4 / group->size()));
      const int count = static_cast<int>(std::clamp<int64_t>((int64_t{2} << 20) / bytes, 1, 50));
      for (const ExchangeKind kind : kKinds) {
        TimedExchange sample{
            {kind, group->name(), group->size(), ranks_per_node, exchanges.bytes()}};
        sample.seconds = FastestRound(*group, 5, count, [&] { exchanges.Run(kind); });
        samples.push_back(sample);
      }
    }
  }
  return samples;
}

OverlapRates MeasureOverlap(World& world) {
  if (world.size() == 1) return {};
  std::vector<int> ranks(static_cast<size_t>(world.size()));
  std::iota(ranks.begin(), ranks.end(), 0);
  Communicator& group = world.Group(ranks, "all");
  constexpr int64_t kSize = 160;
  const Tensor sum = Zeros(int64_t{2} << 20);
  const Tensor a = Tensor::Zeros({kSize, kSize}, kBuffers), b = a.Clone(), c = a.Clone();
  const auto product = [&] {
    MatmulInto(c, a, Transpose::kNo, b, Transpose::kNo, 0);
    world.Progress();
  };
  const auto exchange = [&] { return group.AllReduce(sum, ReduceOp::kSum); };
  const double alone = FastestRound(group, 5, 1, [&] { exchange().Wait(); });
  const double one = FastestRound(group, 5, 20, product);
  const int products = static_cast<int>(std::clamp(alone / one, 1.0, 10000.0));
  const double work = FastestRound(group, 5, 1, [&] {
    for (int i = 0; i < products; ++i) product();
  });
  const double both = FastestRound(group, 5, 1, [&] {
    const Event event = exchange();
    for (int i = 0; i < products; ++i) product();
    event.Wait();
  });
  const double loss = (both - std::max(work, alone)) / std::min(work, alone);
  return {1, std::clamp(loss, 0.0, 1.0)};
}

}  // namespace choir
