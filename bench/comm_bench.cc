// Bus bandwidth of the collectives, by size, beside the blocking ones of MPI in the same run and
// beside a copy of memory of the same size by one rank while the others wait.
//
//   comm_bench [ring|tree]                  ranks as threads, 2 and 4 of them
//   mpirun -np N comm_bench [ring|tree]     ranks as processes
//
// Bus bandwidth: bytes that each rank must send at least, by the time of the slowest rank; best of
// interleaved repeats. "vs copy" is the share of the copy's rate (bytes copied by time). Every
// result is compared with the sum or the values it must hold before anything is timed.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <functional>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "parallel/comm/local_world.h"
#include "parallel/comm/mpi_comm.h"
#include "parallel/comm/mpi_comm_reference.h"

namespace choir {
namespace {

constexpr int64_t kSizes[] = {1 << 10, 16 << 10, 256 << 10, 4 << 20, 64 << 20};  // bytes

int Repeats(int64_t bytes) {
  return static_cast<int>(std::clamp<int64_t>((32 << 20) / bytes, 3, 100));
}

double Seconds(const std::function<void()>& body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// The buffers of one size: `whole` is what all ranks hold together, `part` one rank's segment.
struct Buffers {
  Tensor whole, other, part;
  std::vector<int64_t> counts;
};

struct Case {
  const char* name;
  double share;  // of the bytes of `whole` that each rank must send, times n / (n - 1)
  std::function<void(Communicator&, const Buffers&)> ours;
  std::function<void(const Buffers&)> mpi;
  // Value of element i of the result (a whole or a part) from Fill's inputs on n ranks.
  std::function<float(int rank, int n, int64_t i, int64_t segment)> expected;
  std::function<const Tensor&(const Buffers&)> result;
};

// Small integers: every order of sums is exact.
float Value(int rank, int64_t i) { return static_cast<float>(rank + 1 + i % 7); }
float SumValue(int n, int64_t i) {
  return static_cast<float>(n * (n + 1) / 2) + static_cast<float>(n * (i % 7));
}

void Fill(const Buffers& b, int rank) {
  for (const Tensor* x : {&b.whole, &b.other, &b.part}) {
    for (int64_t i = 0; i < x->NumElements(); ++i) x->data<float>()[i] = Value(rank, i);
  }
}

std::vector<Case> Cases() {
  const auto whole = [](const Buffers& b) -> const Tensor& { return b.whole; };
  const auto part = [](const Buffers& b) -> const Tensor& { return b.part; };
  return {
      {"all_reduce", 2,
       [](Communicator& c, const Buffers& b) { c.AllReduce(b.whole, ReduceOp::kSum).Wait(); },
       [](const Buffers& b) { MpiAllReduce(b.whole.data<float>(), b.whole.NumElements()); },
       [](int, int n, int64_t i, int64_t) { return SumValue(n, i); }, whole},
      {"reduce_scatter", 1,
       [](Communicator& c, const Buffers& b) { c.ReduceScatter(b.part, b.whole, b.counts).Wait(); },
       [](const Buffers& b) {
         MpiReduceScatter(b.part.data<float>(), b.whole.data<float>(), b.counts[0]);
       },
       [](int rank, int n, int64_t i, int64_t segment) { return SumValue(n, rank * segment + i); },
       part},
      {"all_gather", 1,
       [](Communicator& c, const Buffers& b) { c.AllGather(b.whole, b.part, b.counts).Wait(); },
       [](const Buffers& b) {
         MpiAllGather(b.whole.data<float>(), b.part.data<float>(), b.counts[0]);
       },
       [](int, int, int64_t i, int64_t segment) {
         return Value(static_cast<int>(i / segment), i % segment);
       },
       whole},
      {"all_to_all", 1,
       [](Communicator& c, const Buffers& b) {
         c.AllToAll(b.whole, b.counts, b.other, b.counts).Wait();
       },
       [](const Buffers& b) {
         MpiAllToAll(b.whole.data<float>(), b.other.data<float>(), b.counts[0]);
       },
       [](int rank, int, int64_t i, int64_t segment) {
         return Value(static_cast<int>(i / segment), rank * segment + i % segment);
       },
       whole}};
}

class Bench {
 public:
  Bench(World& world, bool mpi) : world_(world), mpi_(mpi) {
    std::vector<int> ranks(static_cast<size_t>(world.size()));
    std::iota(ranks.begin(), ranks.end(), 0);
    all_ = &world.Group(ranks, "all");
  }

  // False if a result was wrong on any rank.
  bool Run() {
    bool right = true;
    for (int64_t bytes : kSizes) {
      const Buffers buffers = Make(bytes);
      const double copy = CopyRate(buffers);
      for (const Case& c : Cases()) right = RunCase(c, buffers, copy) && right;
    }
    return right;
  }

 private:
  Buffers Make(int64_t bytes) const {
    const int64_t segment = bytes / 4 / world_.size();
    const int64_t count = segment * world_.size();
    return {Tensor::Empty({count}, {}), Tensor::Empty({count}, {}), Tensor::Empty({segment}, {}),
            std::vector<int64_t>(static_cast<size_t>(world_.size()), segment)};
  }

  // Bytes per second.
  double CopyRate(const Buffers& b) const {
    double best = std::numeric_limits<double>::infinity();
    if (world_.rank() == 0) {
      Fill(b, 0);
      for (int i = 0; i < Repeats(b.whole.bytes()); ++i) {
        best = std::min(best, Seconds([&] { b.other.CopyFrom(b.whole); }));
      }
    }
    all_->Barrier().Wait();
    return static_cast<double>(b.whole.bytes()) / best;
  }

  bool RightEverywhere(const Case& c, const Buffers& b) const {
    const Tensor& result = c.result(b);
    const Tensor wrong = Tensor::Zeros({1}, {});
    for (int64_t i = 0; i < result.NumElements(); ++i) {
      const float expected = c.expected(world_.rank(), world_.size(), i, b.counts[0]);
      if (result.data<float>()[i] != expected) wrong.data<float>()[0] = 1;
    }
    all_->AllReduce(wrong, ReduceOp::kMax).Wait();
    return wrong.data<float>()[0] == 0;
  }

  // The slowest rank's seconds, of the best repeat; of ours and of MPI's.
  std::vector<double> Time(const Case& c, const Buffers& b) const {
    const int repeats = Repeats(b.whole.bytes());
    for (const Tensor* x : {&b.whole, &b.other, &b.part}) x->Zero();  // sums stay finite
    const Tensor seconds = Tensor::Zeros({2, repeats}, {DType::kF64});
    for (int i = 0; i < repeats; ++i) {
      all_->Barrier().Wait();
      seconds.data<double>()[i] = Seconds([&] { c.ours(*all_, b); });
      all_->Barrier().Wait();
      if (mpi_) seconds.data<double>()[repeats + i] = Seconds([&] { c.mpi(b); });
    }
    all_->AllReduce(seconds, ReduceOp::kMax).Wait();
    const double* const s = seconds.data<double>();
    return {*std::min_element(s, s + repeats), *std::min_element(s + repeats, s + 2 * repeats)};
  }

  bool RunCase(const Case& c, const Buffers& b, double copy) const {
    Fill(b, world_.rank());
    c.ours(*all_, b);
    bool right = RightEverywhere(c, b);
    if (mpi_) {
      Fill(b, world_.rank());
      c.mpi(b);
      right = RightEverywhere(c, b) && right;
    }
    const std::vector<double> seconds = Time(c, b);
    if (world_.rank() != 0) return right;
    const double n = world_.size();
    const double sent = c.share * (n - 1) / n * static_cast<double>(b.whole.bytes());
    std::printf("%-15s %9lld  %-5s %9.1f us %7.2f GB/s %4.0f %% of copy", c.name,
                static_cast<long long>(b.whole.bytes()), right ? "right" : "WRONG",
                seconds[0] * 1e6, sent / seconds[0] / 1e9, 100 * sent / seconds[0] / copy);
    if (mpi_) {
      std::printf("   MPI %9.1f us %7.2f GB/s", seconds[1] * 1e6, sent / seconds[1] / 1e9);
    }
    std::printf("\n");
    std::fflush(stdout);
    return right;
  }

  World& world_;
  bool mpi_;
  Communicator* all_;
};

int RunThreads(const WorldOptions& options) {
  bool right = true;
  for (int ranks : {2, 4}) {
    std::printf("%d ranks, threads\n", ranks);
    const absl::Status status = RunLocal(ranks, options, [&](World& world) {
      const bool own = Bench(world, false).Run();
      if (world.rank() == 0) right = right && own;
    });
    if (!status.ok()) std::fprintf(stderr, "%s\n", status.ToString().c_str());
    right = right && status.ok();
  }
  return right ? 0 : 1;
}

int RunProcesses(int argc, char** argv, const WorldOptions& options) {
  auto world = OpenMpi(&argc, &argv, options);
  if (!world.ok()) {
    std::fprintf(stderr, "%s\n", world.status().ToString().c_str());
    return 1;
  }
  if ((*world)->rank() == 0) std::printf("%d ranks, processes\n", (*world)->size());
  return Bench(**world, true).Run() ? 0 : 1;
}

int Main(int argc, char** argv) {
  const std::string order = argc > 1 ? argv[1] : "ring";
  if (argc > 2 || (order != "ring" && order != "tree")) {
    std::fprintf(stderr, "usage: comm_bench [ring|tree]\n");
    return 2;
  }
  const WorldOptions options{.sum_order = order == "tree" ? SumOrder::kTree : SumOrder::kRing};
  return LaunchedByMpi() ? RunProcesses(argc, argv, options) : RunThreads(options);
}

}  // namespace
}  // namespace choir

int main(int argc, char** argv) { return choir::Main(argc, argv); }
