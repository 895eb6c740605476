// Times whole training steps (forward, backward, clipping, AdamW) of a dense and of a
// mixture-of-experts model, beside PyTorch on the same model, weights and tokens.
//
//   step_bench [--config dense|moe|both] [--steps N] [--warmup N] [--threads N]
//
// Each side is a process of its own, so that memory is measured apart, and they take turns step by
// step, so that a noisy machine troubles both alike. The SGEMM rate is measured between the steps.
// PyTorch's python is $CHOIR_REFERENCE_PYTHON, else .cache/reference_env/bin/python (made by
// scripts/reference_env); without it only Choir is measured. Exit status: 0, 1 when the two sides
// disagree on a loss or a side failed, 2 for wrong arguments.
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_format.h"
#include "base/file.h"
#include "base/status.h"
#include "base/strings.h"
#include "bench/peer.h"
#include "bench/step_model.h"
#include "bench/worker.h"
#include "model/counts.h"
#include "ops/parallel_for.h"
#include "train/gemm_peak.h"

namespace choir {
namespace {

constexpr double kLossTolerance = 1e-3;
constexpr double kMiB = 1 << 20;
// Of the SGEMM rates' median to their best: less means that others were using the cores.
constexpr double kQuiet = 0.9;

int ServeChoir(const Case& c, const std::string& start_file) {
  ChoirSide side(c, start_file);
  return Serve(
      {{"version", "Choir"}}, [&] { return side.Step(); }, [&] { return side.Memory(); });
}

int ServeGemm() {
  return Serve(
      {{"version", "SGEMM"}},
      [] {
        return Json{{"rate", MeasureGemmPeak(0.25)}};
      },
      [] { return Json::object(); });
}

struct Side {
  std::unique_ptr<Worker> worker;
  std::vector<Json> steps;
  Json memory;

