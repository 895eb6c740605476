#include "train/training_run.h"

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/log.h"
#include "base/status.h"
#include "base/strings.h"
#include "checkpoint/checkpoint_list.h"
#include "checkpoint/save.h"
#include "train/agreement.h"
#include "train/exit_code.h"
#include "train/gemm_peak.h"
#include "train/metrics_file.h"
#include "train/model_precision.h"
#include "train/peak_check.h"
#include "train/progress.h"
#include "train/recompute.h"
#include "train/run_data.h"
#include "train/run_directory.h"
#include "train/state_bytes.h"
#include "train/step_metrics.h"
#include "train/stop_signal.h"
#include "train/trainer.h"

namespace choir {
namespace {

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// A write that fails in the middle of a run is the system's fault (exit 1), whatever its code says
// of files that are read at the start.
absl::Status WriteStatus(const absl::Status& status) {
  if (status.ok() || absl::IsDataLoss(status)) return status;
  return absl::InternalError(status.message());
}

class TrainingRun {
 public:
  TrainingRun(const TrainArguments& arguments, World* world)
      : arguments_(arguments), world_(world) {}
  absl::Status Run();
  bool stopped() const { return stopped_; }

 private:
  bool IsFirst() const { return world_ == nullptr || world_->rank() == 0; }
  // What only rank 0 does; all ranks learn how it went.
  template <class Body>
  absl::Status OnFirst(const Body& body) {
    return Agree(world_, IsFirst() ? absl::Status(body()) : absl::OkStatus());
  }
  absl::Status Open();
  absl::Status OpenDirectory();
  absl::Status OpenFiles();
  absl::Status Resume();
  absl::Status CheckResume(const Checkpoint& checkpoint);
  absl::Status WriteRunFiles();
  absl::Status CheckPeaks();
  void PrintStart() const;
  absl::Status PrintComplete();
  absl::Status StepOnce();
  absl::Status AfterStep();
  absl::Status Save();
  absl::Status Publish(const CheckpointContents& contents, double start);
  absl::Status WriteValidation(const std::vector<LanguageLoss>& losses);
  absl::Status ValidateNow();
  int64_t steps() const { return trainer_->config().train.steps; }

