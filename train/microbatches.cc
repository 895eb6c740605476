#include "train/microbatches.h"

#include <algorithm>

#include "base/fault.h"
#include "eval/model_input.h"
#include "ops/elementwise.h"

namespace choir {

StepSums::StepSums(size_t languages, size_t expert_layers, int experts)
    : language_nll(languages),
      language_dropped(languages),
      expert_tokens(expert_layers, std::vector<int64_t>(static_cast<size_t>(experts))) {}

void StepSums::AllReduce(const Place& place) {
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
  const Tensor all = Tensor::From<double>({static_cast<int64_t>(values.size())}, values,
                                          MemoryCategory::kCommunication);
  place.Group(kDenseAxes).AllReduce(all, ReduceOp::kSum).Wait();
  const std::span<const double> total = all.span<const double>();
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
  TokenPlan plan = PlanTokens(place, whole.tokens.NumElements(), tree, microbatch);
  auto context = [&plan](const Tensor& x) {
    return x.defined() ? x.Rows(plan.context_begin, plan.context_count) : x;
  };
  local.tokens = context(whole.tokens);
  local.labels = context(whole.labels);
  local.block.positions = context(whole.block.positions);
  if (plan.context_begin > 0 && Injected(Fault::kPositionsRestart)) {
    local.block.positions = whole.block.positions.Rows(0, plan.context_count);
  }
  if (whole.block.valid.defined()) {
    local.block.valid = whole.block.valid.Rows(plan.local_begin, plan.local_count);
  }
  local.block.tokens = std::move(plan);
  return local;
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
  inputs_.clear();
  mine_ = static_cast<int>(model_.stages().size());
  forwards_left_ = share.count * mine_;
}

const ModelInput& Microbatches::Input(int microbatch) {
  const auto known = inputs_.find(microbatch);
  if (known != inputs_.end()) return known->second;
  const int64_t number = share_.first + microbatch, row = number * share_.rows;
  ModelInput whole = MicrobatchInput(*batch_, row, std::min(share_.rows, batch_->rows - row));
  whole.block.capacity_factor = capacity_factor;
  return inputs_[microbatch] = LocalInput(whole, model_.place(), *tree_, number);
}

// That the loss of this rank is divided by: of the global batch.
int64_t Microbatches::NumLabels() const {
  const int64_t ranks = share_.total / share_.count;
  if (ranks == 1 || !Injected(Fault::kLocalLabelCount)) return batch_->num_labels;
  const int64_t first = share_.first * share_.rows, count = share_.count * share_.rows;
  const Tensor mine = MicrobatchInput(*batch_, first, std::min(count, batch_->rows - first)).labels;
  const auto labels = mine.span<const int32_t>();
  return ranks * std::count_if(labels.begin(), labels.end(), [](int32_t l) { return l >= 0; });
}

Shape Microbatches::HandoverShape(int microbatch) const {
  const int64_t row = (share_.first + microbatch) * share_.rows;
  const int64_t tokens = std::min(share_.rows, batch_->rows - row) * batch_->length;
  const Place& place = model_.place();
  const int64_t pieces = place.Size(kTokenAxes), i = place.Coord(kTokenAxes);
  return {PieceBegin(tokens, pieces, i + 1) - PieceBegin(tokens, pieces, i),
          model_.config().hidden};
}

Tensor Microbatches::Forward(int stage, int microbatch, Tensor input) {
  Pass& pass = passes_[{stage, microbatch}];
  pass.input = Input(microbatch);
  pass.tape = std::make_unique<Tape>();
  Tape& tape = *pass.tape;
  tape.SetRecomputePolicy(recompute_);
  if (model_.place().world() != nullptr) tape.SetPoll([this] { Poll(); });
  if (input.defined()) pass.hidden = tape.Input(std::move(input), /*wants_grad=*/true);
  const double labels = static_cast<double>(std::max<int64_t>(1, NumLabels()));
  pass.output = model_.RunStage(tape, stage, pass.hidden, pass.input, 1 / labels);
  AddSums(pass.output, pass.input, microbatch);
  if (--forwards_left_ == 0 && on_forwards_done) on_forwards_done();
  return pass.output.hidden.defined() ? pass.output.hidden.tensor() : Tensor();
}

Tensor Microbatches::Backward(int stage, int microbatch, Tensor output_grad, bool defer_weights) {
  Pass& pass = passes_.at({stage, microbatch});
  std::vector<Var> starts;
  std::vector<Tensor> seeds;
  if (pass.output.hidden.defined()) {
    starts.push_back(pass.output.hidden);
    seeds.push_back(std::move(output_grad));
  }
  if (pass.output.total.defined()) {
    starts.push_back(pass.output.total);
    seeds.push_back(ScalarTensor(1, pass.output.total.tensor().options()));
  }
  pass.output = StageOutput();
  if (defer_weights) pass.tape->DeferWeightGrads(&pass.weights);
  pass.tape->RunBackward(starts, seeds);
  Tensor input_grad;
  if (pass.hidden.defined()) input_grad = pass.hidden.grad()->grad;
  if (!defer_weights) passes_.erase({stage, microbatch});
  return input_grad;
}

void Microbatches::Poll() {
  model_.place().Poll();
  if (poll) poll();
}

void Microbatches::WeightGrad(int stage, int microbatch) {
  Pass& pass = passes_.at({stage, microbatch});
  for (auto& accumulate : pass.weights) {
    Poll();
    accumulate();
  }
  passes_.erase({stage, microbatch});
}

void Microbatches::AddDropped(const RoutingReport& report, const ModelInput& input,
                              int microbatch) {
  const int64_t row = (share_.first + microbatch) * share_.rows;
  const int32_t* language =
      batch_->language.data<int32_t>() + row * batch_->length + input.block.tokens.local_begin;
  for (size_t t = 0; t < report.dropped.size(); ++t) {
    if (report.dropped[t] == 0) continue;
    CHECK(language[t] != kNoLanguage) << "padding is not dropped";
    sums_->language_dropped[static_cast<size_t>(language[t])] += report.dropped[t];
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
  const float* nll = output.token_nll.tensor().data<float>();
  const TokenPlan& plan = input.block.tokens;
  const int64_t row = (share_.first + microbatch) * share_.rows;
  const int32_t* language =
      batch_->language.data<int32_t>() + row * batch_->length + plan.context_begin;
  for (int64_t i = 0; i < plan.context_count; ++i) {
    if (language[i] == kNoLanguage) continue;
    sums_->language_nll[static_cast<size_t>(language[i])].Add(static_cast<double>(nll[i]));
  }
}

}  // namespace choir
