#include "train/bisect_record.h"

#include <algorithm>
#include <span>
#include <utility>

#include "base/check.h"
#include "base/hash.h"
#include "base/strings.h"
#include "train/length_ramp.h"

namespace choir {
namespace {

uint64_t HashOf(const Tensor& x) {
  return HashOf64(
      std::span(static_cast<const std::byte*>(x.raw()), static_cast<size_t>(x.bytes())));
}

// Parts of dim 0, by their first row.
Tensor Join(const RecordKey& key, const std::map<int64_t, Tensor>& parts) {
  const Tensor& first = parts.begin()->second;
  if (parts.size() == 1) {
    CHECK(parts.begin()->first == 0) << key.name;
    return first;
  }
  int64_t rows = 0;
  for (const auto& [begin, part] : parts) {
    CHECK(begin == rows) << key.name << ": rows from " << begin << " follow " << rows;
    rows += part.dim(0);
  }
  Tensor whole = Tensor::Empty(first.shape().With(0, rows), first.options());
  for (const auto& [begin, part] : parts) whole.Rows(begin, part.dim(0)).CopyFrom(part);
  return whole;
}

}  // namespace

void StepRecorder::AddRows(const RecordKey& key, const RowRuns& runs, const Tensor& part) {
  CHECK(part.dim(0) == NumRows(runs)) << key.name;
  for (const RowRun& run : runs) Add(key, run.begin, part.Rows(run.here, run.count));
}

void StepRecorder::Add(const RecordKey& key, int64_t begin, const Tensor& part) {
  Tensor copy = part.Clone(MemoryCategory::kWorkspace);
  const std::lock_guard<std::mutex> lock(mutex_);
  CHECK(parts_[key].emplace(begin, std::move(copy)).second) << key.name << ": row " << begin;
}

StepRecord StepRecorder::Take() {
  const std::lock_guard<std::mutex> lock(mutex_);
  StepRecord step;
  for (const auto& [key, parts] : parts_) {
    const Tensor whole = Join(key, parts);
    step.tensors[key] = {whole, HashOf(whole)};
    if (key.part == StepPart::kState) step.state[key.name] = whole;
  }
  parts_.clear();
  return step;
}

RankObserver::RankObserver(const Trainer& trainer, StepRecorder& recorder)
    : trainer_(trainer), recorder_(recorder) {
  observer_.made = [this] {
    CHECK(begun_ < passes_.size()) << "more tapes than forward passes";
    ++begun_;
    norms_.clear();
  };
  observer_.result = [this](std::string_view tag, int layer, const Tensor& result) {
    return OnResult(tag, layer, result);
  };
  observer_.gradient = [this](int number, const Tensor& gradient) {
    const Wanted& wanted = gradients_[static_cast<size_t>(number)];
    recorder_.AddRows(wanted.key, wanted.runs, gradient);
  };
}

RankObserver::~RankObserver() { ObserveTapes(nullptr); }

// A tape does not know its microbatch, but a rank makes one for each forward pass, in the order of
// the schedule.
void RankObserver::ListPasses() {
  const RunLayout& layout = trainer_.layout();
  const Place& place = trainer_.place();
  const int64_t rows = BatchRows(trainer_.config(), trainer_.step());
  const int64_t pieces = LengthPieces(trainer_.config(), trainer_.step());
  const MicrobatchShare share = ShareOf(layout, place.Coord(kDataAxes), rows, pieces);
  const LeafTree tree(share.total, kVirtualPieces);
  ScheduleSpec schedule = layout.schedule;
  schedule.microbatches = static_cast<int>(share.count);
  passes_.clear();
  for (const Action& action : RankActions(schedule, place.Coord(Axis::kPipe))) {
    if (action.kind != ActionKind::kForward) continue;
    const int64_t microbatch = share.Number(action.microbatch);
    const int64_t sequences =
        std::min(layout.microbatch_rows, rows - microbatch * layout.microbatch_rows);
    const TokenGrid grid{sequences * pieces, trainer_.config().data.sequence_length / pieces};
    passes_.push_back({microbatch, PlanTokens(place, grid, tree, microbatch)});
  }
}

void RankObserver::Begin() {
  ListPasses();
  begun_ = 0;
  gradients_.clear();
  ObserveTapes(&observer_);
}

void RankObserver::End() {
  ObserveTapes(nullptr);
  CHECK(begun_ == passes_.size()) << begun_ << " tapes for " << passes_.size() << " passes";
}

int RankObserver::OnResult(std::string_view tag, int layer, const Tensor& result) {
  if (tag.starts_with("residual") || tag == "norm") return OnStream(tag == "norm", layer, result);
  const Pass& pass = passes_[begun_ - 1];
  // The tensor ranks of a context rank have the same losses.
  if (tag == "loss.token_nll" && trainer_.place().Coord(Axis::kTensor) == 0) {
    recorder_.AddRows({pass.microbatch, StepPart::kTokenLoss, 0, "loss of a token", -1},
                      pass.tokens.here, result);
  }
  return -1;
}

// A block has two parts, each begins with a sum ("residual", "residual.mid") and its norm; the head
// is one more.
int RankObserver::OnStream(bool normed, int layer, const Tensor& result) {
  static constexpr const char* kParts[] = {"attention", "feed-forward", "the head"};
  const int count = normed ? norms_[layer] - 1 : norms_[layer]++;
  CHECK(count >= 0 && count < 2) << "layer " << layer;
  const Pass& pass = passes_[begun_ - 1];
  const int64_t last = 2 * int64_t{trainer_.config().model.layers};
  const int64_t at = layer < 0 ? last : 2 * layer + count;
  const std::string name = StrCat(normed ? "normed input of " : "residual stream before ",
                                  kParts[layer < 0 ? 2 : count]);
  recorder_.AddRows({pass.microbatch, StepPart::kForward, 2 * at + (normed ? 1 : 0), name, layer},
                    pass.tokens.local, result);
  // Backward, the stream's gradient is there before the part that begins here is run.
  RecordKey of_gradient{pass.microbatch, StepPart::kBackward, 2 * (last - at) + (normed ? 1 : 0),
                        "gradient of " + name, layer};
  gradients_.push_back({std::move(of_gradient), pass.tokens.local});
  return static_cast<int>(gradients_.size()) - 1;
}

void RecordParts(const Trainer& trainer, const std::vector<Trainer::StateTensor>& parts,
                 StepPart part, StepRecorder& recorder) {
  const bool last_first = part == StepPart::kParameterGradients;
  RecordKey key;
  key.microbatch = part == StepPart::kInitialState ? kBeforeMicrobatches : kAfterMicrobatches;
  key.part = part;
  for (const Trainer::StateTensor& t : parts) {
    const Tensor whole = Assemble(trainer.place(), t.spreading, t.mine, DType::kF32);
    key.name = t.name;
    if (whole.defined()) recorder.AddWhole(key, whole);
    key.order += last_first ? -1 : 1;
  }
}

}  // namespace choir
