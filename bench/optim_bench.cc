// Times one update of every format of values and moments, in bytes moved per second, beside a copy
// of memory and PyTorch's fused AdamW in the same run. Rounds take turns, so that other work on the
// machine slows all alike.
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "base/status.h"
#include "bench/peer.h"
#include "bench/worker.h"
#include "ops/parallel_for.h"
#include "ops/simd.h"
#include "optim/optimizer.h"
#include "tensor/float16.h"

namespace choir {
namespace {

struct Options {
  int64_t millions = 32;
  int rounds = 15, threads = 2;
};

double Now() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double>(now).count();
}

// Bytes of an element that one step reads and writes, of a number that is updated in place.
double InPlace(MomentFormat format) {
  switch (format) {
    case MomentFormat::kF32:
      return 8;
    case MomentFormat::kBF16:
      return 4;
    case MomentFormat::kInt8:
      break;
  }
  return 2 * (1 + 4.0 / kMomentBlock);
}

// One matrix and its optimizer.
class Side {
 public:
  Side(std::string name, OptimKind kind, DType value, const TargetPrecision& precision, int64_t n)
      : name_(std::move(name)) {
    parameter_.name = "w";
    parameter_.value = Tensor::Zeros({n / kWidth, kWidth}, {value});
    parameter_.grad = Tensor::Zeros({n / kWidth, kWidth}, {});
    for (int64_t i = 0; i < n; ++i) {
      parameter_.grad.data<float>()[i] = static_cast<float>(i % 1021 - 510) * 1e-5f;
    }
    OptimConfig config;
    config.kind = kind;
    optimizer_ = std::make_unique<Optimizer>(config, WholeTargets({&parameter_}, precision));
    const double of_value = precision.master ? 8 + 2 : 2 * static_cast<double>(SizeOf(value));
    bytes_ = 4 + of_value + InPlace(precision.m);
    if (kind == OptimKind::kAdamW) bytes_ += InPlace(precision.v);
  }

  void Step() {
    const double start = Now();
    optimizer_->Step({1e-3});
    seconds_.push_back(Now() - start);
  }
  const std::string& name() const { return name_; }
  double bytes() const { return bytes_; }
  double seconds() const { return Median(seconds_); }

