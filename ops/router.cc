#include "ops/router.h"

#include <algorithm>
#include <cmath>

#include "base/fault.h"
#include "ops/launch.h"
#include "ops/log_sum_exp.h"
#include "ops/parallel_for.h"
#include "ops/router_select.h"
#include "ops/simd.h"

namespace choir {
namespace {

constexpr double kSoftplusLinear = 20;  // softplus(x) = x above

// log(1 + y) for y in [0, 1], by 2 artanh(y / (2 + y)): relative error below 2e-8.
Vec<float> Log1p(const Vec<float>& y) {
  const Vec<float> z = y / (2.0f + y), q = z * z;
  Vec<float> p = Splat(1.0f / 13);
  for (float odd : {11.0f, 9.0f, 7.0f, 5.0f, 3.0f, 1.0f}) p = p * q + 1.0f / odd;
  return 2.0f * z * p;
}
Vec<double> Log1p(Vec<double> y) {
  for (int i = 0; i < kLanes; ++i) y[i] = std::log1p(y[i]);
  return y;
}

// 1 - e^-u for u >= 0, without cancellation.
Vec<float> OneMinusExp(const Vec<float>& u) {
  // Below 0.1 the first term left out, u^5 / 720, is under 2e-8.
  const Vec<float> series =
      u * (1.0f - u * (0.5f - u * (1.0f / 6 - u * (1.0f / 24 - u * (1.0f / 120)))));
  return u < 0.1f ? series : 1.0f - Exp(-u);
}
Vec<double> OneMinusExp(Vec<double> u) {
  for (int i = 0; i < kLanes; ++i) u[i] = -std::expm1(-u[i]);
  return u;
}

template <class T>
Vec<T> SqrtSoftplus(const Vec<T>& x) {
  const Vec<T> zero{};
  const Vec<T> magnitude = Max<T>(x, -x);
  Vec<T> y = Max<T>(x, zero) + Log1p(Exp(-magnitude));
  y = x > T(kSoftplusLinear) ? x : y;
  for (int i = 0; i < kLanes; ++i) y[i] = std::sqrt(y[i]);
  return y;
}

// d sqrt(softplus(x)) / dx from s = sqrt(softplus(x)): sigmoid(x) = 1 - e^-softplus(x).
template <class T>
Vec<T> SqrtSoftplusSlope(const Vec<T>& s) {
  const Vec<T> u = s * s;
  const Vec<T> sigmoid = u > T(kSoftplusLinear) ? Splat(T(1)) : OneMinusExp(u);
  return s > T(0) ? sigmoid / (T(2) * s) : Vec<T>{};
}

template <class T>
void ScoreRow(ScoreFunction function, const T* x, T* s, int64_t n) {
  switch (function) {
    case ScoreFunction::kSigmoid:
      return ForEachVec<T>(n,
                           [&](int64_t, auto load, auto store) { store(s, Sigmoid<T>(load(x))); });
    case ScoreFunction::kSqrtSoftplus:
      return ForEachVec<T>(
          n, [&](int64_t, auto load, auto store) { store(s, SqrtSoftplus<T>(load(x))); });
    case ScoreFunction::kSoftmax:
      const double sum = RowExpSum<true>(x, RowMax(x, n), s, n);
      return RowScale(s, static_cast<T>(1 / sum), n);
  }
}

// dx from the scores alone.
template <class T>
void ScoreRowBackward(ScoreFunction function, const T* s, const T* ds, T* dx, int64_t n) {
  switch (function) {
    case ScoreFunction::kSigmoid:
      return ForEachVec<T>(n, [&](int64_t, auto load, auto store) {
        store(dx, load(ds) * load(s) * (T(1) - load(s)));
      });
    case ScoreFunction::kSqrtSoftplus:
      return ForEachVec<T>(n, [&](int64_t, auto load, auto store) {
        store(dx, load(ds) * SqrtSoftplusSlope<T>(load(s)));
      });
    case ScoreFunction::kSoftmax:
      const T mean = Dot(s, ds, n);
      return ForEachVec<T>(
          n, [&](int64_t, auto load, auto store) { store(dx, load(s) * (load(ds) - mean)); });
  }
}

// body(t) for every row, in tasks of a size fixed by the width.
template <class Body>
void ForEachRow(int64_t rows, int64_t width, const Body& body) {
  ParallelRanges(rows, RowGrain(width), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) body(t);
  });
}

