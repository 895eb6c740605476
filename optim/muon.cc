#include "optim/muon.h"

#include <algorithm>
#include <cmath>
#include <type_traits>
#include <vector>

#include "base/fault.h"
#include "ops/elementwise.h"

namespace choir {
namespace {

bool OnMeta(const Tensor& x) { return x.device() == Device::kMeta; }

// m = mu m + g, direction = mu m + g (Nesterov) or m.
template <class T>
void Momentum(T* m, const T* g, T* direction, int64_t n, const MatrixTarget& t,
              const MuonConfig& config) {
  const CommonRule<T> common(t.rule);
  const auto mu = static_cast<T>(config.momentum);
  ForEachVec<T>(n, [&](int64_t, auto load, auto store) {
    const Vec<T> grad = common.Gradient(load(g));
    const Vec<T> next = mu * load(m) + grad;
    store(m, next);
    store(direction, config.nesterov ? mu * next + grad : next);
  });
}

template <class T>
Tensor DirectionOf(const MatrixTarget& t, const Moment& moment, const MuonConfig& config) {
  const Tensor& grad = t.target->grad;
  const Tensor direction = Tensor::Empty(grad.shape(), grad.options(MemoryCategory::kWorkspace));
  if (OnMeta(grad)) return direction;
  ForEachElementRun(*t.grid, [&](const ElementRun& run) {
    const T* g = grad.data<T>() + run.begin;
    T* to = direction.data<T>() + run.begin;
    if (T* m = moment.Direct<T>(); m != nullptr) {
      return Momentum<T>(m + run.begin, g, to, run.count, t, config);
    }
    if constexpr (std::is_same_v<T, float>) {
      alignas(64) float m[kRunLength];
      moment.Load(run, m);
      Momentum<T>(m, g, to, run.count, t, config);
      moment.Store(run, m, t.m_noise);
    }
  });
  return direction;
}

// The matrices of one family of a target.
struct FamilyMatrices {
  const MatrixFamily* family;
  MatrixShape shape;
  Tensor values;  // [batch, rows, columns]
};

struct RoundTarget {
  const MatrixTarget* target;
  Tensor direction, unit;
  std::vector<FamilyMatrices> families;
};

template <class T>
void Extract(RoundTarget& work, bool per_head) {
  for (const MatrixFamily& family : work.target->target->matrices.families) {
    const MatrixShape shape = ShapeOf(family, work.unit.shape(), per_head);
    const Tensor values = Tensor::Empty({shape.NumElements()}, work.unit.options());
    if (!OnMeta(values)) GatherMatrices<T>(work.unit, family, per_head, values.data<T>());
    work.families.push_back({&family, shape, values});
  }
}

template <class T>
void Insert(RoundTarget& work, const MuonConfig& config) {
  for (const FamilyMatrices& f : work.families) {
    const auto longest = static_cast<double>(std::max(f.shape.rows, f.shape.columns));
    ScaleInPlace(f.values, config.scale * std::sqrt(longest));
    if (!OnMeta(f.values)) {
      ScatterMatrices<T>(f.values.data<T>(), *f.family, config.per_head, work.unit);
    }
  }
  work.families.clear();
}

template <class T>
void Round(std::vector<RoundTarget>& round, const MuonConfig& config) {
  std::vector<MatrixRef<T>> matrices;
  for (RoundTarget& work : round) {
    work.unit = work.target->unit->Gather(work.direction);
    Extract<T>(work, config.per_head);
    for (const FamilyMatrices& f : work.families) {
      const int64_t size = f.shape.rows * f.shape.columns;
      if (OnMeta(f.values)) continue;
      for (int64_t i = 0; i < f.shape.batch; ++i) {
        matrices.push_back({f.values.data<T>() + i * size, f.shape.rows, f.shape.columns});
      }
    }
  }
  Orthogonalize<T>(matrices, MethodOf(config));
  for (RoundTarget& work : round) {
    Insert<T>(work, config);
    work.target->unit->Take(work.unit, work.direction);
    if (!OnMeta(work.direction)) {
      ApplyDirection<T>(*work.target, work.direction.data<T>(), work.target->rule.lr);
    }
  }
  round.clear();
}

// A target's, but for an injected fault.
const Moment& MomentOf(std::span<const MatrixTarget> targets, const MatrixTarget& t) {
  for (const MatrixTarget& other : targets) {
    const bool alike = &other != &t && other.grid->size() == t.grid->size() && t.unit->sharded();
    if (alike && Injected(Fault::kMomentumOfNeighbour)) return *other.m;
  }
  return *t.m;
}

}  // namespace

NewtonSchulz MethodOf(const MuonConfig& config) {
  const auto step = [](const std::vector<double>& c) { return NewtonSchulzStep{c[0], c[1], c[2]}; };
  NewtonSchulz method{{}, config.matmul == MuonMatmul::kBF16};
  method.steps.assign(static_cast<size_t>(config.steps), step(config.coefficients));
  method.steps.insert(method.steps.end(), static_cast<size_t>(config.final_steps),
                      step(config.final_coefficients));
  return method;
}

template <class T>
void MuonStep(std::span<const MatrixTarget> targets, const MuonConfig& config) {
  std::vector<RoundTarget> round;
  int64_t elements = 0;
  for (const MatrixTarget& t : targets) {
    if (!t.unit->mine()) continue;
    if (t.unit->sharded() && Injected(Fault::kMatrixHasNoOwner)) continue;
    const int64_t size = t.unit->shape().NumElements();
    if (!round.empty() && elements + size > kRoundElements) {
      Round<T>(round, config);
      elements = 0;
    }
    elements += size;
    round.push_back({&t, DirectionOf<T>(t, MomentOf(targets, t), config), {}, {}});
  }
  Round<T>(round, config);
}

template void MuonStep<float>(std::span<const MatrixTarget>, const MuonConfig&);
template void MuonStep<double>(std::span<const MatrixTarget>, const MuonConfig&);

}  // namespace choir