  absl::Status Step() {
    ASSIGN_OR_RETURN(Json reply, worker->Ask("step"));
    steps.push_back(std::move(reply));
    return absl::OkStatus();
  }
  absl::Status End() {
    ASSIGN_OR_RETURN(memory, worker->Ask("end"));
    return absl::OkStatus();
  }
  // Of the timed steps.
  std::vector<double> Values(const char* key, int warmup) const {
    std::vector<double> values;
    for (size_t i = static_cast<size_t>(warmup); i < steps.size(); ++i) {
      values.push_back(Number(steps[i], key));
    }
    return values;
  }
};

struct Options {
  std::string config = "both";
  int steps = 7, warmup = 2, threads = 2;
  // Of a worker: which case ("gemm" for the SGEMM rate), and the file for PyTorch to start from.
  std::string worker, start_file;
};

struct Sides {
  Side choir, gemm;
  std::optional<Side> torch;
};

absl::StatusOr<Sides> Measure(const Case& c, const Options& options, const Peer& peer,
                              const std::string& start_file) {
  const std::string self = "/proc/self/exe", threads = StrCat(options.threads);
  Sides sides;
  ASSIGN_OR_RETURN(sides.choir.worker, Worker::Start({self, "--worker", c.name, "--start-file",
                                                      start_file, "--threads", threads}));
  ASSIGN_OR_RETURN(sides.gemm.worker,
                   Worker::Start({self, "--worker", "gemm", "--threads", threads}));
  if (peer.present) {
    ASSIGN_OR_RETURN(sides.torch.emplace().worker,
                     Worker::Start({peer.python, peer.script, start_file, threads}));
  }
  std::error_code error;
  std::filesystem::remove(start_file, error);  // all have read it
  for (int i = 0; i < options.warmup + options.steps; ++i) {
    RETURN_IF_ERROR(sides.gemm.Step());
    if (i % 2 == 0) RETURN_IF_ERROR(sides.choir.Step());
    if (sides.torch) RETURN_IF_ERROR(sides.torch->Step());
    if (i % 2 == 1) RETURN_IF_ERROR(sides.choir.Step());
  }
  RETURN_IF_ERROR(sides.choir.End());
  if (sides.torch) RETURN_IF_ERROR(sides.torch->End());
  return sides;
}

// What a table row says.
struct Row {
  double seconds, best, peak_memory;
};

Row PrintRow(const Side& side, int warmup, double flops, double peak_rate) {
  const std::vector<double> seconds = side.Values("seconds", warmup);
  const Row row{Median(seconds), *std::min_element(seconds.begin(), seconds.end()),
                Number(side.memory, "peak")};
  auto share = [&](const char* part) {
    return 100 * Median(side.Values(part, warmup)) / row.seconds;
  };
  std::printf("  %-15s %7.3f %7.3f %9.0f %8.1f %6.1f %% %8.0f   %3.0f / %.0f / %.0f %%\n",
              side.worker->version().c_str(), row.seconds, row.best, kTokens / row.seconds,
              flops / row.seconds / 1e9, 100 * flops / row.seconds / peak_rate,
              row.peak_memory / kMiB, share("forward"), share("backward"), share("update"));
  return row;
}

// Whether both sides computed the same training run.
bool PrintCheck(const Side& choir, const Side& torch) {
  bool agree = true;
  for (const char* const when : {"first", "last"}) {
    const bool first = std::string(when) == "first";
    const double a = Number(first ? choir.steps.front() : choir.steps.back(), "loss");
    const double b = Number(first ? torch.steps.front() : torch.steps.back(), "loss");
    const double difference = std::abs(a - b) / std::abs(b);
    const bool same = difference <= kLossTolerance;  // false for NaN
    agree = agree && same;
    std::printf(
        "  check: loss of the %s step %.7f (Choir), %.7f (PyTorch): relative difference "
        "%.1e, %s\n",
        when, a, b, difference, same ? "agree" : "DISAGREE");
  }
  return agree;
}

void PrintTarget(const char* what, const std::string& value, const std::string& limit,
                 bool reached) {
  std::printf("  %-28s %s, target %s: %s\n", what, value.c_str(), limit.c_str(),
              reached ? "reached" : "missed");
}

// False when the two sides disagree.
bool Report(const Case& c, const Options& options, const Sides& sides) {
  const ParameterCounts counts = CountParameters(c.model, kVocab);
  const double pairs = static_cast<double>(kRows * kLength) * (kLength + 1) / 2;
  const double flops = CountFlops(c.model, kVocab).Training(kTokens, pairs);
  const std::vector<double> rates = sides.gemm.Values("rate", 0);
  const double peak = *std::max_element(rates.begin(), rates.end());
  std::printf(
      "%s: %.1f M parameters, %.1f M active; %lld x %lld tokens, %.1f GFLOP a step; %d "
      "threads; median of %d steps after %d\n",
      c.name.c_str(), static_cast<double>(counts.total) / 1e6,
      static_cast<double>(counts.active) / 1e6, static_cast<long long>(kRows),
      static_cast<long long>(kLength), flops / 1e9, options.threads, options.steps, options.warmup);
  bool agree = true;
  if (sides.torch) {
    agree = PrintCheck(sides.choir, *sides.torch);
  } else {
    std::printf("  check: not made, PyTorch was not run; Choir's loss went from %.7f to %.7f\n",
                Number(sides.choir.steps.front(), "loss"),
                Number(sides.choir.steps.back(), "loss"));
  }
  std::printf("  %-15s %7s %7s %9s %8s %8s %8s   %s\n", "", "s/step", "best", "tokens/s", "GFLOP/s",
              "of SGEMM", "peak MiB", "forward / backward / update");
  std::printf("  %-15s %7s %7s %9s %8.1f %6.1f %%            (median %.1f)\n", "SGEMM", "", "", "",
              peak / 1e9, 100.0, Median(rates) / 1e9);
  if (Median(rates) < kQuiet * peak) {
    std::printf("  NOISY: the SGEMM rate varied too much for these figures to be quoted\n");
  }
  const Row choir = PrintRow(sides.choir, options.warmup, flops, peak);
  std::optional<Row> torch;
  if (sides.torch) torch = PrintRow(*sides.torch, options.warmup, flops, peak);
  std::printf("  Choir's ledger: peak %.0f MiB\n", Number(sides.choir.memory, "ledger") / kMiB);
  const double share = flops / choir.seconds / peak, best_share = flops / choir.best / peak;
  PrintTarget("share of the SGEMM rate",
              absl::StrFormat("%.1f %% (fastest step %.1f %%)", 100 * share, 100 * best_share),
              absl::StrFormat(">= %.0f %%", 100 * c.target_share), share >= c.target_share);
  if (!torch) return agree;
  const double speed = torch->seconds / choir.seconds, best_speed = torch->best / choir.best;
  const double memory = choir.peak_memory / torch->peak_memory;
  PrintTarget("speed over PyTorch's",
              absl::StrFormat("%.2f x (fastest steps %.2f x)", speed, best_speed),
              absl::StrFormat(">= %.1f x", c.target_speed), speed >= c.target_speed);
  PrintTarget("peak memory over PyTorch's", absl::StrFormat("%.2f x", memory), "< 1 x", memory < 1);
  return agree;
}

absl::StatusOr<bool> RunAll(const Options& options, const std::string& folder) {
  ASSIGN_OR_RETURN(const Peer peer, FindPeer("step_bench_torch.py"));
  if (!peer.present) {
    std::printf(
        "PyTorch was not run: there is no %s. scripts/reference_env installs it, or set "
        "CHOIR_REFERENCE_PYTHON to a python that has torch and numpy.\n",
        peer.python.c_str());
  }
  bool agree = true;
  for (const Case& c : {DenseCase(), MoeCase()}) {
    if (options.config != "both" && options.config != c.name) continue;
    ASSIGN_OR_RETURN(const Sides sides, Measure(c, options, peer, folder + "/start-" + c.name));
    agree = Report(c, options, sides) && agree;
    std::fflush(stdout);
  }
  return agree;
}

int RunWorker(const Options& options) {
  SetNumThreads(options.threads);
  if (options.worker == "gemm") return ServeGemm();
  return ServeChoir(options.worker == "moe" ? MoeCase() : DenseCase(), options.start_file);
}

int Run(const Options& options) {
  if (!options.worker.empty()) return RunWorker(options);
  std::signal(SIGPIPE, SIG_IGN);
  std::string folder =
      (std::filesystem::temp_directory_path() / "choir-step-bench-XXXXXX").string();
  if (mkdtemp(folder.data()) == nullptr) {
    std::cerr << FileError(folder, "make a folder", errno).message() << "\n";
    return 1;
  }
  const absl::StatusOr<bool> agree = RunAll(options, folder);
  std::error_code error;
  std::filesystem::remove_all(folder, error);
  if (!agree.ok()) std::cerr << "step_bench: " << agree.status().message() << "\n";
  return agree.ok() && *agree ? 0 : 1;
}

}  // namespace
}  // namespace choir

int main(int argc, char** argv) {
  choir::Options options;
  CLI::App app("Times training steps beside PyTorch's");
  app.add_option("--config", options.config, "what to time")
      ->check(CLI::IsMember({"dense", "moe", "both"}))
      ->capture_default_str();
  app.add_option("--steps", options.steps, "timed steps")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--warmup", options.warmup, "steps before the timed ones")
      ->check(CLI::Range(0, 1000))
      ->capture_default_str();
  app.add_option("--threads", options.threads, "threads of each side")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--worker", options.worker)->group("");
  app.add_option("--start-file", options.start_file)->group("");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  return choir::Run(options);
}
