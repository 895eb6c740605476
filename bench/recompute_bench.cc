// Memory against time of what is kept, recomputed or offloaded: none, selective, full and budgets
// that the solver meets, on the models of step_bench.
//
//   recompute_bench [--config dense|moe|both] [--steps N] [--threads N]
//
// The graph is recorded from real steps that keep everything, kernels at their fastest of three.
// Then every policy takes its turn in each round of steps, so that a noisy machine troubles all
// alike. Checked, or the exit status is 1: gradients have the bits of none's; the peak of what
// the solver chose is the predicted one; the solver needs no more time than any policy written by
// hand for as many bytes. 2 for wrong arguments.
#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <deque>
#include <iostream>
#include <optional>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_join.h"
#include "bench/step_model.h"
#include "ops/parallel_for.h"
#include "ops/tape_graph.h"
#include "plan/recompute_rules.h"
#include "plan/solver.h"
#include "plan/tape_to_graph.h"
#include "train/recompute_rules.h"

namespace choir {
namespace {

constexpr double kMiB = 1 << 20;
constexpr int kRecordings = 3, kBudgets = 5, kCurvePoints = 17;

struct Options {
  std::string config = "both";
  int steps = 5, threads = 2;
};

// Of all threads of the process: less troubled by other programs than the clock on the wall.
double CpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

struct StepResult {
  double seconds = 0, cpu_seconds = 0;
  int64_t peak = 0;  // bytes on the device, all categories
  int64_t recomputed = 0;
};

// Forward and backward passes of one model.
class Model {
 public:
  explicit Model(const Case& c) : model_(c.model, kVocab, {DType::kF32, Device::kCpu}) {
    input_ = MakeInput(DrawTokens());
    model_.Initialize(kSeed);
    for (const auto& entry : model_.parameters()) parameters_.push_back(entry.parameter);
  }

  StepResult Step(const RecomputePolicy& policy) {
    for (const Parameter* p : parameters_) p->grad.Zero();
    MemoryLedger& ledger = CurrentLedger(Device::kCpu);
    ledger.ResetPeak();
    StepResult result;
    const double start = Now(), cpu_start = CpuSeconds();
    {
      Tape tape;
      tape.SetRecomputePolicy(policy);
      Var loss = model_.Loss(tape, input_, 1.0 / kTokens).total;
      std::vector<Tensor> seeds{ScalarTensor(1, loss.tensor().options())};
      std::vector<Var> outputs;
      outputs.push_back(std::move(loss));
      tape.RunBackward(std::move(outputs), std::move(seeds));
      result.recomputed = tape.recomputed();
    }
    result.seconds = Now() - start;
    result.cpu_seconds = CpuSeconds() - cpu_start;
    result.peak = ledger.PeakTotal();
    return result;
  }

  // What kernels compute, with their shortest times.
  TapeGraph Record() {
    std::deque<TapeGraph> graphs;
    for (int i = 0; i < kRecordings; ++i) {
      ScopedTapeRecording recording(graphs, Device::kCpu);
      Step(nullptr);
    }
    TapeGraph graph = std::move(graphs.front());
    for (size_t i = 1; i < graphs.size(); ++i) {
      CHECK(graphs[i].kernels.size() == graph.kernels.size());
      for (size_t k = 0; k < graph.kernels.size(); ++k) {
        graph.kernels[k].seconds = std::min(graph.kernels[k].seconds, graphs[i].kernels[k].seconds);
      }
      for (size_t j = 0; j < graph.backward.size(); ++j) {
        TapeNode& node = graph.backward[j];
        node.seconds = std::min(node.seconds, graphs[i].backward[j].seconds);
      }
    }
    return graph;
  }

  std::vector<std::string> Gradients() const {
    std::vector<std::string> bits;
    for (const Parameter* p : parameters_) {
      bits.emplace_back(static_cast<const char*>(p->grad.raw()),
                        static_cast<size_t>(p->grad.bytes()));
    }
    return bits;
  }

 private:
  Transformer model_;
  std::vector<Parameter*> parameters_;
  ModelInput input_;
};

struct Policy {
  std::string name;
  std::vector<std::string> entries;  // of train.recompute
  bool by_hand = true;
  double bound = 0;  // of the solver
  RecomputeCost predicted;
  RecomputePolicy policy;
  std::vector<StepResult> steps;
  bool same_gradients = true;

