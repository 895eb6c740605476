#include "optim/target.h"

#include "ops/elementwise.h"
#include "tensor/cast.h"

namespace choir {
namespace {

Tensor Flat(const Tensor& x) { return x.Reshape({x.NumElements()}); }

}  // namespace

std::vector<OptimTarget> WholeTargets(const std::vector<Parameter*>& parameters,
                                      const TargetPrecision& precision) {
  std::vector<OptimTarget> targets;
  for (const Parameter* p : parameters) {
    const Shape& shape = p->value.shape();
    Shape start = shape;
    for (int i = 0; i < shape.rank(); ++i) start = start.With(i, 0);
    targets.push_back(
        {p, {shape, {}}, {start, shape}, 0, Flat(p->value), Flat(p->grad), precision});
  }
  return targets;
}

StoredValue::StoredValue(const OptimTarget& target) {
  if (target.value.dtype() != DType::kBF16) {
    CHECK(!target.precision.master)
        << target.parameter->name << ": a master of " << target.value.dtype();
    exact_ = target.value;
    return;
  }
  rounded_ = target.value;
  if (!target.precision.master) return;
  exact_ =
      Tensor::Empty(rounded_.shape(), {DType::kF32, rounded_.device(), MemoryCategory::kOptimizer});
  ConvertInto(exact_, rounded_);
}

void StoredValue::Load(const ElementRun& run, float* values) const {
  ToFloats(rounded_.data<BFloat16>() + run.begin, values, run.count);
}

void StoredValue::Store(const ElementRun& run, const float* values,
                        const CounterRandom* random) const {
  BFloat16* to = rounded_.data<BFloat16>() + run.begin;
  if (random == nullptr) return RoundToBFloat16(values, to, run.count);
  StochasticToBFloat16(values, to, run.count, *random, run.global);
}

void StoredValue::Follow(const ElementRun& run) const {
  if (!rounded_.defined()) return;
  RoundToBFloat16(exact_.data<float>() + run.begin, rounded_.data<BFloat16>() + run.begin,
                  run.count);
}

Tensor StoredValue::Read() const {
  if (exact_.defined()) return exact_;
  const Tensor values =
      Tensor::Empty(rounded_.shape(), {DType::kF32, rounded_.device(), MemoryCategory::kWorkspace});
  ConvertInto(values, rounded_);
  return values;
}

void StoredValue::Write(const Tensor& values) const {
  if (exact_.defined() && !values.SharesStorageWith(exact_)) exact_.CopyFrom(Flat(values));
  if (rounded_.defined()) ConvertInto(rounded_, Flat(values));
}

}  // namespace choir
