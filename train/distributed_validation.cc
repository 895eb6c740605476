// Validation on many ranks: the data ranks share the batches, the others run them together.
#include <algorithm>
#include <functional>

#include "base/exact_sum.h"
#include "eval/model_input.h"
#include "train/trainer.h"

namespace choir {
namespace {

struct Job {
  size_t language;
  int64_t batch;
};

std::vector<Job> ListJobs(const ValidationSet& set) {
  std::vector<Job> jobs;
  for (size_t i = 0; i < set.languages().size(); ++i) {
    for (int64_t b = 0; b < set.NumBatches(i); ++b) jobs.push_back({i, b});
  }
  return jobs;
}

// The losses of the tokens, on the last stage; undefined elsewhere. `serve` sees each tape first.
Tensor RunStages(Transformer& model, const ScheduleSpec& schedule, const ModelInput& input,
                 const std::function<void(Tape&, int stage)>& serve) {
  const Place& place = model.place();
  const int me = place.Coord(Axis::kPipe);
  const Shape handover{NumRows(input.block.tokens.local), model.config().hidden};
  Tensor hidden, nll;
  for (int stage : model.stages()) {
    Tape tape(/*recording=*/false);
    serve(tape, stage);
    Var in;
    if (stage > 0) {
      const int from = StageOwner(schedule, stage - 1);
      if (from != me) {
        hidden = Tensor::Empty(handover, {});
        place.Group(Axis::kPipe).Recv(hidden, from, stage).Wait();
      }
      in = tape.Input(std::move(hidden));
    }
    const StageOutput output = model.RunStage(tape, stage, in, input, 1);
    if (output.token_nll.defined()) {
      nll = output.token_nll.tensor();
      continue;
    }
    hidden = output.hidden.tensor();
    const int to = StageOwner(schedule, stage + 1);
    if (to != me) place.Group(Axis::kPipe).Send(hidden, to, stage + 1).Wait();
  }
  return nll;
}

void AllReduce(std::vector<ExactSum>& sums, const Place& place) {
  if (place.mesh().size() == 1) return;
  std::vector<double> values;
  for (const ExactSum& sum : sums) {
    const std::vector<double> digits = sum.ToDigits();
    values.insert(values.end(), digits.begin(), digits.end());
  }
  if (values.empty()) return;
  const Tensor all = Tensor::From<double>({static_cast<int64_t>(values.size())}, values,
                                          MemoryCategory::kCommunication);
  place.Group(kDenseAxes).AllReduce(all, ReduceOp::kSum).Wait();
  const size_t each = values.size() / sums.size();
  for (size_t i = 0; i < sums.size(); ++i) {
    sums[i] = ExactSum::FromDigits(all.span<const double>().subspan(i * each, each));
  }
}

}  // namespace

std::vector<LanguageLoss> Trainer::Validate() {
  if (place_.mesh().size() == 1 && !place_.invariant())
    return choir::Validate(model_, *source_.validation);
  const std::vector<Job> jobs = ListJobs(*source_.validation);
  const auto ranks = static_cast<size_t>(layout_.DataRanks());
  const auto mine = static_cast<size_t>(place_.Coord(kDataAxes));
  std::vector<ExactSum> nll(source_.validation->languages().size());
  const LeafTree tree(1, kVirtualPieces);
  // Experts may be spread over data ranks: all run as often, the last ones maybe for nothing.
  for (size_t first = 0; first < jobs.size(); first += ranks) {
    const Job& job = jobs[std::min(first + mine, jobs.size() - 1)];
    const Batch batch = source_.validation->GetBatch(job.language, job.batch);
    const ModelInput input = LocalInput(MicrobatchInput(batch, 0, batch.rows), place_, tree, 0);
    const Tensor losses = RunStages(model_, layout_.schedule, input,
                                    [this](Tape& tape, int stage) { Serve(tape, stage); });
    if (!losses.defined() || first + mine >= jobs.size()) continue;
    if (place_.Coord(Axis::kTensor) != 0) continue;
    for (float x : losses.span<float>()) nll[job.language].Add(static_cast<double>(x));
  }
  AllReduce(nll, place_);
  std::vector<LanguageLoss> losses;
  for (size_t i = 0; i < nll.size(); ++i) {
    const ValidationLanguage& language = source_.validation->languages()[i];
    const double mean = nll[i].Value() / static_cast<double>(language.labels);
    losses.push_back(
        {language.name, mean, language.BitsPerByte(mean), language.unigram_loss, language.labels});
  }
  return losses;
}

}  // namespace choir
