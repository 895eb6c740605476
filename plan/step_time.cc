#include "plan/step_time.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <utility>

#include "base/check.h"
#include "base/status.h"
#include "base/strings.h"
#include "parallel/pipeline/schedule_check.h"
#include "plan/collective_time.h"
#include "plan/work_time.h"

namespace choir {
namespace {

double Sum(const std::map<std::string, double>& values) {
  double sum = 0;
  for (const auto& [axis, seconds] : values) sum += seconds;
  return sum;
}

// Exchanges of a pass, and what is left of them behind `hideable` seconds of work.
struct ExchangeTime {
  std::map<std::string, double> all, exposed;
  double hidden = 0;
};

ExchangeTime TimeExchanges(const std::vector<ExchangeItem>& items, const Links& links,
                           double hideable) {
  ExchangeTime time;
  std::map<std::string, double> overlapping;
  for (const ExchangeItem& item : items) {
    const double seconds = ExchangeSeconds(item, links) * item.count;
    if (seconds == 0) continue;
    time.all[item.axis] += seconds;
    (item.overlap == Overlap::kPass ? overlapping : time.exposed)[item.axis] += seconds;
  }
  const double total = Sum(overlapping);
  time.hidden = std::min(total, hideable);
  if (total <= hideable) return time;
  for (const auto& [axis, seconds] : overlapping) {
    time.exposed[axis] += seconds * (total - time.hidden) / total;
  }
  return time;
}

TimeParts TimeKernels(const PassWork& pass, const Hardware& hardware) {
  TimeParts parts;
  double kernels = 0;
  for (const WorkItem& item : pass.work) {
    const auto kind = static_cast<size_t>(item.work.kind);
    parts.work[kind] += WorkSeconds(item.work, hardware) * item.count;
    kernels += item.count;
  }
  parts.gaps = kernels * hardware.host.kernel_seconds;
  for (const ExchangeItem& item : pass.exchanges) {
    const bool counted = item.kind == ExchangeKind::kAllToAll && item.ranks > 1;
    if (counted) parts.gaps += item.count * hardware.host.sync_seconds;
  }
  return parts;
}

double Launches(const PassWork& pass) {
  double launches = 0;
  for (const WorkItem& item : pass.work) launches += item.count;
  for (const ExchangeItem& item : pass.exchanges) launches += item.ranks > 1 ? item.count : 0;
  return launches;
}

// `hideable` seconds are there to hide exchanges.
void AddExchanges(const PassWork& pass, const Hardware& hardware, double hideable,
                  TimeParts& parts) {
  ExchangeTime exchanges = TimeExchanges(pass.exchanges, hardware.links, hideable);
  parts.exchanges = std::move(exchanges.all);
  parts.exposed = std::move(exchanges.exposed);
  parts.loss = exchanges.hidden * hardware.overlap.compute_loss;
  const double issue = Launches(pass) * hardware.host.issue_seconds;
  parts.host = std::max(0.0, issue - parts.Total());
}

PassWork Joined(const PassWork& a, const PassWork& b) {
  PassWork both = a;
  both.work.insert(both.work.end(), b.work.begin(), b.work.end());
  both.exchanges.insert(both.exchanges.end(), b.exchanges.begin(), b.exchanges.end());
  return both;
}

// A pass and how often it ran.
struct CountedParts {
  TimeParts parts;
  double seconds = 0;  // parts.Total()
  double runs = 0;

  double Count() {
    ++runs;
    return seconds;
  }
};

CountedParts TimePass(const PassWork& pass, const Hardware& hardware) {
  CountedParts timed{.parts = PassTime(pass, hardware)};
  timed.seconds = timed.parts.Total();
  return timed;
}

struct StagePasses {
  std::array<CountedParts, 4> times;  // by ActionKind

