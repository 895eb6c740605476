#include "ops/tape_value.h"

#include <utility>

#include "base/check.h"

namespace choir {
namespace {

thread_local internal::ReadScope* read_scope = nullptr;
thread_local int replays = 0;  // of kernels, one inside the other

NumberFormat FormatOf(TensorPolicy policy) {
  switch (policy) {
    case TensorPolicy::kBF16:
      return NumberFormat::kBF16;
    case TensorPolicy::kE4M3:
      return NumberFormat::kE4M3;
    case TensorPolicy::kE5M2:
      return NumberFormat::kE5M2;
    default:
      break;
  }
  CHECK(false) << "policy " << static_cast<int>(policy) << " is no format";
  __builtin_unreachable();
}

// Hands its outputs that are not there new tensors; it is not needed again.
void Replay(const std::shared_ptr<internal::Recipe>& recipe) {
  ++replays;
  std::vector<Tensor> results;
  {
    const internal::ReadScope own;
    results = recipe->kernel();
  }
  --replays;
  CHECK(results.size() == recipe->outputs.size());
  ++*recipe->counter;
  recipe->kernel = nullptr;
  for (size_t i = 0; i < results.size(); ++i) {
    const auto value = recipe->outputs[i].lock();
    if (value == nullptr) continue;
    if (!value->tensor.defined()) value->tensor = std::move(results[i]);
    value->recipe = nullptr;
  }
}

}  // namespace

bool Replaying() { return replays > 0; }

namespace internal {

ReadScope::ReadScope() : outer_(std::exchange(read_scope, this)) {}
ReadScope::~ReadScope() { read_scope = outer_; }

void ReadScope::Add(Value* value) {
  if (read_scope != nullptr) read_scope->values_.push_back(value);
}

void Value::Leave() {
  switch (policy) {
    case TensorPolicy::kDefault:
    case TensorPolicy::kKeep:
      return;
    case TensorPolicy::kRecompute:
      if (recipe != nullptr) tensor = Tensor();
      return;
    case TensorPolicy::kOffload:
      offloaded = queue->Leave(std::exchange(tensor, {}));
      return;
    case TensorPolicy::kBF16:
    case TensorPolicy::kE4M3:
    case TensorPolicy::kE5M2:
      compressed = Compress(tensor, FormatOf(policy));
      tensor = Tensor();
      return;
  }
}

void Value::Return() {
  if (recipe != nullptr) {
    Replay(std::shared_ptr<Recipe>(recipe));
  } else if (compressed.defined()) {
    tensor = Expand(std::exchange(compressed, {}));
  } else {
    CHECK(offloaded != nullptr) << "a kept value lost its tensor";
    tensor = queue->Return(*offloaded);
    offloaded = nullptr;
  }
}

void Value::Keep() {
  policy = TensorPolicy::kKeep;
  recipe = nullptr;
}

}  // namespace internal
}  // namespace choir