 private:
  static constexpr int64_t kWidth = 1024;
  std::string name_;
  Parameter parameter_;
  std::unique_ptr<Optimizer> optimizer_;
  double bytes_;
  std::vector<double> seconds_;
};

std::vector<std::unique_ptr<Side>> MakeSides(int64_t n) {
  using enum MomentFormat;
  std::vector<std::unique_ptr<Side>> sides;
  const auto add = [&](const char* name, DType value, const TargetPrecision& precision,
                       OptimKind kind = OptimKind::kAdamW) {
    sides.push_back(std::make_unique<Side>(name, kind, value, precision, n));
  };
  add("adamw f32, f32 moments", DType::kF32, {false, kF32, kF32});
  add("adamw f32, bf16 moments", DType::kF32, {false, kBF16, kBF16});
  add("adamw f32, 8-bit moments", DType::kF32, {false, kInt8, kInt8});
  add("adamw bf16 + master, f32 moments", DType::kBF16, {true, kF32, kF32});
  add("adamw bf16 + master, 8-bit moments", DType::kBF16, {true, kInt8, kInt8});
  add("adamw bf16 stochastic, f32 moments", DType::kBF16, {false, kF32, kF32});
  add("adamw bf16 stochastic, bf16 moments", DType::kBF16, {false, kBF16, kBF16});
  add("adamw bf16 stochastic, 8-bit moments", DType::kBF16, {false, kInt8, kInt8});
  add("lion f32, f32 moment", DType::kF32, {false, kF32, kF32}, OptimKind::kLion);
  add("sgd f32, f32 moment", DType::kF32, {false, kF32, kF32}, OptimKind::kSgd);
  return sides;
}

// Copies as many bytes as AdamW in F32 moves: bytes per second, read and written counted, of the
// faster of memcpy in one piece for each thread, which goes past the caches, and a loop of vectors
// in the optimizer's tasks.
double CopyRate(const Tensor& from, const Tensor& to) {
  const int64_t n = from.NumElements();
  const float* source = from.data<float>();
  float* target = to.data<float>();
  const auto seconds = [&](int64_t grain, const auto& copy) {
    const double start = Now();
    ParallelRanges(n, grain, [&](int64_t begin, int64_t end) { copy(begin, end - begin); });
    return Now() - start;
  };
  const double whole = seconds((n + NumThreads() - 1) / NumThreads(), [&](int64_t i, int64_t k) {
    std::memcpy(target + i, source + i, static_cast<size_t>(k) * sizeof(float));
  });
  const double loop = seconds(4 * kElementGrain, [&](int64_t i, int64_t k) {
    ForEachVec<float>(k,
                      [&](int64_t, auto load, auto store) { store(target + i, load(source + i)); });
  });
  return 2 * static_cast<double>(from.bytes()) / std::min(whole, loop);
}

void PrintRow(const char* name, double bytes, double seconds, double n, double copy) {
  const double rate = bytes * n / seconds;
  std::printf("  %-38s %8.3f %8.2f %8.2f %7.1f %%\n", name, bytes, 1e3 * seconds, rate / 1e9,
              100 * rate / copy);
}

absl::Status Run(const Options& options) {
  SetNumThreads(options.threads);
  const int64_t n = options.millions << 20;
  ASSIGN_OR_RETURN(const Peer peer, FindPeer("optim_bench_torch.py"));
  std::unique_ptr<Worker> torch;
  if (peer.present) {
    ASSIGN_OR_RETURN(torch, Worker::Start({peer.python, peer.script, std::to_string(n),
                                           std::to_string(options.threads)}));
  }
  const auto sides = MakeSides(n);
  const Tensor from = Tensor::Zeros({14 * n / 4}, {}), to = Tensor::Zeros({14 * n / 4}, {});
  std::vector<double> copies, torch_seconds;
  for (int round = 0; round <= options.rounds; ++round) {
    const double copy = CopyRate(from, to);
    if (round == 0) {  // the first touches memory
      for (const auto& side : sides) side->Step();
      continue;
    }
    copies.push_back(copy);
    for (const auto& side : sides) side->Step();
    if (torch == nullptr) continue;
    ASSIGN_OR_RETURN(const Json reply, torch->Ask("step"));
    torch_seconds.push_back(Number(reply, "seconds"));
  }
  const double copy = Median(copies), count = static_cast<double>(n);
  std::printf("%lld M parameters, %d threads, median of %d rounds\n",
              static_cast<long long>(options.millions), options.threads, options.rounds);
  std::printf("  %-38s %8s %8s %8s %9s\n", "", "B/param", "ms", "GB/s", "of copy");
  std::printf("  %-38s %8s %8s %8.2f %9s\n", "copy (read + written)", "", "", copy / 1e9, "100 %");
  for (const auto& side : sides) {
    PrintRow(side->name().c_str(), side->bytes(), side->seconds(), count, copy);
  }
  if (torch != nullptr) {
    PrintRow(StrCat("PyTorch ", torch->version(), ", fused AdamW").c_str(), sides[0]->bytes(),
             Median(torch_seconds), count, copy);
  } else {
    std::printf("  PyTorch was not run: there is no %s\n", peer.python.c_str());
  }
  const double share = sides[0]->bytes() * count / sides[0]->seconds() / copy;
  std::printf("  AdamW in F32: %.1f %% of the copy, target >= 85 %%: %s\n", 100 * share,
              share >= 0.85 ? "reached" : "missed");
  return absl::OkStatus();
}

}  // namespace
}  // namespace choir

int main(int argc, char** argv) {
  choir::Options options;
  CLI::App app("Times the optimizer beside a copy of memory and PyTorch's fused AdamW");
  app.add_option("--millions", options.millions, "parameters, in units of 2^20")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  app.add_option("--rounds", options.rounds, "timed rounds")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  app.add_option("--threads", options.threads, "threads of each side")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  std::signal(SIGPIPE, SIG_IGN);
  const absl::Status status = choir::Run(options);
  if (!status.ok()) std::cerr << "optim_bench: " << status.message() << "\n";
  return status.ok() ? 0 : 1;
}
