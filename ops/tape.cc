#include "ops/tape.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/fault.h"
#include "ops/elementwise.h"
#include "ops/tape_graph.h"
#include "ops/tape_value.h"

namespace choir {
namespace {

thread_local const TapeObserver* observer_of_thread = nullptr;

// The one of `reads` whose storage the result has; null if that is its own.
internal::Value* SourceOf(const Tensor& result, const std::vector<internal::Value*>& reads) {
  for (internal::Value* read : reads) {
    if (read->tensor.defined() && read->tensor.SharesStorageWith(result)) return read;
  }
  return nullptr;
}

Tensor Zeros(const Shape& shape, const TensorOptions& options) {
  Tensor x = Tensor::Empty(shape, options);
  ZeroInPlace(x);
  return x;
}

}  // namespace

void ObserveTapes(const TapeObserver* observer) { observer_of_thread = observer; }

bool IsActivation(std::string_view tag) {
  constexpr std::string_view kTags[] = {"norm",        "attention.qkv", "qkv.rotary",
                                        "attention",   "ffn.gate_up",   "swiglu",
                                        "moe.gate_up", "moe.swiglu"};
  return std::find(std::begin(kTags), std::end(kTags), tag) != std::end(kTags);
}

using internal::Recipe;
using internal::Value;

const Tensor& Saved::Get() const {
  CHECK(value_ != nullptr);
  internal::ReadScope::Add(value_.get());
  if (!value_->tensor.defined()) value_->Return();
  return value_->tensor;
}

Var::Var(std::shared_ptr<Value> value, GradRef grad)
    : value_(std::move(value)), grad_(std::move(grad)) {
  ++value_->live;
}

Var::Var(const Var& other) : value_(other.value_), grad_(other.grad_) {
  if (value_ != nullptr) ++value_->live;
}

Var& Var::operator=(Var other) noexcept {
  std::swap(value_, other.value_);
  std::swap(grad_, other.grad_);
  return *this;
}

Var::~Var() {
  if (value_ == nullptr) return;
  if (value_->live == 1 && value_->recorder != nullptr) value_->recorder->Release(*value_);
  const bool read_later = value_.use_count() > 1;
  if (--value_->live == 0 && read_later) value_->Leave();
}

const Tensor& Var::tensor() const {
  CHECK(value_ != nullptr && value_->tensor.defined());
  return value_->tensor;
}

Tensor Sink::OutputGrad(int i) const {
  return outputs_[static_cast<size_t>(i)] == nullptr ? Tensor()
                                                     : outputs_[static_cast<size_t>(i)]->grad;
}

void Sink::Add(const GradRef& input, Tensor grad) {
  if (input == nullptr || !grad.defined()) return;
  if (!input->grad.defined()) {
    input->grad = std::move(grad);
  } else if (input->grad.Unique()) {
    AddInto(input->grad, grad);
  } else {
    input->grad = Sum(input->grad, grad);
  }
}

void Sink::Weight(Parameter& parameter, std::shared_ptr<const RowLeaves> rows, int64_t num_rows,
                  AccumulateRows accumulate) {
  CHECK(rows == nullptr || rows->bounds.back() == num_rows) << parameter.name;
  std::vector<int64_t> leaves;
  if (rows != nullptr) leaves = rows->index;
  Weight(parameter, std::move(leaves),
         [rows = std::move(rows), num_rows, accumulate = std::move(accumulate)](const Tensor& grad,
                                                                                int64_t leaf) {
           if (leaf < 0) return accumulate(grad, 0, num_rows);
           const auto i = static_cast<size_t>(leaf);
           accumulate(grad, rows->bounds[i], rows->bounds[i + 1]);
         });
}

void Sink::Weight(Parameter& parameter, std::function<void(const Tensor& grad)> accumulate) {
  Weight(parameter, std::vector<int64_t>{},
         [accumulate = std::move(accumulate)](const Tensor& grad, int64_t) { accumulate(grad); });
}

void Sink::Weight(Parameter& parameter, std::vector<int64_t> leaves, AccumulateLeaf accumulate) {
  auto run = [&parameter, uses = tape_.uses_, leaves = std::move(leaves),
              accumulate = std::move(accumulate)] {
    const TensorOptions options = parameter.options(MemoryCategory::kGradients);
    if (parameter.tree == nullptr) {
      if (!parameter.grad.defined()) parameter.grad = Zeros(parameter.shape(), options);
      accumulate(parameter.grad, -1);
    } else {
      CHECK(!leaves.empty()) << parameter.name << " has a tree, but its use no leaves";
      for (size_t i = 0; i < leaves.size(); ++i) {
        Tensor grad = Zeros(parameter.shape(), options);
        accumulate(grad, static_cast<int64_t>(i));
        parameter.tree->Add(leaves[i], std::move(grad));
      }
    }
    const auto use = uses->find(&parameter);
    CHECK(use != uses->end() && use->second > 0 && parameter.pending > 0) << parameter.name;
    --parameter.pending;
    if (--use->second == 0 && parameter.on_ready) parameter.on_ready(parameter);
  };
  if (tape_.deferred_ != nullptr && tape_.recorder_ != nullptr) {
    tape_.deferred_->push_back([recorder = tape_.recorder_, run = std::move(run)] {
      recorder->BeginDeferred();
      run();
      recorder->EndDeferred();
    });
  } else if (tape_.deferred_ != nullptr) {
    tape_.deferred_->push_back(std::move(run));
  } else {
    run();
  }
}

Tape::Tape(bool recording)
    : recording_(recording),
      observer_(observer_of_thread),
      recorder_(recording ? internal::MakeTapeRecorder() : nullptr) {
  if (observer_ != nullptr) observer_->made();
}

Var Tape::Input(Tensor tensor, bool wants_grad) {
  auto value = std::make_shared<Value>();
  value->tensor = std::move(tensor);
  if (recorder_ != nullptr) recorder_->AddInput(*value);
  return Var(std::move(value), recording_ && wants_grad ? std::make_shared<GradSlot>() : nullptr);
}

// A view shares the fate of its storage: it is rebuilt from its source, unless it is to stay, which
// keeps the source too.
TensorPolicy Tape::PolicyOf(const Tag& tag, const Tensor& result, internal::Value* source) const {
  if (!recording_ || !policy_ || tag.decision) return TensorPolicy::kKeep;
  const TensorPolicy wanted = policy_(tag.name, layer_);
  if (source != nullptr) {
    if (wanted == TensorPolicy::kKeep) source->Keep();
    return source->policy == TensorPolicy::kKeep ? TensorPolicy::kKeep : TensorPolicy::kRecompute;
  }
  const bool rounds = wanted >= TensorPolicy::kBF16;
  if (wanted == TensorPolicy::kDefault || (rounds && result.dtype() != DType::kF32)) {
    return TensorPolicy::kKeep;
  }
  return wanted;
}

Var Tape::Compute(const Tag& tag, Kernel kernel) {
  return std::move(Compute({tag}, MultiKernel([kernel = std::move(kernel)] {
                             return std::vector<Tensor>{kernel()};
                           }))[0]);
}

Tensor Tape::Rounded(const Tag& tag, Tensor result) const {
  if (rounding_ == DType::kF32 || !IsActivation(tag.name)) return result;
  RoundInPlace(result, rounding_);
  return result;
}

Tape::MultiKernel Tape::WithRounding(std::initializer_list<Tag> tags, MultiKernel kernel) const {
  if (rounding_ == DType::kF32) return kernel;
  return [rounding = rounding_, names = std::vector<Tag>(tags), kernel = std::move(kernel)] {
    std::vector<Tensor> results = kernel();
    if (Replaying() && Injected(Fault::kReplayNotRounded)) return results;
    for (size_t i = 0; i < results.size(); ++i) {
      if (IsActivation(names[i].name)) RoundInPlace(results[i], rounding);
    }
    return results;
  };
}

std::vector<Var> Tape::Compute(std::initializer_list<Tag> tags, MultiKernel kernel) {
  if (poll_) poll_();
  kernel = WithRounding(tags, std::move(kernel));
  const internal::ReadScope reads;
  if (recorder_ != nullptr) recorder_->BeginKernel();
  std::vector<Tensor> results = kernel();
  if (recorder_ != nullptr) recorder_->EndKernel(reads.values());
  CHECK(results.size() == tags.size());
  std::vector<Var> vars;
  auto recipe = std::make_shared<Recipe>();
  size_t i = 0;
  for (const Tag& tag : tags) {
    auto value = std::make_shared<Value>();
    value->tensor = std::move(results[i++]);
    if (observer_ != nullptr) {
      value->observed = observer_->result(tag.name, layer_, value->tensor);
    }
    Value* const source = SourceOf(value->tensor, reads.values());
    value->policy = PolicyOf(tag, value->tensor, source);
    if (recorder_ != nullptr) {
      recorder_->AddResult(tag, layer_, *value, source);
      value->recorder = recorder_;
    }
    if (value->policy == TensorPolicy::kRecompute) value->recipe = recipe;
    if (value->policy == TensorPolicy::kOffload) value->queue = Offloads();
    recipe->outputs.push_back(value);
    vars.emplace_back(std::move(value), nullptr);
  }
  recipe->kernel = std::move(kernel);
  recipe->counter = recomputed_;
  return vars;
}

const std::shared_ptr<OffloadQueue>& Tape::Offloads() {
  if (offloads_ == nullptr) offloads_ = std::make_shared<OffloadQueue>();
  return offloads_;
}

void Tape::EndForward() {
  if (recorder_ != nullptr) recorder_->EndForward();
  if (offloads_ != nullptr) offloads_->EndForward();
}

void Tape::Record(std::initializer_list<Var*> outputs, Backward backward) {
  if (!recording_) return;
  Node node;
  for (Var* output : outputs) {
    CHECK(output->grad_ == nullptr) << "recorded twice";
    output->grad_ = std::make_shared<GradSlot>();
    node.outputs.push_back(output->grad_);
    if (observer_ != nullptr) node.observed.push_back(output->value_->observed);
  }
  node.backward = std::move(backward);
  node.unit = unit_;
  nodes_.push_back(std::move(node));
}

void Tape::Use(Parameter& parameter) {
  if (!recording_) return;
  ++parameter.pending;
  ++(*uses_)[&parameter];
}

void Tape::SetUnit(int unit) {
  unit_ = unit;
  if (unit_hook_) unit_hook_(unit, /*backward=*/false);
}

Var Tape::Reshape(const Var& x, const Shape& shape) {
  auto value = std::make_shared<Value>();
  value->tensor = x.tensor().Reshape(shape);
  if (x.value_->policy != TensorPolicy::kKeep) {  // dropped with its source, and rebuilt from it
    value->policy = TensorPolicy::kRecompute;
    auto recipe = std::make_shared<Recipe>();
    recipe->kernel = [source = x.Save(), shape] {
      return std::vector<Tensor>{source.Get().Reshape(shape)};
    };
    recipe->outputs = {value};
    recipe->counter = std::make_shared<int64_t>(0);  // no kernel runs
    value->recipe = std::move(recipe);
  }
  if (recorder_ != nullptr) {
    recorder_->AddView(*value, *x.value_);
    value->recorder = recorder_;
  }
  Var y(std::move(value), nullptr);
  if (x.grad() != nullptr) {
    Record({&y}, [gx = x.grad(), from = x.shape()](Sink& sink) {
      sink.Add(gx, sink.OutputGrad(0).Reshape(from));
    });
  }
  return y;
}

void Tape::ShowGradients(const Node& node) const {
  for (size_t i = 0; i < node.outputs.size(); ++i) {
    const Tensor& gradient = node.outputs[i]->grad;
    if (node.observed[i] >= 0 && gradient.defined()) {
      observer_->gradient(node.observed[i], gradient);
    }
  }
}

void Tape::Run(const Node& node, Sink& sink) {
  if (recorder_ == nullptr) return node.backward(sink);
  const internal::ReadScope reads;
  recorder_->BeginNode();
  node.backward(sink);
  recorder_->EndNode(reads.values());
}

void Tape::RunBackward(const Var& loss, Tensor seed) {
  std::vector<Tensor> seeds;
  seeds.push_back(std::move(seed));
  RunBackward(std::vector<Var>{loss}, std::move(seeds));
}

void Tape::RunBackward(std::vector<Var> outputs, std::vector<Tensor> seeds) {
  CHECK(recording_);
  CHECK(outputs.size() == seeds.size());
  EndForward();
  Sink start(*this, {});
  for (size_t i = 0; i < outputs.size(); ++i) {
    start.Add(outputs[i].grad(), std::exchange(seeds[i], {}));
  }
  outputs.clear();
  if (offloads_ != nullptr) offloads_->BeginBackward();
  int unit = -1;
  while (!nodes_.empty()) {
    Node node = std::move(nodes_.back());
    nodes_.pop_back();
    bool reached = false;
    for (const GradRef& slot : node.outputs) reached |= slot->grad.defined();
    if (!reached) continue;
    if (poll_) poll_();
    if (observer_ != nullptr) ShowGradients(node);
    if (unit_hook_ && node.unit != unit) unit_hook_(unit = node.unit, /*backward=*/true);
    Sink sink(*this, node.outputs);
    Run(node, sink);
    for (const GradRef& slot : node.outputs) slot->grad = Tensor();
  }
}

}  // namespace choir
