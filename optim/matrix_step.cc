#include "optim/matrix_step.h"

#include <type_traits>

namespace choir {
namespace {

template <class T>
void Apply(T* w, const T* u, int64_t n, T keep, T step) {
  ForEachVec<T>(n,
                [&](int64_t, auto load, auto store) { store(w, load(w) * keep - step * load(u)); });
}

}  // namespace

template <class T>
void ApplyDirection(const MatrixTarget& t, const T* u, double step) {
  const auto keep = static_cast<T>(1 - t.rule.lr * t.rule.settings.weight_decay);
  const auto by = static_cast<T>(step);
  ForEachElementRun(*t.grid, [&](const ElementRun& run) {
    if (T* w = t.value->Direct<T>(); w != nullptr) {
      Apply(w + run.begin, u + run.begin, run.count, keep, by);
      return t.value->Follow(run);
    }
    if constexpr (std::is_same_v<T, float>) {
      alignas(64) float w[kRunLength];
      t.value->Load(run, w);
      Apply(w, u + run.begin, run.count, keep, by);
      t.value->Store(run, w, t.stochastic_value ? &t.value_noise : nullptr);
    }
  });
}

template void ApplyDirection(const MatrixTarget&, const float*, double);
template void ApplyDirection(const MatrixTarget&, const double*, double);

}  // namespace choir
