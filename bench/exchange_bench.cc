// A layer of experts, forward and backward, whose exchange of tokens is cut into 1, 2 and 4 pieces
// (parallel.expert_chunks), and what of the exchange hides behind products.
//
//   exchange_bench [TOKENS [REPEATS]]                 2 ranks as threads
//   mpirun -np N exchange_bench [TOKENS [REPEATS]]    ranks as processes
//
// TOKENS of each rank (1024). "ms" is the time of a layer, "waited" the part of it that a rank
// spent waiting for the exchange (copies included), both of the slowest rank, the least of REPEATS
// (15) interleaved rounds. "at once" is the layer without any overlap: whatever is sent is awaited
// at once. Hidden is the share of that waiting that is gone. Exit status: 0, 1 if a number of the
// layer changes with the pieces, 2 for wrong arguments.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "base/random.h"
#include "model/layers.h"
#include "ops/parallel_for.h"
#include "parallel/comm/local_world.h"
#include "parallel/comm/mpi_comm.h"
#include "parallel/mesh/layout.h"

namespace choir {
namespace {

constexpr int kPieces[] = {1, 2, 4};

struct Arguments {
  int64_t tokens = 1024;
  int repeats = 15;
};

ModelConfig Config() {
  ModelConfig config;
  config.layers = 1;
  config.hidden = 512;
  config.moe.experts = 32;
  config.moe.top_k = 6;
  config.moe.width = 256;
  config.moe.shared_experts = 1;
  return config;
}

Tensor Normal(const Shape& shape, const std::string& name, double std) {
  const CounterRandom random(3, name);
  Tensor t = Tensor::Empty(shape, {});
  for (int64_t i = 0; i < t.NumElements(); ++i) {
    t.data<float>()[i] = static_cast<float>(std * random.Normal(static_cast<uint64_t>(i)));
  }
  return t;
}

// Everything that must not change with the pieces.
struct Outcome {
  Tensor y, dx, gate_up, down, router;
};

bool SameBits(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() &&
         std::memcmp(a.raw(), b.raw(), static_cast<size_t>(a.bytes())) == 0;
}

bool SameBits(const Outcome& a, const Outcome& b) {
  return SameBits(a.y, b.y) && SameBits(a.dx, b.dx) && SameBits(a.gate_up, b.gate_up) &&
         SameBits(a.down, b.down) && SameBits(a.router, b.router);
}

double Least(const std::vector<double>& values) {
  return *std::min_element(values.begin(), values.end());
}

class Bench {
 public:
  Bench(World& world, const Arguments& arguments)
      : world_(world), arguments_(arguments), config_(Config()) {
    std::vector<int> all;
    for (int r = 0; r < world.size(); ++r) all.push_back(r);
    group_ = &world.Group(all, "bench");
    Degrees degrees;
    degrees.replica = degrees.expert = world.size();
    for (int pieces : kPieces) {
      places_.push_back(std::make_unique<Place>(Mesh(degrees), &world, Numerics::kFast,
                                                ContextMethod::kUlysses,
                                                ExchangeOptions{.pieces = pieces}));
    }
    ParameterList list;
    list.options = {DType::kF32, Device::kCpu};
    list.place = places_[0].get();
    layer_.Make(list, "", config_);
    for (const auto& entry : list.entries) {
      Parameter& p = *entry.parameter;
      p.value.CopyFrom(Normal(p.value.shape(), p.name + std::to_string(world.rank()), 0.02));
    }
    // What all ranks share must be equal.
    layer_.router.value.CopyFrom(Normal(layer_.router.value.shape(), "router", 0.02));
    x_ = Normal({arguments.tokens, config_.hidden}, "x" + std::to_string(world.rank()), 1);
    dy_ = Normal({arguments.tokens, config_.hidden}, "dy" + std::to_string(world.rank()), 1);
  }

  // Whether all numbers are right.
  bool Run() {
    const Outcome whole = Layer(0);
    bool right = true;
    for (size_t i = 1; i < std::size(kPieces); ++i) right = right && SameBits(Layer(i), whole);
    Times at_once, layer[std::size(kPieces)];
    for (int repeat = 0; repeat < arguments_.repeats; ++repeat) {
      Measure(at_once, [&] { WithoutOverlap([&] { Layer(0); }); });
      for (size_t i = 0; i < std::size(kPieces); ++i) Measure(layer[i], [&] { Layer(i); });
    }
    if (world_.rank() == 0) {
      std::printf("%d ranks, %lld tokens each\n%-10s %10s %10s %10s\n%-10s %10.2f %10.2f\n",
                  world_.size(), static_cast<long long>(arguments_.tokens), "pieces", "ms",
                  "waited", "hidden", "at once", 1e3 * Least(at_once.layer),
                  1e3 * Least(at_once.waited));
      for (size_t i = 0; i < std::size(kPieces); ++i) {
        const double waited = Least(layer[i].waited);
        std::printf("%-10d %10.2f %10.2f %9.0f%%\n", kPieces[i], 1e3 * Least(layer[i].layer),
                    1e3 * waited, 100 * (1 - waited / Least(at_once.waited)));
      }
      std::fflush(stdout);
    }
    if (!right) std::fprintf(stderr, "rank %d: pieces change the numbers\n", world_.rank());
    return right;
  }

