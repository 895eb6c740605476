// Tokens per second of one rank and of N, and the bytes that each axis sends in a step beside the
// formulas of docs/parallelism.md (train/traffic.h).
//
//   scaling_bench [--section.key=value ...]                    2 ranks, as threads
//   mpirun -np N scaling_bench [--section.key=value ...]       ranks as processes
//
// Every rank computes on one thread, so that N ranks have N times what one has. The same step on
// one rank (and on one rank with N threads, "threads") is timed in turns with each layout, while
// the other ranks wait; medians count. "of peak": FLOPs of the model (model/counts.h) by the rate
// of a matrix product on as many threads. The loss of the first step must be that of one rank
// within the bound of fast mode, and the bytes those of the formula: else the exit status is 1.
// Every token visits as many experts as there are, or loads would not be even.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "ops/parallel_for.h"
#include "parallel/comm/local_world.h"
#include "parallel/comm/mpi_comm.h"
#include "tensor/tolerance.h"
#include "train/gemm_peak.h"
#include "train/overrides.h"
#include "train/traffic.h"
#include "train/trainer.h"
#include "train/verify.h"

namespace choir {
namespace {

constexpr int kRounds = 3, kStepsOfRound = 2;

// The data of configs/moe-tiny.yaml, which the build makes, and a wider model.
constexpr const char* kConfig = "configs/moe-tiny.yaml";
const std::vector<std::string> kModel = {"--train.microbatch_sequences=2",
                                         "--data.batch_sequences=8",
                                         "--data.sequence_length=256",
                                         "--model.hidden=256",
                                         "--model.heads=8",
                                         "--model.kv_heads=4",
                                         "--model.layers=4",
                                         "--model.ffn=768",
                                         "--model.moe.experts=4",
                                         "--model.moe.top_k=4",
                                         "--model.moe.width=192",
                                         "--model.moe.sequence_loss=0",
                                         "--model.moe.shared_experts=1"};

std::vector<std::string> LayoutsOf(int n) {
  const std::string d = StrCat("data=", n), x = std::to_string(n);
  return {d,
          d + ",shard=" + x,
          d + ",shard=" + x + ",zero=2",
          d + ",shard=" + x + ",zero=3",
          "tensor=" + x,
          d + ",expert=" + x,
          d + ",expert=" + x + ",expert_chunks=2",
          "context=" + x,
          "context=" + x + ",context_method=ring",
          "pipeline=" + x,
          "pipeline=" + x + ",schedule=zero_bubble"};
}

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// One layout's training, timed.
struct Run {
  std::unique_ptr<Trainer> trainer;
  std::vector<double> seconds;
  double first_loss = 0, flops = 0;
  int64_t labels = 0;  // of the last step

  void Step() {
    const double start = Now();
    const auto report = trainer->Step();
    CHECK(report.ok()) << report.status();
    labels = report->step_labels;
    if (flops == 0) {  // the first warms up
      first_loss = report->loss;
      flops = report->flops;
    } else {
      seconds.push_back(Now() - start);
    }
  }
};

Run Start(RunConfig config, World* world, int threads) {
  config.train.threads = threads;
  auto trainer = Trainer::Make(config, world);
  CHECK(trainer.ok()) << trainer.status();
  Run run{std::move(*trainer), {}};
  run.Step();
  return run;
}

class Bench {
 public:
  Bench(const RunConfig& config, World& world) : config_(config), world_(world) {
    std::vector<int> ranks(static_cast<size_t>(world.size()));
    std::iota(ranks.begin(), ranks.end(), 0);
    all_ = &world.Group(ranks, "everyone");
    if (world.rank() != 0) return;
    SetNumThreads(1);
    peak_ = MeasureGemmPeak();
  }

  bool RunAll() {
    if (world_.rank() == 0) PrintHead();
    bool right = true;
    for (const std::string& text : LayoutsOf(world_.size())) {
      const auto layout = ParseLayout(text);
      CHECK(layout.ok()) << layout.status();
      RunConfig config = config_;
      config.parallel = layout->parallel;
      right = RunLayout(text, config) && right;
    }
    return right;
  }

 private:
  bool First() const { return world_.rank() == 0; }

  void PrintHead() const {
    std::printf("%d ranks of one thread; SGEMM of one thread %.1f GFLOP/s\n", world_.size(),
                peak_ / 1e9);
    std::printf("%-34s %9s %9s %8s %9s %9s  %s\n", "layout", "step", "tokens/s", "of peak",
                "x 1 rank", "x threads", "bytes sent in a step by all ranks");
  }

