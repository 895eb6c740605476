#include "train/microbatches.h"

#include <algorithm>

#include "base/fault.h"
#include "eval/model_input.h"
#include "ops/elementwise.h"
#include "parallel/sum_numbers.h"

namespace choir {

StepSums::StepSums(size_t languages, size_t expert_layers, int experts)
    : language_nll(languages),
      language_dropped(languages),
      expert_tokens(expert_layers, std::vector<int64_t>(static_cast<size_t>(experts))) {}

void StepSums::AllReduce(const Place& place, Device device) {
  if (place.mesh().size() == 1) return;
  std::vector<double> values;
  std::vector<ExactSum*> sums;
  for (ExactSum& sum : language_nll) sums.push_back(&sum);
  sums.push_back(&balance_loss);
  for (const ExactSum* sum : sums) {
    const std::vector<double> digits = sum->ToDigits();
    values.insert(values.end(), digits.begin(), digits.end());
  }
  const size_t of_sums = values.size(), each = of_sums / sums.size();
  values.insert(values.end(), language_dropped.begin(), language_dropped.end());
  for (const auto& layer : expert_tokens) values.insert(values.end(), layer.begin(), layer.end());
  // Small integers: exact in double, in any order.
  values = SumNumbers(place, kDenseAxes, std::move(values), device);
  const std::span<const double> total = values;
  for (size_t i = 0; i < sums.size(); ++i) {
    *sums[i] = ExactSum::FromDigits(total.subspan(i * each, each));
  }
  size_t at = of_sums;
  for (int64_t& n : language_dropped) n = static_cast<int64_t>(total[at++]);
  if (Injected(Fault::kBiasFromLocalCounts)) return;
  for (auto& layer : expert_tokens) {
    for (int64_t& n : layer) n = static_cast<int64_t>(total[at++]);
  }
}

ModelInput LocalInput(const ModelInput& whole, const Place& place, const LeafTree& tree,
                      int64_t microbatch) {
  ModelInput local = whole;
  const int64_t sequences = whole.block.rows;
  const TokenGrid grid{sequences, whole.tokens.NumElements() / sequences};
  TokenPlan plan = PlanTokens(place, grid, tree, microbatch);
  local.tokens = TakeRows(whole.tokens, plan.here);
  if (whole.labels.defined()) local.labels = TakeRows(whole.labels, plan.here);
  local.block.positions = TakeRows(whole.block.positions, plan.here);
  if (place.Coord(Axis::kContext) > 0 && Injected(Fault::kPositionsRestart)) {
    local.block.positions = whole.block.positions.Rows(0, NumRows(plan.here));
  }
  if (whole.block.valid.defined()) {
    local.block.valid = TakeRows(whole.block.valid, plan.local);
  }
  local.block.tokens = std::move(plan);
  return local;
}

MicrobatchShare ShareOf(const RunLayout& layout, int data_rank, int64_t rows, int64_t pieces) {
  MicrobatchShare share;
  share.rows = layout.microbatch_rows * pieces;
  share.total = layout.Microbatches(rows);
  share.count = share.total / layout.DataRanks();
  const bool in_turn = layout.zero >= 2;
  share.stride = in_turn ? layout.DataRanks() : 1;
  share.first = in_turn ? data_rank : share.count * data_rank;
  return share;
}

Microbatches::Microbatches(Transformer& model, RecomputePolicy recompute)
    : model_(model), recompute_(std::move(recompute)) {}

void Microbatches::Begin(const Batch& batch, const MicrobatchShare& share, const LeafTree& tree,
                         StepSums& sums) {
  CHECK(passes_.empty()) << "the step before has not ended";
  batch_ = &batch;
  tree_ = &tree;
  sums_ = &sums;
  share_ = share;
}

// As all ranks that work on it see it together.
ModelInput Microbatches::Whole(int microbatch) const {
  const int64_t row = share_.Number(microbatch) * share_.rows;
  return MicrobatchInput(*batch_, row, std::min(share_.rows, batch_->rows - row));
}

const ModelInput& Microbatches::Input(int microbatch) {
  const auto known = inputs_.find(microbatch);
  if (known != inputs_.end()) return known->second;
  ModelInput whole = Whole(microbatch);
  whole.block.capacity_factor = capacity_factor;
  whole.block.routing = routing;
  return inputs_[microbatch] = LocalInput(whole, model_.place(), *tree_, share_.Number(microbatch));
}

// That the loss of this rank is divided by: of the global batch.
int64_t Microbatches::NumLabels() const {
  const int64_t ranks = share_.total / share_.count;
  if (ranks == 1 || !Injected(Fault::kLocalLabelCount)) return batch_->num_labels;
  int64_t mine = 0;
  for (int i = 0; i < share_.count; ++i) {
    const Tensor all = Whole(i).labels;
    const auto labels = all.span<const int32_t>();
    mine += std::count_if(labels.begin(), labels.end(), [](int32_t l) { return l >= 0; });
  }
  return ranks * mine;
}

Shape Microbatches::HandoverShape(int microbatch) const {
  const int64_t row = share_.Number(microbatch) * share_.rows;
  const TokenGrid grid{std::min(share_.rows, batch_->rows - row), batch_->length};
  return {NumLocalTokens(model_.place(), grid), model_.config().hidden};
}

// Tells listeners of a pass while it lives.
class Microbatches::PassScope {
 public:
  PassScope(const Microbatches& of, ActionKind kind, int stage, int microbatch) : of_(of) {
    if (of.on_pass) of.on_pass(kind, stage, microbatch);
  }
  ~PassScope() {
    if (of_.after_pass) of_.after_pass();
  }
  PassScope(const PassScope&) = delete;