 private:
  struct Times {
    std::vector<double> layer, waited;
  };
  // Of the slowest rank; all start together.
  template <class Body>
  void Measure(Times& times, const Body& body) {
    group_->Barrier().Wait();
    const auto start = std::chrono::steady_clock::now();
    const double waited_before = Event::SecondsWaited();
    body();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    const double mine[] = {seconds.count(), Event::SecondsWaited() - waited_before};
    const Tensor slowest = Tensor::From<double>({2}, std::span<const double>(mine));
    group_->AllReduce(slowest, ReduceOp::kMax).Wait();
    times.layer.push_back(slowest.data<double>()[0]);
    times.waited.push_back(slowest.data<double>()[1]);
  }

  // Whoever looks at every result must find it complete.
  template <class Body>
  void WithoutOverlap(const Body& body) {
    const TapeObserver observer{[] {}, [](std::string_view, int, const Tensor&) { return -1; },
                                [](int, const Tensor&) {}};
    ObserveTapes(&observer);
    body();
    ObserveTapes(nullptr);
  }

  Outcome Layer(size_t pieces) {
    layer_.place = layer_.shared->place = places_[pieces].get();
    for (Parameter* p : {&layer_.gate_up, &layer_.down, &layer_.router, &layer_.shared->gate_up,
                         &layer_.shared->down}) {
      std::memset(p->grad.raw(), 0, static_cast<size_t>(p->grad.bytes()));
    }
    Tape tape;
    tape.SetPoll([this] { world_.Progress(); });
    const Var x = tape.Input(x_, /*wants_grad=*/true);
    RoutingReport report;
    const Var y = layer_.Forward(tape, x, BlockInput(), report);
    tape.RunBackward(y, dy_);
    return {y.tensor(), x.grad()->grad, layer_.gate_up.grad.Clone(), layer_.down.grad.Clone(),
            layer_.router.grad.Clone()};
  }

  World& world_;
  const Arguments& arguments_;
  ModelConfig config_;
  Communicator* group_;
  std::vector<std::unique_ptr<Place>> places_;  // by kPieces
  MixtureOfExperts layer_;
  Tensor x_, dy_;
};

int RunThreads(const Arguments& arguments) {
  constexpr int kRanks = 2;
  bool right[kRanks] = {};
  const absl::Status status = RunLocal(
      kRanks, {}, [&](World& world) { right[world.rank()] = Bench(world, arguments).Run(); });
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return status.ok() && right[0] && right[1] ? 0 : 1;
}

int RunProcesses(int argc, char** argv, const Arguments& arguments) {
  auto world = OpenMpi(&argc, &argv, {});
  if (!world.ok()) {
    std::fprintf(stderr, "%s\n", world.status().ToString().c_str());
    return 1;
  }
  const int ranks = (*world)->size();
  if (ranks < 2 || Config().moe.experts / ranks < kPieces[std::size(kPieces) - 1]) {
    std::fprintf(stderr, "exchange_bench: at least 2 ranks, at most %d\n",
                 Config().moe.experts / kPieces[std::size(kPieces) - 1]);
    return 2;
  }
  return Bench(**world, arguments).Run() ? 0 : 1;
}

int Main(int argc, char** argv) {
  Arguments arguments;
  if (argc > 1) arguments.tokens = std::atoll(argv[1]);
  if (argc > 2) arguments.repeats = std::atoi(argv[2]);
  if (argc > 3 || arguments.tokens < 1 || arguments.repeats < 1) {
    std::fprintf(stderr, "usage: exchange_bench [TOKENS [REPEATS]]\n");
    return 2;
  }
  SetNumThreads(1);
  return LaunchedByMpi() ? RunProcesses(argc, argv, arguments) : RunThreads(arguments);
}

}  // namespace
}  // namespace choir

int main(int argc, char** argv) { return choir::Main(argc, argv); }