  double Best(double StepResult::*what) const {
    double best = INFINITY;
    for (const StepResult& step : steps) best = std::min(best, step.*what);
    return best;
  }
  int64_t Peak() const {
    int64_t peak = 0;
    for (const StepResult& step : steps) peak = std::max(peak, step.peak);
    return peak;
  }
};

RecomputePolicy PolicyOf(const std::vector<std::string>& entries) {
  RecomputeRules rules = ParseRecompute(entries);
  CHECK(rules.errors.empty()) << rules.errors.front().message;
  return MakeRecomputePolicy(std::move(rules.rules));
}

RecomputeCost Predict(const RecomputeModel& model, const RecomputeGraph& graph,
                      const RecomputePolicy& policy) {
  ClassActions actions;
  for (const RecomputeClass& c : model.classes) {
    const RecomputeGroup& group = model.groups[static_cast<size_t>(c.groups.front())];
    const RecomputeTensor& tensor = graph.tensors[static_cast<size_t>(group.tensor)];
    const bool drops =
        policy != nullptr && policy(tensor.tag, tensor.layer) == TensorPolicy::kRecompute;
    actions.push_back(drops ? RecomputeAction::kRecompute : RecomputeAction::kKeep);
  }
  return Evaluate(model, actions);
}

// The policies, and whether the solver is nowhere above those written by hand.
bool MakePolicies(const RecomputeGraph& graph, std::vector<Policy>& policies) {
  const RecomputeModel model = MakeRecomputeModel(graph);
  for (const std::vector<std::string>& entries :
       std::vector<std::vector<std::string>>{{"none"},
                                             {"selective"},
                                             {"full"},
                                             {"norm"},
                                             {"swiglu", "moe.swiglu"},
                                             {"*gate_up", "*swiglu"},
                                             {"*", "!residual*"}}) {
    Policy p{.name = absl::StrJoin(entries, " "), .entries = entries};
    p.policy = PolicyOf(entries);
    p.predicted = Predict(model, graph, p.policy);
    policies.push_back(std::move(p));
  }
  bool below = true;
  for (const Policy& p : policies) {
    const auto plan = SolveRecompute(graph, p.predicted.peak_bytes);
    const bool good = plan.ok() && plan->cost.seconds <= p.predicted.seconds * (1 + 1e-9);
    below = below && good;
    std::printf("  for the bytes of %-22s %7.1f MiB: %.4f s by hand, %.4f s solved: %s\n",
                p.name.c_str(), static_cast<double>(p.predicted.peak_bytes) / kMiB,
                p.predicted.seconds, plan.ok() ? plan->cost.seconds : INFINITY,
                good ? "on or below" : "ABOVE");
  }
  const int64_t most = policies[0].predicted.peak_bytes;
  const int64_t saving = most - policies[2].predicted.peak_bytes;  // full's
  for (int i = 1; i <= kBudgets; ++i) {
    const int64_t budget = most - saving * i / kBudgets;
    const auto plan = SolveRecompute(graph, budget);
    if (!plan.ok()) {
      std::printf("  FAILED: %s\n", std::string(plan.status().message()).c_str());
      return false;
    }
    Policy p{.name = StrCat("budget ", 100 * i / kBudgets, " % of full's saving"),
             .entries = plan->rules,
             .by_hand = false,
             .bound = plan->bound,
             .predicted = plan->cost};
    p.policy = PolicyOf(p.entries);
    policies.push_back(std::move(p));
  }
  return below;
}

void PrintCurve(const RecomputeGraph& graph) {
  const double start = Now();
  const std::vector<RecomputePlan> curve = ParetoCurve(graph, kCurvePoints);
  std::printf("  curve, solved in %.2f s (MiB, added seconds, bound):\n", Now() - start);
  for (const RecomputePlan& p : curve) {
    std::printf("    curve %9.2f %8.4f %8.4f\n", static_cast<double>(p.cost.peak_bytes) / kMiB,
                p.cost.seconds, p.bound);
  }
}

bool PrintPolicies(const std::vector<Policy>& policies, double step_seconds) {
  const Policy& none = policies[0];
  const auto saving = static_cast<double>(none.Peak() - policies[2].Peak());
  bool good = true;
  std::printf("  %-30s %9s %6s %8s %8s %8s %8s %7s  %s\n", "", "peak MiB", "saved", "s/step",
              "CPU s", "added", "foreseen", "of full", "checks");
  for (const Policy& p : policies) {
    const int64_t peak = p.Peak();
    const double cpu = p.Best(&StepResult::cpu_seconds), seconds = p.Best(&StepResult::seconds);
    const double base = none.Best(&StepResult::cpu_seconds);
    const bool exact = peak == p.predicted.peak_bytes;
    good = good && p.same_gradients && (exact || p.by_hand);
    std::printf("  %-30s %9.2f %4.1f %% %8.3f %8.3f %6.1f %% %6.1f %% %5.1f %%  %s, %s\n",
                p.name.c_str(), static_cast<double>(peak) / kMiB,
                100 * (1 - static_cast<double>(peak) / static_cast<double>(none.Peak())), seconds,
                cpu, 100 * (cpu / base - 1), 100 * p.predicted.seconds / step_seconds,
                100 * static_cast<double>(none.Peak() - peak) / saving,
                p.same_gradients ? "gradients equal" : "GRADIENTS DIFFER",
                exact
                    ? "peak as predicted"
                    : StrCat("peak predicted ", peak - p.predicted.peak_bytes, " B less").c_str());
  }
  for (const Policy& p : policies) {
    if (!p.by_hand) {
      std::printf("  %s: [%s], bound %.4f s\n", p.name.c_str(),
                  absl::StrJoin(p.entries, " ").c_str(), p.bound);
    }
  }
  return good;
}

bool RunCase(const Case& c, const Options& options) {
  Model model(c);
  model.Step(nullptr);
  const int64_t fixed = CurrentLedger(Device::kCpu).CurrentTotal();
  const TapeGraph tape = model.Record();
  const RecomputeGraph graph = ToRecomputeGraph(tape, {.fixed_bytes = fixed});
  double step_seconds = 0;
  for (const TapeKernel& kernel : tape.kernels) step_seconds += kernel.seconds;
  for (const TapeNode& node : tape.backward) step_seconds += node.seconds;
  std::printf("%s: %zu kernels, %zu tensors, %zu backward nodes; %.1f MiB besides; %d threads\n",
              c.name.c_str(), graph.kernels.size(), graph.tensors.size(), graph.backward.size(),
              static_cast<double>(fixed) / kMiB, options.threads);
  std::printf("  kernels and backward nodes at their fastest of %d: %.3f s\n", kRecordings,
              step_seconds);
  std::vector<Policy> policies;
  bool good = MakePolicies(graph, policies);
  PrintCurve(graph);
  std::vector<std::string> gradients;
  for (int i = 0; i < options.steps; ++i) {
    for (Policy& p : policies) {
      p.steps.push_back(model.Step(p.policy));
      if (i > 0) continue;
      if (gradients.empty()) gradients = model.Gradients();
      p.same_gradients = model.Gradients() == gradients;
    }
  }
  std::printf(
      "  fastest of %d steps; added: CPU seconds over none's; foreseen: of the step above\n",
      options.steps);
  good = PrintPolicies(policies, step_seconds) && good;
  std::fflush(stdout);
  return good;
}

int Run(const Options& options) {
  SetNumThreads(options.threads);
  bool good = true;
  for (const Case& c : {DenseCase(), MoeCase()}) {
    if (options.config == "both" || options.config == c.name) good = RunCase(c, options) && good;
  }
  return good ? 0 : 1;
}

}  // namespace
}  // namespace choir

int main(int argc, char** argv) {
  choir::Options options;
  CLI::App app("Memory against time of recomputation");
  app.add_option("--config", options.config, "what to measure")
      ->check(CLI::IsMember({"dense", "moe", "both"}))
      ->capture_default_str();
  app.add_option("--steps", options.steps, "steps of each policy")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--threads", options.threads, "threads")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  return choir::Run(options);
}