  const TrainArguments& arguments_;
  World* world_;
  RunConfig config_;
  std::unique_ptr<Trainer> trainer_;
  std::unique_ptr<RunDirectory> directory_;
  std::unique_ptr<MetricsFile> metrics_;
  PeakCheck peaks_;
  Progress progress_;
  double gemm_peak_ = 0;
  double seconds_ = 0;  // in steps of this process
  int64_t steps_timed_ = 0;
  int64_t saved_step_ = -1;
  int64_t validated_step_ = -1;
  bool stopped_ = false;
};

absl::Status TrainingRun::Run() {
  RETURN_IF_ERROR(Open());
  if (IsFirst()) PrintStart();
  if (trainer_->step() >= steps()) return PrintComplete();
  CatchStopSignals();
  while (trainer_->step() < steps() && !stopped_) {
    RETURN_IF_ERROR(StepOnce());
    RETURN_IF_ERROR(AfterStep());
  }
  progress_.Finish();
  RETURN_IF_ERROR(CheckPeaks());
  if (stopped_ && IsFirst()) {
    progress_.Print(StrCat("stopped after step ", trainer_->step(), "; continue with:\n  ",
                           arguments_.command, arguments_.resume ? "" : " --resume"));
  }
  return absl::OkStatus();
}

// Everything that can be wrong with the input is found before the first file is written.
absl::Status TrainingRun::Open() {
  auto config = LoadConfigWith<RunConfig>(arguments_.config, arguments_.overrides);
  RETURN_IF_ERROR(Agree(world_, config.status()));
  config_ = *std::move(config);
  auto trainer = Trainer::Make(config_, world_);
  RETURN_IF_ERROR(Agree(world_, trainer.status()));
  trainer_ = *std::move(trainer);
  if (arguments_.resume) {
    // A run that is there is locked before it is read; another process could be writing to it.
    RETURN_IF_ERROR(OnFirst([this] {
      return std::filesystem::exists(config_.run.dir + "/lock") ? OpenDirectory()
                                                                : absl::OkStatus();
    }));
    RETURN_IF_ERROR(Resume());
  }
  peaks_.Follow(*trainer_);
  RETURN_IF_ERROR(OnFirst([this] { return OpenFiles(); }));
  const int rank = world_ != nullptr ? world_->rank() : 0;
  RETURN_IF_ERROR(Agree(world_, OpenLogFile(StrCat(config_.run.dir, "/log/rank-", rank, ".txt"))));
  gemm_peak_ = MeasureGemmPeak();
  return absl::OkStatus();
}

absl::Status TrainingRun::OpenFiles() {
  if (directory_ == nullptr) RETURN_IF_ERROR(OpenDirectory());
  ASSIGN_OR_RETURN(const auto cleaned, CleanTemporaries(config_.run.dir));
  for (const std::string& name : cleaned) {
    LogInfo(StrCat("removed ", name, ", left by an interrupted save"));
  }
  RETURN_IF_ERROR(WriteRunFiles());
  const std::string note = CompressionNote(config_);
  if (!note.empty()) LogWarning(note);
  ASSIGN_OR_RETURN(metrics_,
                   MetricsFile::Open(directory_->File("metrics.jsonl"), trainer_->step()));
  return absl::OkStatus();
}

absl::Status TrainingRun::OpenDirectory() {
  ASSIGN_OR_RETURN(RunDirectory directory, RunDirectory::Open(config_.run.dir, arguments_.resume));
  directory_ = std::make_unique<RunDirectory>(std::move(directory));
  return absl::OkStatus();
}

// A run whose checkpoints are all damaged is never started again over them. All ranks read the same
// folder; they go back together if one of them cannot read a checkpoint.
absl::Status TrainingRun::Resume() {
  ASSIGN_OR_RETURN(const auto entries, ListCheckpoints(config_.run.dir));
  for (int64_t newest = INT64_MAX;;) {
    auto latest = FindLatest(config_.run.dir, newest);
    if (absl::IsNotFound(latest.status())) {
      if (!entries.empty()) {
        return absl::DataLossError(
            StrCat(latest.status().message(), "\n", config_.run.dir,
                   ": none of its checkpoints can be read, so there is nothing to continue; start "
                   "another run, or remove the folders of its checkpoints and --resume"));
      }
      if (IsFirst()) {
        LogWarning(StrCat(latest.status().message(), ": training starts from the beginning"));
      }
      return absl::OkStatus();
    }
    RETURN_IF_ERROR(Agree(world_, latest.status()));
    if (IsFirst()) {
      for (const std::string& warning : latest->warnings) LogWarning(warning);
    }
    RETURN_IF_ERROR(Agree(world_, CheckResume(latest->checkpoint)));
    const absl::Status restored = Agree(world_, trainer_->RestoreState(latest->checkpoint));
    if (restored.ok()) {
      saved_step_ = trainer_->step();
      return absl::OkStatus();
    }
    if (!absl::IsDataLoss(restored)) return restored;
    if (IsFirst()) LogWarning(StrCat(restored.message(), "; trying the checkpoint before it"));
    newest = latest->checkpoint.manifest.step - 1;
    ASSIGN_OR_RETURN(trainer_, Trainer::Make(config_, world_));
  }
}

absl::Status TrainingRun::CheckResume(const Checkpoint& checkpoint) {
  const std::string name = checkpoint.path + "/manifest.json:config";
  ASSIGN_OR_RETURN(const ConfigTree tree,
                   ConfigTree::ParseString(checkpoint.manifest.config, name));
  ASSIGN_OR_RETURN(const RunConfig saved, LoadConfig<RunConfig>(tree, {.check_paths = false}));
  const ResumeChanges changes = CompareForResume(saved, trainer_->config());
  for (const ResumeChange& change : changes.honoured) {
    if (!IsFirst()) break;
    LogInfo(StrCat("changed since the checkpoint: ", change.key, ": ", change.saved, " -> ",
                   change.wanted));
  }
  std::string refused;
  for (const ResumeChange& change : changes.refused) {
    refused += StrCat(arguments_.config, ": ", change.key, " is ", change.wanted,
                      ", but the checkpoint was made with ", change.saved, "\n");
  }
  if (refused.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      StrCat(refused, checkpoint.path,
             ": cannot continue with these; set them back, or start another run"));
}

absl::Status TrainingRun::WriteRunFiles() {
  RETURN_IF_ERROR(WriteFileAtomic(directory_->File("config.yaml"), ConfigDump(trainer_->config())));
  const BatchLoader& loader = trainer_->loader();
  RETURN_IF_ERROR(WriteFileAtomic(directory_->File(kDataLedgerFile),
                                  LedgerToJson(loader.ledger(), loader.streams()).dump(1) + "\n"));
  return CopyTokenizer(loader.corpus().tokenizer_path(), directory_->path());
}

void TrainingRun::PrintStart() const {
  const RunConfig& config = trainer_->config();
  const ParameterCounts counts = CountParameters(config.model, *config.model.vocab_size);
  const FlopCounts flops = CountFlops(config.model, *config.model.vocab_size);
  char text[512];
  std::snprintf(text, sizeof(text),
                "%.2fM parameters, %.2fM active; %.2f MFLOP per token; %zu languages; "
                "GEMM peak %.0f GFLOP/s",
                static_cast<double>(counts.total) / 1e6, static_cast<double>(counts.active) / 1e6,
                flops.TrainingPerToken(config.data.sequence_length) / 1e6,
                trainer_->loader().languages().size(), gemm_peak_ / 1e9);
  std::printf("%s\n", text);
  if (trainer_->layout().zero > 0) {
    std::printf("%s", Describe(trainer_->matrix_plan()).c_str());
  }
  if (world_ != nullptr) std::printf("%s\n", Describe(trainer_->layout()).c_str());
  std::printf("%s\n%s\n", DescribePrecision(config).c_str(),
              Describe(MeasureState(*trainer_)).c_str());
  if (trainer_->step() > 0)
    std::printf("resumed after step %lld\n", static_cast<long long>(trainer_->step()));
  std::fflush(stdout);
}

// A resumed run with no step left shows how it ended, and writes nothing.
absl::Status TrainingRun::PrintComplete() {
  const std::vector<LanguageLoss> losses = trainer_->Validate();
  if (!IsFirst()) return absl::OkStatus();
  std::printf("all %lld steps are done\n", static_cast<long long>(steps()));
  std::printf("%s\n", ValidationTable(trainer_->step(), losses, true).c_str());
  return absl::OkStatus();
}

absl::Status TrainingRun::StepOnce() {
  peaks_.BeforeStep();
  const double start = Now();
  ASSIGN_OR_RETURN(const StepReport report, trainer_->Step());
  const double seconds = Now() - start;
  peaks_.AfterStep(report.step);
  seconds_ += seconds;
  ++steps_timed_;
  // The peak of all ranks.
  const int ranks = world_ != nullptr ? world_->size() : 1;
  const StepTiming timing{seconds, gemm_peak_ * ranks};
  RETURN_IF_ERROR(OnFirst([&] {
    return WriteStatus(
        metrics_->Write(StepMetrics(report, timing, trainer_->loader().languages())));
  }));
  if (!IsFirst()) return absl::OkStatus();
  progress_.Show(
      {report.step, steps(), report.loss, static_cast<double>(report.step_labels) / seconds,
       report.flops / seconds / timing.gemm_peak, CurrentLedger(Device::kCpu).PeakTotal(),
       seconds_ / static_cast<double>(steps_timed_) * static_cast<double>(steps() - report.step)});
  return absl::OkStatus();
}

// Every rank compares its own memory; the first one writes its own down, the others what is wrong.
absl::Status TrainingRun::CheckPeaks() {
  const auto peaks = peaks_.Compare(*trainer_);
  RETURN_IF_ERROR(Agree(world_, peaks.status()));
  if (!peaks->exact()) LogWarning(Describe(*peaks));
  const bool all_exact = !AnyRank(world_, !peaks->exact());
  return OnFirst([&] {
    if (peaks->exact()) progress_.Print(Describe(*peaks));
    if (!all_exact) progress_.Print("memory: on some rank the plan is wrong; see log/rank-*.txt");
    return WriteStatus(metrics_->Write(PeakMetrics(*peaks, trainer_->step())));
  });
}

absl::Status TrainingRun::AfterStep() {
  const RunConfig& config = trainer_->config();
  const int64_t step = trainer_->step();
  const bool last = step == steps();
  auto due = [step](int64_t interval) { return interval > 0 && step % interval == 0; };
  if (due(config.train.eval_interval) || (last && config.train.eval_at_end)) {
    RETURN_IF_ERROR(ValidateNow());
  }
  stopped_ = AnyRank(world_, StopSignal() != 0) && !last;
  if (due(config.checkpoint.interval) || stopped_ || (last && config.checkpoint.at_end)) {
    RETURN_IF_ERROR(Save());
  }
  return absl::OkStatus();
}

absl::Status TrainingRun::Save() {
  if (saved_step_ == trainer_->step()) return absl::OkStatus();
  const double start = Now();
  const CheckpointContents contents = trainer_->SaveState();
  saved_step_ = trainer_->step();
  return OnFirst([&] { return Publish(contents, start); });
}

absl::Status TrainingRun::Publish(const CheckpointContents& contents, double start) {
  const auto path = SaveCheckpoint(config_.run.dir, contents);
  RETURN_IF_ERROR(WriteStatus(path.status()));
  progress_.Print(StrCat("saved ", *path, " in ", FormatSeconds(Now() - start)));
  const auto removed = PruneCheckpoints(config_.run.dir, trainer_->config().checkpoint.keep_last);
  RETURN_IF_ERROR(WriteStatus(removed.status()));
  for (int64_t step : *removed) LogInfo(StrCat("removed the checkpoint of step ", step));
  return absl::OkStatus();
}

absl::Status TrainingRun::ValidateNow() {
  if (validated_step_ == trainer_->step()) return absl::OkStatus();
  validated_step_ = trainer_->step();
  const std::vector<LanguageLoss> losses = trainer_->Validate();
  return OnFirst([&] { return WriteValidation(losses); });
}

absl::Status TrainingRun::WriteValidation(const std::vector<LanguageLoss>& losses) {
  for (const LanguageLoss& loss : losses) {
    RETURN_IF_ERROR(WriteStatus(metrics_->Write(ValidationMetrics(trainer_->step(), loss))));
  }
  progress_.Print(ValidationTable(trainer_->step(), losses,
                                  /*by_language=*/trainer_->step() == steps()));
  return absl::OkStatus();
}

}  // namespace

int RunTraining(const TrainArguments& arguments, World* world) {
  TrainingRun run(arguments, world);
  const absl::Status status = run.Run();
  if (!status.ok()) {
    LogErrorToFile(std::string(status.message()));
    // All ranks have the same error: one says it.
    return world == nullptr || world->rank() == 0 ? ReportError(status) : ExitCode(status);
  }
  return run.stopped() ? kExitResumable : kExitOk;
}

}  // namespace choir