 private:
  const Microbatches& of_;
};

Tensor Microbatches::Forward(int stage, int microbatch, Tensor input) {
  const PassScope scope(*this, ActionKind::kForward, stage, microbatch);
  Pass& pass = passes_[{stage, microbatch}];
  pass.input = Input(microbatch);
  pass.tape = std::make_unique<Tape>();
  Tape& tape = *pass.tape;
  tape.SetRecomputePolicy(recompute_);
  if (model_.place().world() != nullptr) tape.SetPoll([this] { Poll(); });
  if (on_tape) on_tape(tape, stage);
  if (input.defined()) pass.hidden = tape.Input(std::move(input), /*wants_grad=*/true);
  const double labels = static_cast<double>(std::max<int64_t>(1, NumLabels()));
  pass.output = model_.RunStage(tape, stage, pass.hidden, pass.input, 1 / labels);
  AddSums(pass.output, pass.input, microbatch);
  tape.EndForward();
  return pass.output.hidden.defined() ? pass.output.hidden.tensor() : Tensor();
}

Tensor Microbatches::Backward(int stage, int microbatch, Tensor output_grad, bool defer_weights) {
  const PassScope scope(*this, defer_weights ? ActionKind::kBackwardInput : ActionKind::kBackward,
                        stage, microbatch);
  Pass& pass = passes_.at({stage, microbatch});
  std::vector<Var> starts;
  std::vector<Tensor> seeds;
  if (pass.output.hidden.defined()) {
    starts.push_back(pass.output.hidden);
    seeds.push_back(std::move(output_grad));
  }
  if (pass.output.total.defined()) {
    starts.push_back(pass.output.total);
    seeds.push_back(ScalarTensor(loss_scale, pass.output.total.tensor().options()));
  }
  pass.output = StageOutput();
  if (defer_weights) pass.tape->DeferWeightGrads(&pass.weights);
  pass.tape->RunBackward(std::move(starts), std::move(seeds));
  Tensor input_grad;
  if (pass.hidden.defined()) input_grad = pass.hidden.grad()->grad;
  if (!defer_weights) EndPass(stage, microbatch);
  return input_grad;
}

void Microbatches::EndPass(int stage, int microbatch) {
  passes_.erase({stage, microbatch});
  if (on_weight_grads) on_weight_grads();
}

void Microbatches::Poll() {
  model_.place().Poll();
  if (poll) poll();
}

void Microbatches::WeightGrad(int stage, int microbatch) {
  const PassScope scope(*this, ActionKind::kBackwardWeight, stage, microbatch);
  Pass& pass = passes_.at({stage, microbatch});
  for (auto& accumulate : pass.weights) {
    Poll();
    accumulate();
    accumulate = nullptr;  // what it held is free
  }
  EndPass(stage, microbatch);
}

void Microbatches::AddDropped(const RoutingReport& report, const ModelInput& input,
                              int microbatch) {
  if (report.dropped.empty()) return;
  const int64_t row = share_.Number(microbatch) * share_.rows;
  const int32_t* language = batch_->language.data<int32_t>() + batch_->StoredAt(row, 1);
  for (const RowRun& run : input.block.tokens.local) {
    for (int64_t i = 0; i < run.count; ++i) {
      const int32_t dropped = report.dropped[static_cast<size_t>(run.here + i)];
      if (dropped == 0) continue;
      CHECK(language[run.begin + i] != kNoLanguage) << "padding is not dropped";
      sums_->language_dropped[static_cast<size_t>(language[run.begin + i])] += dropped;
    }
  }
}

// Each token's loss counts on the first tensor rank of its context rank only.
void Microbatches::AddSums(const StageOutput& output, const ModelInput& input, int microbatch) {
  for (size_t i = 0; i < output.routing.size(); ++i) {
    const auto layer = static_cast<size_t>(model_.expert_layer(output.routing[i].layer));
    const std::vector<int64_t>& tokens = output.routing[i].expert_tokens;
    for (size_t e = 0; e < tokens.size(); ++e) sums_->expert_tokens[layer][e] += tokens[e];
    AddDropped(output.routing[i], input, microbatch);
    for (const Var& term : output.routing[i].losses) {
      sums_->balance_loss.Add(ScalarValue(term.tensor()));
    }
  }
  const bool first = model_.place().Coord(Axis::kTensor) == 0;
  if (!output.token_nll.defined() || (!first && !Injected(Fault::kLossOnTensorRanks))) return;
  if (output.token_nll.tensor().device() == Device::kMeta) return;
  const float* nll = output.token_nll.tensor().data<float>();
  const int64_t row = share_.Number(microbatch) * share_.rows;
  const int32_t* language = batch_->language.data<int32_t>() + batch_->StoredAt(row, 1);
  for (const RowRun& run : input.block.tokens.here) {
    for (int64_t i = 0; i < run.count; ++i) {
      const int32_t of_token = language[run.begin + i];
      if (of_token == kNoLanguage) continue;
      const auto loss = static_cast<double>(nll[run.here + i]);
      sums_->language_nll[static_cast<size_t>(of_token)].Add(loss);
    }
  }
}

}  // namespace choir
