// What Muon costs: the update of the bench MoE (step_model.h) by AdamW and by Muon, beside forward
// and backward of one microbatch, and the rate of the Newton-Schulz products.
//
//   muon_bench [--steps N] [--threads N]
//
// The rules take turns step by step on the same gradients, so that a noisy machine troubles all
// alike; medians are printed. "of SGEMM" counts every product as a general one, though two of
// three are symmetric and cheaper. Muon's share of a step falls with the microbatches that a step
// adds up: it is given for one, 8 and 32 of 4096 tokens. Exit status: 0, 2 for wrong arguments.
#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "bench/step_model.h"
#include "ops/parallel_for.h"
#include "optim/muon.h"
#include "train/gemm_peak.h"

namespace choir {
namespace {

struct Rule {
  std::string name;
  OptimConfig config;
  std::unique_ptr<Optimizer> optimizer;
  std::vector<double> seconds;
};

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

std::vector<OptimTarget> Targets(const Transformer& model) {
  std::vector<Parameter*> parameters;
  for (const auto& entry : model.parameters()) parameters.push_back(entry.parameter);
  std::vector<OptimTarget> targets = WholeTargets(parameters);
  for (size_t i = 0; i < targets.size(); ++i) targets[i].matrices = model.parameters()[i].matrices;
  return targets;
}

std::vector<Rule> MakeRules(const Transformer& model) {
  std::vector<Rule> rules;
  const auto add = [&](const std::string& name, OptimKind kind, MuonMatmul matmul) {
    Rule& rule = rules.emplace_back();
    rule.name = name;
    rule.config = Optim();
    rule.config.kind = kind;
    rule.config.muon.matmul = matmul;
    rule.optimizer = std::make_unique<Optimizer>(rule.config, Targets(model));
  };
  add("adamw", OptimKind::kAdamW, MuonMatmul::kF32);
  add("muon", OptimKind::kMuon, MuonMatmul::kF32);
  add("muon, bf16 products", OptimKind::kMuon, MuonMatmul::kBF16);
  add("factored", OptimKind::kFactored, MuonMatmul::kF32);
  return rules;
}

double NewtonSchulzFlopsOf(const Transformer& model, const OptimConfig& config) {
  const int64_t steps = config.muon.steps + config.muon.final_steps;
  double flops = 0;
  for (const auto& entry : model.parameters()) {
    if (entry.matrices.table) continue;
    for (const MatrixFamily& family : entry.matrices.families) {
      const MatrixShape shape = ShapeOf(family, entry.parameter->shape(), config.muon.per_head);
      flops +=
          static_cast<double>(shape.batch) * NewtonSchulzFlops(shape.rows, shape.columns, steps);
    }
  }
  return flops;
}

double ForwardBackward(Transformer& model, const ModelInput& input) {
  const double start = Now();
  for (const auto& entry : model.parameters()) entry.parameter->grad.Zero();
  Tape tape;
  const ModelLoss loss = model.Loss(tape, input, 1.0 / kTokens);
  tape.RunBackward(loss.total, ScalarTensor(1, loss.total.tensor().options()));
  return Now() - start;
}

void Run(int steps) {
  const Case c = MoeCase();
  Transformer model(c.model, kVocab, {DType::kF32, Device::kCpu});
  model.Initialize(kSeed);
  const ModelInput input = MakeInput(DrawTokens());
  std::vector<Rule> rules = MakeRules(model);
  std::vector<double> passes, rates;
  for (int step = -1; step < steps; ++step) {  // the first warms up
    const double seconds = ForwardBackward(model, input);
    const double rate = MeasureGemmPeak();
    if (step >= 0) passes.push_back(seconds);
    if (step >= 0) rates.push_back(rate);
    for (Rule& rule : rules) {
      const double start = Now();
      rule.optimizer->Step({rule.config.lr});
      if (step >= 0) rule.seconds.push_back(Now() - start);
    }
  }
  const double pass = Median(passes), rate = Median(rates);
  int64_t parameters = 0;
  for (const auto& entry : model.parameters()) parameters += entry.parameter->value.NumElements();
  const double flops = NewtonSchulzFlopsOf(model, rules[1].config);
  std::printf("bench MoE, %.1fM parameters, %d threads, %d steps; SGEMM %.0f GFLOP/s\n",
              static_cast<double>(parameters) / 1e6, NumThreads(), steps, rate / 1e9);
  std::printf("forward and backward of %ld tokens: %.3f s; Newton-Schulz: %.0f GFLOP\n",
              static_cast<long>(kTokens), pass, flops / 1e9);
  std::printf("%-22s %9s %12s %10s %10s %10s\n", "update", "seconds", "of SGEMM", "share, 1",
              "share, 8", "share, 32");
  for (const Rule& rule : rules) {
    const double update = Median(rule.seconds);
    const bool products = rule.config.kind == OptimKind::kMuon;
    const std::string of_rate =
        products ? std::to_string(static_cast<int>(100 * flops / update / rate + 0.5)) + " %" : "-";
    std::printf("%-22s %9.4f %12s", rule.name.c_str(), update, of_rate.c_str());
    for (int microbatches : {1, 8, 32}) {
      std::printf(" %8.1f %%", 100 * update / (update + microbatches * pass));
    }
    std::printf("\n");
  }
}

}  // namespace
}  // namespace choir

int main(int argc, char** argv) {
  CLI::App app("Times the update of the bench MoE by AdamW and by Muon.");
  int steps = 5, threads = 0;
  app.add_option("--steps", steps, "timed steps")->check(CLI::Range(1, 1000));
  app.add_option("--threads", threads, "threads; 0: all cores")->check(CLI::Range(0, 1024));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    app.exit(error);
    return error.get_exit_code() == 0 ? 0 : 2;
  }
  choir::SetNumThreads(threads);
  choir::Run(steps);
}