  CountedParts& of(ActionKind kind) { return times[static_cast<size_t>(kind)]; }
  const TimeParts& parts(ActionKind kind) const { return times[static_cast<size_t>(kind)].parts; }
};

StagePasses TimeStage(const StageWorkload& stage, const Hardware& hardware) {
  StagePasses timed;
  timed.of(ActionKind::kForward) = TimePass(stage.forward, hardware);
  timed.of(ActionKind::kBackwardInput) = TimePass(stage.backward_input, hardware);
  timed.of(ActionKind::kBackwardWeight) = TimePass(stage.backward_weight, hardware);
  const bool whole = stage.backward_weight.work.empty() && stage.backward_weight.exchanges.empty();
  timed.of(ActionKind::kBackward) =
      whole ? timed.of(ActionKind::kBackwardInput)
            : TimePass(Joined(stage.backward_input, stage.backward_weight), hardware);
  return timed;
}

class StepPredictor {
 public:
  StepPredictor(const StepWorkload& step, const Hardware& hardware)
      : step_(step), hardware_(hardware) {
    for (const StageWorkload& stage : step.stages) stages_.push_back(TimeStage(stage, hardware));
  }

  absl::StatusOr<StepTime> Predict() {
    ActionCosts costs;
    costs.action = [&](const Action& action) { return PartsOf(action).Count(); };
    costs.pair = [&](const Action& a, const Action& b) { return PairParts(a, b).Count(); };
    costs.send = SendTime();
    const ScheduleRun run = RunActions(step_.schedule, AllActions(step_.schedule), costs);
    CHECK(!run.deadlock()) << run.DescribeBlocked();
    const double ranks = step_.schedule.ranks;
    for (const auto& rank : run.ranks) result_.bubble += rank.idle / ranks;
    for (const StagePasses& stage : stages_) {
      for (const CountedParts& pass : stage.times) result_.parts.Add(pass.parts, pass.runs / ranks);
    }
    for (const auto& [key, pair] : pairs_) result_.parts.Add(pair.parts, pair.runs / ranks);
    const TimeParts update = UpdateParts();
    result_.parts.Add(update);
    result_.update = update.Total();
    result_.seconds = run.makespan + result_.update;
    result_.tokens_per_second = step_.tokens / result_.seconds;
    result_.model_flops_per_second = step_.model_flops / step_.ranks / result_.seconds;
    result_.mfu = result_.model_flops_per_second / RateOf(hardware_, MatmulFormat::kBF16).flops;
    return result_;
  }

 private:
  CountedParts& PartsOf(const Action& action) {
    return stages_[static_cast<size_t>(action.stage)].of(action.kind);
  }

  PassWork WorkOf(const Action& action) const {
    const StageWorkload& stage = step_.stages[static_cast<size_t>(action.stage)];
    switch (action.kind) {
      case ActionKind::kForward:
        return stage.forward;
      case ActionKind::kBackward:
        return Joined(stage.backward_input, stage.backward_weight);
      case ActionKind::kBackwardInput:
        return stage.backward_input;
      case ActionKind::kBackwardWeight:
        return stage.backward_weight;
    }
    return {};
  }

  // Pairs of the same stages and kinds cost the same.
  CountedParts& PairParts(const Action& a, const Action& b) {
    const std::array<int, 4> key = {a.stage, static_cast<int>(a.kind), b.stage,
                                    static_cast<int>(b.kind)};
    const auto found = pairs_.find(key);
    if (found != pairs_.end()) return found->second;
    PassWork both = Joined(WorkOf(a), WorkOf(b));
    for (ExchangeItem& item : both.exchanges) item.overlap = Overlap::kPass;
    CountedParts timed = TimePass(both, hardware_);
    timed.parts.gaps += hardware_.host.pass_seconds;  // PassTime counts one of the two
    timed.seconds = timed.parts.Total();
    return pairs_.emplace(key, timed).first->second;
  }

  // A rank's neighbours along the pipe are a stage's ranks away: on another node as soon as the job
  // has more than one.
  double SendTime() const {
    if (step_.schedule.ranks == 1) return 0;
    ExchangeItem send{.kind = ExchangeKind::kSend, .axis = "pipe", .ranks = 2};
    send.ranks_per_node = step_.ranks > hardware_.links.ranks_per_node ? 1 : 2;
    for (const StageWorkload& stage : step_.stages) {
      send.bytes = std::max(send.bytes, stage.handover_bytes);
    }
    return ExchangeSeconds(send, hardware_.links);
  }

