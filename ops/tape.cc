#include "ops/tape.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "ops/elementwise.h"

namespace choir {
namespace {

thread_local const TapeObserver* observer_of_thread = nullptr;

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

namespace internal {

// The kernel that makes one or more values again.
struct Recipe {
  Tape::MultiKernel kernel;
  std::vector<std::weak_ptr<Value>> outputs;
  std::shared_ptr<int64_t> counter;
  void Replay();
};

struct Value {
  Tensor tensor;
  int live = 0;                    // Vars that refer to it
  int observed = -1;               // the observer's number
  std::shared_ptr<Recipe> recipe;  // null: kept
};

void Recipe::Replay() {
  std::vector<Tensor> results = kernel();
  CHECK(results.size() == outputs.size());
  ++*counter;
  for (size_t i = 0; i < results.size(); ++i) {
    auto value = outputs[i].lock();
    if (value != nullptr && !value->tensor.defined()) value->tensor = std::move(results[i]);
  }
}

}  // namespace internal

using internal::Recipe;
using internal::Value;

const Tensor& Saved::Get() const {
  CHECK(value_ != nullptr);
  if (!value_->tensor.defined()) {
    CHECK(value_->recipe != nullptr) << "a kept value lost its tensor";
    value_->recipe->Replay();
  }
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
  if (--value_->live == 0 && value_->recipe != nullptr) value_->tensor = Tensor();
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
  if (tape_.deferred_ != nullptr) {
    tape_.deferred_->push_back(std::move(run));
  } else {
    run();
  }
}

Tape::Tape(bool recording) : recording_(recording), observer_(observer_of_thread) {
  if (observer_ != nullptr) observer_->made();
}

Var Tape::Input(Tensor tensor, bool wants_grad) {
  auto value = std::make_shared<Value>();
  value->tensor = std::move(tensor);
  return Var(std::move(value), recording_ && wants_grad ? std::make_shared<GradSlot>() : nullptr);
}

bool Tape::Recomputes(const Tag& tag) const {
  return recording_ && policy_ && !tag.decision && policy_(tag.name, layer_);
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
    for (size_t i = 0; i < results.size(); ++i) {
      if (IsActivation(names[i].name)) RoundInPlace(results[i], rounding);
    }
    return results;
  };
}

std::vector<Var> Tape::Compute(std::initializer_list<Tag> tags, MultiKernel kernel) {
  if (poll_) poll_();
  kernel = WithRounding(tags, std::move(kernel));
  std::vector<Tensor> results = kernel();
  CHECK(results.size() == tags.size());
  std::vector<Var> vars;
  std::shared_ptr<Recipe> recipe;
  size_t i = 0;
  for (const Tag& tag : tags) {
    auto value = std::make_shared<Value>();
    value->tensor = std::move(results[i++]);
    if (observer_ != nullptr) {
      value->observed = observer_->result(tag.name, layer_, value->tensor);
    }
    if (Recomputes(tag)) {
      if (recipe == nullptr) recipe = std::make_shared<Recipe>();
      value->recipe = recipe;
    }
    vars.emplace_back(std::move(value), nullptr);
  }
  if (recipe != nullptr) {
    recipe->kernel = std::move(kernel);
    recipe->counter = recomputed_;
    for (const Var& var : vars) recipe->outputs.push_back(var.value_);
  }
  return vars;
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
  if (x.value_->recipe != nullptr) {  // dropped with its source, and rebuilt from it
    auto recipe = std::make_shared<Recipe>();
    recipe->kernel = [source = x.Save(), shape] {
      return std::vector<Tensor>{source.Get().Reshape(shape)};
    };
    recipe->outputs = {value};
    recipe->counter = std::make_shared<int64_t>(0);  // no kernel runs
    value->recipe = std::move(recipe);
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

void Tape::RunBackward(const Var& loss, Tensor seed) {
  RunBackward(std::span(&loss, 1), std::span(&seed, 1));
}

void Tape::RunBackward(std::span<const Var> outputs, std::span<const Tensor> seeds) {
  CHECK(recording_);
  CHECK(outputs.size() == seeds.size());
  Sink start(*this, {});
  for (size_t i = 0; i < outputs.size(); ++i) start.Add(outputs[i].grad(), seeds[i]);
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
    node.backward(sink);
    for (const GradRef& slot : node.outputs) slot->grad = Tensor();
  }
}

}  // namespace choir
