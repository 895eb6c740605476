// Attention of one sequence on context ranks: seconds of one rank, of ulysses and of ring, forward
// and backward, and the bytes that all ranks send beside those of docs/parallelism.md.
//
//   context_bench [tokens]               ranks as threads, 2 and 4 of them
//   mpirun -np N context_bench [tokens]  ranks as processes
//
// Each rank computes on one thread. Times are those of the slowest rank, best of interleaved
// repeats; CPU time, which other programs of the machine hardly change, includes the polls of a
// rank that waits. Every result is compared with one rank's before anything is timed.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "base/random.h"
#include "ops/attention.h"
#include "ops/parallel_for.h"
#include "parallel/comm/local_world.h"
#include "parallel/comm/mpi_comm.h"
#include "parallel/context/context_attention.h"
#include "tensor/tolerance.h"

namespace choir {
namespace {

constexpr int64_t kGroups = 4, kQueries = 4, kDim = 64;
constexpr int kRepeats = 5;

Tensor Random(const Shape& shape, const char* name) {
  const CounterRandom random(1, name);
  Tensor x = Tensor::Empty(shape, {});
  for (int64_t i = 0; i < x.NumElements(); ++i) {
    x.data<float>()[i] = static_cast<float>(2 * random.Uniform(static_cast<uint64_t>(i)) - 1);
  }
  return x;
}

struct Problem {
  const char* name;
  int64_t tokens;
  std::shared_ptr<const std::vector<int32_t>> documents;
  Tensor qkv, dout;