Tensor Scores(const Tensor& logits, ScoreFunction function) {
  Tensor scores = Tensor::Empty(logits.shape(), logits.options(MemoryCategory::kActivations));
  Launch(scores.device(), "router_scores", [&] {
    DispatchFloat(scores.dtype(), [&]<class T>() {
      const int64_t experts = logits.dim(1);
      ForEachRow(logits.dim(0), experts, [&](int64_t t) {
        ScoreRow(function, logits.data<T>() + t * experts, scores.data<T>() + t * experts, experts);
      });
    });
  });
  return scores;
}

Tensor ScoresBackward(const Tensor& scores, const Tensor& dscores, ScoreFunction function) {
  Tensor dx = Tensor::Empty(scores.shape(), dscores.options());
  Launch(dx.device(), "router_scores_backward", [&] {
    DispatchFloat(dx.dtype(), [&]<class T>() {
      const int64_t experts = scores.dim(1);
      ForEachRow(scores.dim(0), experts, [&](int64_t t) {
        const int64_t at = t * experts;
        ScoreRowBackward(function, scores.data<T>() + at, dscores.data<T>() + at, dx.data<T>() + at,
                         experts);
      });
    });
  });
  return dx;
}

// Scores of a group that make up its own.
int BestOfGroup(const RouterOptions& options) {
  return std::min(std::max(1, options.top_k / options.group_limit),
                  options.experts / options.groups);
}

template <class T>
void ChooseCpu(const Tensor& indices, const Tensor& scores, const Tensor& bias,
               const RouterOptions& options) {
  const GroupLimit group{options.groups, options.group_limit, BestOfGroup(options)};
  const T* b = bias.defined() ? bias.data<T>() : nullptr;
  ForEachRow(scores.dim(0), 8 * options.experts, [&](int64_t t) {
    Candidates<T> candidates(scores.data<T>() + t * options.experts, b, options.experts);
    if (options.group_limit < options.groups) candidates.KeepBestGroups(group);
    candidates.Draw(options.top_k, indices.data<int32_t>() + t * options.top_k);
  });
}

// The factor of a token's weights: weight = factor * score.
template <class T>
double WeightFactor(const T* s, const int32_t* chosen, const RouterOptions& options) {
  if (!options.normalize) return options.route_scale;
  double sum = kRouterEpsilon;
  for (int k = 0; k < options.top_k; ++k) sum += static_cast<double>(s[chosen[k]]);
  return options.route_scale / sum;
}

Tensor Weights(const Tensor& scores, const Tensor& indices, const RouterOptions& options) {
  Tensor weights = Tensor::Empty(indices.shape(), scores.options(MemoryCategory::kActivations));
  Launch(weights.device(), "router_weights", [&] {
    DispatchFloat(weights.dtype(), [&]<class T>() {
      ForEachRow(scores.dim(0), 8 * options.top_k, [&](int64_t t) {
        const T* s = scores.data<T>() + t * options.experts;
        const int32_t* chosen = indices.data<int32_t>() + t * options.top_k;
        T* w = weights.data<T>() + t * options.top_k;
        const double factor = WeightFactor(s, chosen, options);
        for (int k = 0; k < options.top_k; ++k) {
          w[k] = static_cast<T>(factor * static_cast<double>(s[chosen[k]]));
        }
      });
    });
  });
  return weights;
}

// With w_k = r s_k / S: ds_k = r / S * (dw_k - sum_j dw_j s_j / S); zero for the others.
template <class T>
void WeightsRowBackward(const T* s, const int32_t* chosen, const T* dw, T* ds,
                        const RouterOptions& options) {
  const double factor = WeightFactor(s, chosen, options);
  double mean = 0;
  for (int k = 0; options.normalize && k < options.top_k; ++k) {
    mean += static_cast<double>(dw[k]) * static_cast<double>(s[chosen[k]]);
  }
  if (options.normalize) mean *= factor / options.route_scale;
  std::fill_n(ds, options.experts, T(0));
  for (int k = 0; k < options.top_k; ++k) {
    ds[chosen[k]] = static_cast<T>(factor * (static_cast<double>(dw[k]) - mean));
  }
}