  bool RunLayout(const std::string& name, const RunConfig& config) {
    const auto plan = PlanLayout(config, world_.size());
    CHECK(plan.ok()) << name << ": " << plan.status();
    Run one, threads;
    RunConfig alone = config_;
    if (First()) {
      one = Start(alone, nullptr, 1);
      threads = Start(alone, nullptr, world_.size());
    }
    all_->Barrier().Wait();
    Run many = Start(config, &world_, 1);
    for (int round = 0; round < kRounds; ++round) {
      for (int i = 0; i < kStepsOfRound && First(); ++i) {
        SetNumThreads(1);
        one.Step();
        SetNumThreads(world_.size());
        threads.Step();
      }
      SetNumThreads(1);
      all_->Barrier().Wait();
      for (int i = 0; i < kStepsOfRound; ++i) many.Step();
    }
    const Traffic before = Sorted(world_.Counts());
    many.Step();
    const Traffic sent = Total(before, Sorted(world_.Counts()));
    if (!First()) return true;
    return Report(name, config, *plan, {&one, &threads, &many}, sent);
  }

  // Of all ranks.
  Traffic Total(const Traffic& before, const Traffic& after) const {
    const auto fields = {&Traffic::data, &Traffic::tensor, &Traffic::expert, &Traffic::context,
                         &Traffic::pipeline};
    const Tensor sums = Tensor::Zeros({static_cast<int64_t>(fields.size())}, {DType::kF64});
    double* value = sums.data<double>();
    for (auto field : fields) *value++ = static_cast<double>(after.*field - before.*field);
    all_->AllReduce(sums, ReduceOp::kSum).Wait();
    Traffic total;
    value = sums.data<double>();
    for (auto field : fields) total.*field = static_cast<int64_t>(*value++);
    return total;
  }

  struct Runs {
    const Run *one, *threads, *many;
  };

  // "data 1.23 MB = formula, ...": the axes that send something.
  static std::string Describe(const Traffic& sent, const Traffic& formula, bool bound) {
    std::string text;
    const auto add = [&](const char* axis, int64_t bytes, int64_t expected) {
      if (bytes == 0 && expected == 0) return;
      char mb[32];
      std::snprintf(mb, sizeof mb, "%.3f MB", static_cast<double>(bytes) / 1e6);
      text += StrCat(text.empty() ? "" : ", ", axis, " ", mb);
      if (bytes != expected) text += StrCat(" (formula: ", expected, " B)");
    };
    add("data", sent.data, formula.data);
    add("tensor", sent.tensor, formula.tensor);
    add("expert", sent.expert, formula.expert);
    add("context", sent.context, formula.context);
    add("pipeline", sent.pipeline, formula.pipeline);
    return text + (sent != formula ? ": NOT THE FORMULA'S" : bound ? " <= formula" : " = formula");
  }

  bool Report(const std::string& name, const RunConfig& config, const choir::RunLayout& plan,
              const Runs& runs, const Traffic& sent) const {
    const Transformer model(config.model, *config.model.vocab_size, {DType::kF32, Device::kMeta});
    Traffic formula = StepTraffic(config, plan, model.parameters(), runs.many->labels);
    const bool bound = plan.context_method == ContextMethod::kRing && plan.degrees.context > 1;
    if (bound && sent.context <= formula.context) formula.context = sent.context;
    const bool bytes = sent == formula;  // (of a ring the formula is a bound)
    const double off = std::abs(runs.many->first_loss / runs.one->first_loss - 1);
    const bool loss = off <= ErrorBound(DType::kF32, SumLength(config, config.parallel));
    const double step = Median(runs.many->seconds);
    const auto tokens =
        static_cast<double>(config.data.batch_sequences * config.data.sequence_length);
    std::printf("%-34s %6.0f ms %9.0f %6.0f %% %9.2f %9.2f  %s%s\n", name.c_str(), step * 1e3,
                tokens / step, 100 * runs.many->flops / step / (peak_ * world_.size()),
                Median(runs.one->seconds) / step, Median(runs.threads->seconds) / step,
                Describe(sent, formula, bound).c_str(), loss ? "" : ", WRONG LOSS");
    std::fflush(stdout);
    return bytes && loss;
  }

  const RunConfig& config_;
  World& world_;
  Communicator* all_;
  double peak_ = 0;
};

int Main(int argc, char** argv) {
  ConfigTree tree = ConfigTree::ParseFile(kConfig).value();
  std::vector<std::string> overrides = kModel;
  overrides.push_back("--run.dir=none");
  tree.Override(overrides);
  for (int i = 1; i < argc; ++i) tree.Override(argv[i], i);
  const auto config = LoadConfig<RunConfig>(tree);
  if (!config.ok()) {
    std::fprintf(stderr, "%s\n", std::string(config.status().message()).c_str());
    return 2;
  }
  if (LaunchedByMpi()) {
    auto world = OpenMpi(&argc, &argv, {});
    CHECK(world.ok()) << world.status();
    return Bench(*config, **world).RunAll() ? 0 : 1;
  }
  bool right = true;
  const absl::Status status = RunLocal(2, {}, [&](World& world) {
    if (!Bench(*config, world).RunAll()) right = false;
  });
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return right && status.ok() ? 0 : 1;
}

}  // namespace
}  // namespace choir

int main(int argc, char** argv) { return choir::Main(argc, argv); }