  Problem(const char* name, int64_t tokens, int64_t document)
      : name(name),
        tokens(tokens),
        qkv(Random({tokens, kGroups, kQueries + 2, kDim}, "qkv")),
        dout(Random({tokens, kGroups * kQueries * kDim}, "dout")) {
    std::vector<int32_t> ends;
    for (int64_t end = 0; end < tokens; end += document) ends.push_back(static_cast<int32_t>(end));
    ends.push_back(static_cast<int32_t>(tokens));
    documents = std::make_shared<const std::vector<int32_t>>(std::move(ends));
  }
};

double Clock(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

struct Seconds {
  double wall = 0, cpu = 0;
};

struct Outcome {
  Tensor out, dqkv;
  Seconds seconds;
};

template <class Attend>
Outcome Run(const Tensor& qkv, const Tensor& dout, const Attend& attend) {
  Tape tape;
  Var x = tape.Input(qkv, true);
  const double wall = Clock(CLOCK_MONOTONIC), cpu = Clock(CLOCK_THREAD_CPUTIME_ID);
  Var y = attend(tape, x);
  tape.RunBackward(y, dout);
  return {y.tensor(),
          x.grad()->grad,
          {Clock(CLOCK_MONOTONIC) - wall, Clock(CLOCK_THREAD_CPUTIME_ID) - cpu}};
}

const double kScale = 1 / std::sqrt(static_cast<double>(kDim));

Outcome OneRank(const Problem& p) {
  return Run(p.qkv, p.dout, [&](Tape& tape, const Var& x) {
    return CausalAttention(tape, x, p.documents, kScale);
  });
}

// The largest difference, relative to the largest element of `right`.
double Deviation(const Tensor& x, const Tensor& right) {
  double off = 0, largest = 0;
  for (int64_t i = 0; i < x.NumElements(); ++i) {
    const double a = x.data<float>()[i], b = right.data<float>()[i];
    off = std::max(off, std::abs(a - b));
    largest = std::max(largest, std::abs(b));
  }
  return off / largest;
}

struct Method {
  const char* name;
  ContextMethod method;
  // Bytes that all of c ranks send for a sequence that is one document.
  double (*bytes)(double c, double tokens);
};

constexpr double kGroupBytes = 4.0 * kGroups * kDim;
const Method kMethods[] = {
    {"ulysses", ContextMethod::kUlysses,
     [](double c, double tokens) {
       return 4 * (c - 1) / c * (kQueries + 1) * kGroupBytes * tokens;
     }},
    // The last of 2 c pieces stays where it is.
    {"ring", ContextMethod::kRing,
     [](double c, double tokens) {
       return 6 * (c - 1) * kGroupBytes * tokens * (1 - 1 / (2 * c));
     }},
};

class Bench {
 public:
  explicit Bench(World& world) : world_(world) {
    std::vector<int> ranks(static_cast<size_t>(world.size()));
    std::iota(ranks.begin(), ranks.end(), 0);
    all_ = &world.Group(ranks, "all");
    for (const Method& m : kMethods) {
      places_.emplace_back(Mesh({.context = world.size()}), &world, Numerics::kFast, m.method);
    }
  }

  // False if a result was wrong on any rank.
  bool RunProblem(const Problem& p) {
    const Outcome right = OneRank(p);
    constexpr double kNone = std::numeric_limits<double>::infinity();
    std::vector<Seconds> best(std::size(kMethods) + 1, {kNone, kNone});
    std::vector<double> off, sent;
    for (size_t i = 0; i < std::size(kMethods); ++i) {
      const double before = BytesSent();
      off.push_back(Reduced(Compare(p, right, i), ReduceOp::kMax));
      sent.push_back(Reduced(BytesSent() - before, ReduceOp::kSum));
    }
    for (int r = 0; r < kRepeats; ++r) {
      for (size_t i = 0; i < best.size(); ++i) {
        all_->Barrier().Wait();
        Seconds seconds;
        if (i > 0) seconds = OnRanks(p, i - 1).seconds;
        if (i == 0 && world_.rank() == 0) seconds = OneRank(p).seconds;
        best[i].wall = std::min(best[i].wall, Reduced(seconds.wall, ReduceOp::kMax));
        best[i].cpu = std::min(best[i].cpu, Reduced(seconds.cpu, ReduceOp::kMax));
      }
    }
    const double bound = ErrorBound(DType::kF32, p.tokens + kDim + 14 * world_.size());
    if (world_.rank() == 0) Print(p, best, off, sent);
    return std::all_of(off.begin(), off.end(), [bound](double d) { return d <= bound; });
  }

 private:
  Outcome OnRanks(const Problem& p, size_t i) const {
    const TokenPlan plan = PlanTokens(places_[i], {1, p.tokens}, LeafTree(1, kVirtualPieces), 0);
    const ContextAttentionInput input{p.documents, kScale, &plan};
    return Run(TakeRows(p.qkv, plan.here), TakeRows(p.dout, plan.here),
               [&](Tape& t, const Var& x) { return ContextAttention(t, x, input, places_[i]); });
  }

  double Compare(const Problem& p, const Outcome& right, size_t i) const {
    const Outcome mine = OnRanks(p, i);
    const RowRuns here =
        DealTokens(kMethods[i].method, {1, p.tokens}, world_.size(), world_.rank());
    return std::max(Deviation(mine.out, TakeRows(right.out, here)),
                    Deviation(mine.dqkv, TakeRows(right.dqkv, here)));
  }

  double BytesSent() const {
    double bytes = 0;
    for (const CommCount& count : world_.Counts()) {
      if (count.group == "context") bytes += static_cast<double>(count.bytes_sent);
    }
    return bytes;
  }

  double Reduced(double x, ReduceOp op) const {
    const Tensor all = Tensor::From<double>({1}, std::span<const double>(&x, 1));
    all_->AllReduce(all, op).Wait();
    return all.data<double>()[0];
  }

  void Print(const Problem& p, const std::vector<Seconds>& best, const std::vector<double>& off,
             const std::vector<double>& sent) const {
    std::printf("%lld tokens, %s, %d ranks\n  one rank %8.1f ms (CPU %8.1f)\n",
                static_cast<long long>(p.tokens), p.name, world_.size(), best[0].wall * 1e3,
                best[0].cpu * 1e3);
    for (size_t i = 0; i < std::size(kMethods); ++i) {
      const Method& m = kMethods[i];
      const Seconds& s = best[i + 1];
      std::printf(
          "  %-8s %8.1f ms (CPU %8.1f), %.2f (CPU %.2f) times as fast;"
          " sent %7.3f MB, of one document %7.3f MB; off %.1e\n",
          m.name, s.wall * 1e3, s.cpu * 1e3, best[0].wall / s.wall, best[0].cpu / s.cpu,
          sent[i] / 1e6, m.bytes(world_.size(), static_cast<double>(p.tokens)) / 1e6, off[i]);
    }
    std::fflush(stdout);
  }

  World& world_;
  Communicator* all_;
  std::vector<Place> places_;
};

bool RunAll(World& world, int64_t tokens) {
  Bench bench(world);
  const bool one = bench.RunProblem({"one document", tokens, tokens});
  return bench.RunProblem({"documents of 300", tokens, 300}) && one;
}

int RunThreads(int64_t tokens) {
  bool right = true;
  for (int ranks : {2, 4}) {
    const absl::Status status = RunLocal(ranks, {}, [&](World& world) {
      const bool own = RunAll(world, tokens);
      if (world.rank() == 0) right = right && own;
    });
    if (!status.ok()) std::fprintf(stderr, "%s\n", status.ToString().c_str());
    right = right && status.ok();
  }
  return right ? 0 : 1;
}

int Main(int argc, char** argv) {
  const int64_t tokens = argc > 1 ? std::atoll(argv[1]) : 4096;
  if (argc > 2 || tokens < 16) {
    std::fprintf(stderr, "usage: context_bench [tokens, at least 16]\n");
    return 2;
  }
  SetNumThreads(1);
  if (!LaunchedByMpi()) return RunThreads(tokens);
  auto world = OpenMpi(&argc, &argv, {});
  if (!world.ok()) {
    std::fprintf(stderr, "%s\n", world.status().ToString().c_str());
    return 1;
  }
  return RunAll(**world, tokens) ? 0 : 1;
}

}  // namespace
}  // namespace choir

int main(int argc, char** argv) { return choir::Main(argc, argv); }