Tensor WeightsBackward(const Tensor& scores, const Tensor& indices, const Tensor& dweights,
                       const RouterOptions& options) {
  Tensor dscores = Tensor::Empty(scores.shape(), dweights.options());
  Launch(dscores.device(), "router_weights_backward", [&] {
    DispatchFloat(dscores.dtype(), [&]<class T>() {
      ForEachRow(scores.dim(0), options.experts, [&](int64_t t) {
        WeightsRowBackward(scores.data<T>() + t * options.experts,
                           indices.data<int32_t>() + t * options.top_k,
                           dweights.data<T>() + t * options.top_k,
                           dscores.data<T>() + t * options.experts, options);
      });
    });
  });
  return dscores;
}

void CheckOptions(const Tensor& logits, const Tensor& bias, const RouterOptions& o) {
  CHECK(logits.shape().rank() == 2 && logits.dim(1) == o.experts) << logits.shape();
  CHECK(o.experts <= kMaxExperts);
  CHECK(o.top_k >= 1 && o.top_k <= o.experts) << "top " << o.top_k << " of " << o.experts;
  CHECK(o.groups >= 1 && o.groups <= kMaxGroups && o.experts % o.groups == 0)
      << o.experts << " experts in " << o.groups << " groups";
  CHECK(o.group_limit >= 1 && o.group_limit <= o.groups) << o.group_limit << " of " << o.groups;
  CHECK(o.group_limit * (o.experts / o.groups) >= o.top_k)
      << o.group_limit << " groups hold fewer than " << o.top_k << " experts";
  CHECK(BestOfGroup(o) <= kMaxBestOfGroup) << "of group_limit " << o.group_limit;
  CHECK(o.route_scale != 0);
  CHECK(!bias.defined() || (bias.NumElements() == o.experts && bias.dtype() == logits.dtype()));
}

}  // namespace

Tensor ChooseExperts(const Tensor& scores, const Tensor& bias, const RouterOptions& options) {
  Tensor indices = Tensor::Empty({scores.dim(0), options.top_k},
                                 {DType::kI32, scores.device(), MemoryCategory::kActivations});
  Launch(scores.device(), "router_choose", [&] {
    DispatchFloat(scores.dtype(), [&]<class T>() { ChooseCpu<T>(indices, scores, bias, options); });
  });
  return indices;
}

Routing Route(Tape& tape, const Var& logits, const Tensor& bias, const RouterOptions& options) {
  CheckOptions(logits.tensor(), bias, options);
  Saved logits_saved = logits.Save();
  Routing routing;
  routing.scores = tape.Compute("router.scores", [logits_saved, function = options.score] {
    return Scores(logits_saved.Get(), function);
  });
  Saved scores = routing.scores.Save();
  tape.Record({&routing.scores}, [scores, gx = logits.grad(), options](Sink& sink) {
    if (gx == nullptr) return;
    sink.Add(gx, ScoresBackward(scores.Get(), sink.OutputGrad(0), options.score));
  });
  routing.indices = tape.Compute(Tag("router.indices", true), [scores, bias, options] {
    return ChooseExperts(scores.Get(), bias, options);
  });
  const Tensor indices = routing.indices.tensor();  // a decision: always there
  routing.weights = tape.Compute("router.weights", [scores, indices, options] {
    const Tensor& s = scores.Get();
    const bool again = Replaying() && Injected(Fault::kRoutingDecidedAgain);
    return Weights(s, again ? ChooseExperts(s, {}, options) : indices, options);
  });
  tape.Record({&routing.weights},
              [scores, indices, gs = routing.scores.grad(), options](Sink& sink) {
                if (gs == nullptr) return;
                sink.Add(gs, WeightsBackward(scores.Get(), indices, sink.OutputGrad(0), options));
              });
  return routing;
}

}  // namespace choir