  // Sums hide behind one backward pass, gathers behind one forward pass, of the mean rank.
  TimeParts UpdateParts() const {
    PassWork gathers = step_.update, rest = step_.update;
    const auto is_gather = [](const ExchangeItem& item) {
      return item.kind == ExchangeKind::kAllGather && item.overlap == Overlap::kPass;
    };
    gathers.work.clear();
    std::erase_if(gathers.exchanges, std::not_fn(is_gather));
    std::erase_if(rest.exchanges, is_gather);
    double forward = 0, backward = 0;
    for (const StagePasses& stage : stages_) {
      forward += stage.parts(ActionKind::kForward).Work() / step_.schedule.ranks;
      backward += stage.parts(ActionKind::kBackward).Work() / step_.schedule.ranks;
    }
    TimeParts parts = TimeKernels(rest, hardware_), ahead;
    AddExchanges(rest, hardware_, hardware_.overlap.hideable * backward, parts);
    AddExchanges(gathers, hardware_, hardware_.overlap.hideable * forward, ahead);
    parts.Add(ahead);
    parts.gaps += hardware_.host.step_seconds;
    return parts;
  }

  const StepWorkload& step_;
  const Hardware& hardware_;
  std::vector<StagePasses> stages_;
  std::map<std::array<int, 4>, CountedParts> pairs_;
  StepTime result_;
};

absl::Status CheckExchanges(const PassWork& pass, const Links& links) {
  for (const ExchangeItem& item : pass.exchanges) RETURN_IF_ERROR(CheckLinks(item, links));
  return absl::OkStatus();
}

absl::Status CheckStep(const StepWorkload& step, const Hardware& hardware) {
  RETURN_IF_ERROR(CheckSchedule(step.schedule));
  CHECK(static_cast<int>(step.stages.size()) == step.schedule.stages())
      << step.stages.size() << " stages";
  for (const StageWorkload& stage : step.stages) {
    for (const PassWork* pass : {&stage.forward, &stage.backward_input, &stage.backward_weight}) {
      RETURN_IF_ERROR(CheckExchanges(*pass, hardware.links));
    }
  }
  ExchangeItem send{.kind = ExchangeKind::kSend, .axis = "pipe", .ranks = step.schedule.ranks};
  send.ranks_per_node = step.ranks > hardware.links.ranks_per_node ? 1 : send.ranks;
  RETURN_IF_ERROR(CheckLinks(send, hardware.links));
  return CheckExchanges(step.update, hardware.links);
}

}  // namespace

double TimeParts::Work() const { return std::accumulate(work.begin(), work.end(), 0.0); }
double TimeParts::Exposed() const { return Sum(exposed); }
double TimeParts::Total() const { return Work() + gaps + host + loss + Exposed(); }

void TimeParts::Add(const TimeParts& other, double count) {
  for (size_t i = 0; i < work.size(); ++i) work[i] += count * other.work[i];
  gaps += count * other.gaps;
  host += count * other.host;
  loss += count * other.loss;
  for (const auto& [axis, seconds] : other.exposed) exposed[axis] += count * seconds;
  for (const auto& [axis, seconds] : other.exchanges) exchanges[axis] += count * seconds;
}

TimeParts PassTime(const PassWork& pass, const Hardware& hardware) {
  TimeParts parts = TimeKernels(pass, hardware);
  AddExchanges(pass, hardware, hardware.overlap.hideable * parts.Work(), parts);
  parts.gaps += hardware.host.pass_seconds;
  return parts;
}

absl::StatusOr<StepTime> PredictStep(const StepWorkload& step, const Hardware& hardware) {
  RETURN_IF_ERROR(CheckStep(step, hardware));
  return StepPredictor(step, hardware).Predict();
}

RunCost CostOfRun(const StepTime& step, const Hardware& hardware, int ranks, double tokens) {
  RunCost cost;
  cost.hours = tokens / step.tokens_per_second / 3600;
  const double device_hours = cost.hours * ranks;
  if (hardware.watts) cost.megawatt_hours = device_hours * *hardware.watts * 1e-6;
  if (hardware.price_per_hour) cost.price = device_hours * *hardware.price_per_hour;
  return cost;
}

}  // namespace choir
