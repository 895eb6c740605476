#include "train/bisect.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/status.h"
#include "parallel/comm/local_world.h"
#include "tensor/tolerance.h"
#include "train/agreement.h"
#include "train/layout.h"
#include "train/model_precision.h"

namespace choir {
namespace {

RunConfig ConfigFor(const RunConfig& config, const VerifyLayout& layout,
                    const BisectOptions& options) {
  RunConfig changed = config;
  changed.parallel = ParallelOf(layout, config);
  changed.parallel.timeout_s = options.timeout_s;
  changed.parallel.check_collectives = true;
  changed.numerics = options.numerics;
  changed.train.threads = 1;
  // The same microbatches whatever the number of data ranks.
  changed.train.microbatch_sequences = config.train.microbatch_sequences.value_or(1);
  return changed;
}

// What the ranks of one job share.
struct Job {
  RunConfig config;
  int world = 1;
  int steps = 0;
  StepRecorder recorder = {};
  // On every rank before step `step`, from 0; may be null.
  std::function<void(Trainer&, int step)> prepare = nullptr;
  // On rank 0 with what step `step` computed; false ends the job.
  std::function<bool(int step, StepRecord)> done = nullptr;
};

void AddNumber(StepRecorder& recorder, StepPart part, const char* name, double value) {
  recorder.AddWhole({kAfterMicrobatches, part, 0, name, -1},
                    Tensor::From<double>({}, std::span<const double>(&value, 1)));
}

// The rest of a step whose microbatches have run. An error if there was no update.
absl::Status FinishStep(Trainer& trainer, Job& job, StepReport& report) {
  RecordParts(trainer, trainer.Gradients(), StepPart::kParameterGradients, job.recorder);
  if (trainer.place().rank() == 0) {
    AddNumber(job.recorder, StepPart::kLoss, "loss", report.loss);
    AddNumber(job.recorder, StepPart::kGradNorm, "gradient norm", report.grad_norm);
  }
  RETURN_IF_ERROR(trainer.Update(report));
  RecordParts(trainer, trainer.State(), StepPart::kState, job.recorder);
  return absl::OkStatus();
}

absl::Status RunRank(World& world, Job& job) {
  ASSIGN_OR_RETURN(auto trainer, Trainer::Make(job.config, &world));
  RankObserver observer(*trainer, job.recorder);
  for (int k = 0; k < job.steps; ++k) {
    if (job.prepare) job.prepare(*trainer, k);
    if (k == 0) {
      RecordParts(*trainer, trainer->State(), StepPart::kInitialState, job.recorder);
    }
    observer.Begin();
    ASSIGN_OR_RETURN(StepReport report, trainer->ComputeGradients());
    observer.End();
    // All ranks agree here, so all have added what they have.
    const absl::Status status = Agree(&world, FinishStep(*trainer, job, report));
    bool ends = false;
    if (world.rank() == 0) {
      StepRecord step = job.recorder.Take();
      step.lr = report.lr;
      step.status = status;
      ends = !job.done(k, std::move(step)) || !status.ok();
    }
    if (AnyRank(&world, ends)) break;
  }
  return absl::OkStatus();
}

absl::Status Run(Job& job) {
  std::vector<absl::Status> statuses(static_cast<size_t>(job.world));
  absl::Status status = RunLocal(job.world, WorldOptionsOf(job.config), [&](World& world) {
    statuses[static_cast<size_t>(world.rank())] = RunRank(world, job);
  });
  for (const absl::Status& s : statuses) status.Update(s);
  return status;
}

Job MakeJob(const RunConfig& config, const VerifyLayout& layout, const BisectOptions& options) {
  return {
      .config = ConfigFor(config, layout, options), .world = layout.world, .steps = options.steps};
}

absl::Status CheckFits(const RunConfig& config, const VerifyLayout& layout,
                       const BisectOptions& options) {
  return PlanLayout(ConfigFor(config, layout, options), layout.world).status();
}

}  // namespace

absl::StatusOr<BisectReport> Bisect(const RunConfig& config, const VerifyLayout& a,
                                    const VerifyLayout& b, const BisectOptions& options) {
  RETURN_IF_ERROR(CheckFits(config, a, options));
  RETURN_IF_ERROR(CheckFits(config, b, options));
  BisectReport report;
  report.bits = PromisesBits(a, options.numerics) && PromisesBits(b, options.numerics);
  const int64_t length = std::max(SumLength(config, a.parallel), SumLength(config, b.parallel));
  report.bound = report.bits ? 0 : ErrorBound(DType::kF32, length) + FormatBound(config);
  const ParameterPrecision weights = PrecisionOf(config, "layers.0.ffn.down", {1, 1});
  const Comparison comparison{report.bits, report.bound, config.optim,
                              UnitRoundoff(weights.master ? DType::kF32 : weights.storage)};

  std::vector<StepRecord> steps_of_a;
  Job job_a = MakeJob(config, a, options);
  job_a.done = [&](int, StepRecord step) {
    steps_of_a.push_back(std::move(step));
    return true;
  };
  RETURN_IF_ERROR(Run(job_a));

  absl::Status last;
  Job job_b = MakeJob(config, b, options);
  job_b.steps = static_cast<int>(steps_of_a.size());
  job_b.prepare = [&](Trainer& trainer, int k) {
    if (k > 0 && !report.bits) {
      const auto& state = steps_of_a[static_cast<size_t>(k - 1)].state;
      trainer.SetState([&](const std::string& name) { return state.at(name); });
    }
    if (options.disturb_b) options.disturb_b(trainer, k + 1);
  };
  job_b.done = [&](int k, StepRecord step) {
    const StepRecord& of_a = steps_of_a[static_cast<size_t>(k)];
    report.steps = k + 1;
    report.difference = FirstDifference(of_a, step, comparison, report.tensors);
    if (report.difference) report.difference->step = k + 1;
    last = step.status.ok() ? of_a.status : step.status;
    return !report.difference;
  };
  RETURN_IF_ERROR(Run(job_b));
  if (!report.difference) RETURN_IF_ERROR(last);
  return report;
}

}  // namespace choir
