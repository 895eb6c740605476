#include "ops/balance_loss.h"

#include <algorithm>

#include "ops/elementwise.h"
#include "ops/launch.h"
#include "ops/log_sum_exp.h"
#include "ops/parallel_for.h"

namespace choir {
namespace {

bool Counts(const float* valid, int64_t t) { return valid == nullptr || valid[t] != 0; }

const float* ValidData(const Tensor& valid) {
  return valid.defined() ? valid.data<float>() : nullptr;
}

int64_t CountValid(const float* valid, int64_t begin, int64_t end) {
  int64_t count = 0;
  for (int64_t t = begin; t < end; ++t) count += Counts(valid, t);
  return count;
}

void CheckValid(const Tensor& valid, int64_t rows) {
  CHECK(!valid.defined() || (valid.dtype() == DType::kF32 && valid.NumElements() == rows));
}

// A [1] tensor: the sum over rows, in order, of row_value(t) -> double.
template <class RowValue>
Tensor SumRows(const Tensor& like, const char* op, const RowValue& row_value) {
  const int64_t rows = like.dim(0);
  Tensor loss = Tensor::Empty({1}, like.options(MemoryCategory::kActivations));
  const Tensor values =
      Tensor::Empty({rows}, {DType::kF64, like.device(), MemoryCategory::kWorkspace});
  Launch(like.device(), op, [&] {
    double* value = values.data<double>();
    ParallelRanges(rows, RowGrain(like.dim(1)), [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) value[t] = row_value(t);
    });
    double sum = 0;
    for (int64_t t = 0; t < rows; ++t) sum += value[t];
    DispatchFloat(loss.dtype(), [&]<class T>() { *loss.data<T>() = static_cast<T>(sum); });
  });
  return loss;
}

// A loss that is linear in the normalised scores: the sum over valid rows t and experts i of
// slope[t / rows_per_sequence, i] * s_ti / sum_j s_tj.
struct LinearLoss {
  Tensor scores;  // [T, E]
  Tensor slope;   // [sequences, E], same dtype
  Tensor valid;

  int64_t experts() const { return scores.dim(1); }
  int64_t rows_per_sequence() const { return scores.dim(0) / slope.dim(0); }
  template <class T>
  const T* ScoreRow(int64_t t) const {
    return scores.data<T>() + t * experts();
  }
  template <class T>
  const T* SlopeRow(int64_t t) const {
    return slope.data<T>() + t / rows_per_sequence() * experts();
  }
};

template <class T>
T ScoreSum(const T* s, int64_t experts) {
  return SumOf(s, experts) + static_cast<T>(kRouterEpsilon);
}

Tensor LinearLossForward(const LinearLoss& loss) {
  return SumRows(loss.scores, "balance_loss", [&](int64_t t) {
    if (!Counts(ValidData(loss.valid), t)) return 0.0;
    double value = 0;
    DispatchFloat(loss.scores.dtype(), [&]<class T>() {
      const T* s = loss.ScoreRow<T>(t);
      value = static_cast<double>(Dot(loss.SlopeRow<T>(t), s, loss.experts()) /
                                  ScoreSum(s, loss.experts()));
    });
    return value;
  });
}

template <class T>
void LinearLossRowBackward(const LinearLoss& loss, int64_t t, T seed, T* ds) {
  if (!Counts(ValidData(loss.valid), t)) {
    std::fill_n(ds, loss.experts(), T(0));
    return;
  }
  const T* s = loss.ScoreRow<T>(t);
  const T* slope = loss.SlopeRow<T>(t);
  const T sum = ScoreSum(s, loss.experts()), mean = Dot(slope, s, loss.experts()) / sum;
  ForEachVec<T>(loss.experts(), [&](int64_t, auto load, auto store) {
    store(ds, (load(slope) - mean) * (seed / sum));
  });
}

Tensor LinearLossBackward(const LinearLoss& loss, const Tensor& seed) {
  Tensor ds = Tensor::Empty(loss.scores.shape(), loss.scores.options(MemoryCategory::kActivations));
  Launch(ds.device(), "balance_loss_backward", [&] {
    DispatchFloat(ds.dtype(), [&]<class T>() {
      ParallelRanges(ds.dim(0), RowGrain(loss.experts()), [&](int64_t begin, int64_t end) {
        for (int64_t t = begin; t < end; ++t) {
          LinearLossRowBackward(loss, t, *seed.data<T>(), ds.data<T>() + t * loss.experts());
        }
      });
    });
  });
  return ds;
}

// slope[q, i] = factor * E / (K n_q^2) * choices of expert i in sequence q: that is f_i / n_q of
// the losses, whose P_i are sums divided by n_q.
template <class T>
void SlopeOfSequence(const Tensor& slope, const Tensor& choices, const float* valid, int64_t q,
                     double factor) {
  const int64_t experts = slope.dim(1), k = choices.dim(1);
  const int64_t rows = choices.dim(0) / slope.dim(0), begin = q * rows, end = begin + rows;
  T* count = slope.data<T>() + q * experts;
  std::fill_n(count, experts, T(0));
  for (int64_t t = begin; t < end; ++t) {
    if (!Counts(valid, t)) continue;
    for (int64_t j = 0; j < k; ++j) count[choices.data<int32_t>()[t * k + j]] += T(1);
  }
  const double n = static_cast<double>(std::max<int64_t>(1, CountValid(valid, begin, end)));
  RowScale(count, static_cast<T>(factor * static_cast<double>(experts) / (double(k) * n * n)),
           experts);
}

// `choices` gives the experts that count as chosen, [T, K].
Tensor Slope(const Tensor& scores, const Tensor& choices, const Tensor& valid, int64_t sequences,
             double factor) {
  Tensor slope =
      Tensor::Empty({sequences, scores.dim(1)}, scores.options(MemoryCategory::kActivations));
  Launch(slope.device(), "balance_slope", [&] {
    DispatchFloat(slope.dtype(), [&]<class T>() {
      ParallelFor(sequences, [&](int64_t q) {
        SlopeOfSequence<T>(slope, choices, ValidData(valid), q, factor);
      });
    });
  });
  return slope;
}

// The loss with slopes that are a decision: kept, and without gradient.
Var BalanceLoss(Tape& tape, const Routing& routing, const Tensor& valid, Tape::Kernel make_slope) {
  const Tensor slope = tape.Compute(Tag("balance.slope", true), std::move(make_slope)).tensor();
  Saved scores = routing.scores.Save();
  Var loss = tape.Compute("balance.loss", [scores, slope, valid] {
    return LinearLossForward({scores.Get(), slope, valid});
  });
  tape.Record({&loss}, [scores, slope, valid, gs = routing.scores.grad()](Sink& sink) {
    if (gs == nullptr) return;
    sink.Add(gs, LinearLossBackward({scores.Get(), slope, valid}, sink.OutputGrad(0)));
  });
  return loss;
}

// factor * logsumexp(row)^2 is one row's part of the loss.
double ZLossFactor(const Tensor& valid, int64_t rows, double factor) {
  return factor / static_cast<double>(std::max<int64_t>(1, CountValid(ValidData(valid), 0, rows)));
}

Tensor ZLossForward(const Tensor& logits, const Tensor& valid, double factor) {
  double per_row = 0;
  if (logits.device() != Device::kMeta) per_row = ZLossFactor(valid, logits.dim(0), factor);
  return SumRows(logits, "router_z_loss", [&](int64_t t) {
    if (!Counts(ValidData(valid), t)) return 0.0;
    double lse = 0;
    DispatchFloat(logits.dtype(), [&]<class T>() {
      lse = RowLogSumExp(logits.data<T>() + t * logits.dim(1), logits.dim(1));
    });
    return per_row * lse * lse;
  });
}

// d(lse^2)/dx = 2 lse softmax(x).
template <class T>
void ZLossRowBackward(const T* x, T* dx, int64_t n, double factor) {
  const T high = RowMax(x, n);
  const double sum = RowExpSum<true>(x, high, dx, n);
  const double lse = static_cast<double>(high) + std::log(sum);
  RowScale(dx, static_cast<T>(2 * factor * lse / sum), n);
}

Tensor ZLossBackward(const Tensor& logits, const Tensor& valid, double factor, const Tensor& seed) {
  Tensor dx = Tensor::Empty(logits.shape(), logits.options(MemoryCategory::kActivations));
  const int64_t n = logits.dim(1);
  Launch(dx.device(), "router_z_loss_backward", [&] {
    const double per_row = ScalarValue(seed) * ZLossFactor(valid, logits.dim(0), factor);
    DispatchFloat(dx.dtype(), [&]<class T>() {
      ParallelRanges(dx.dim(0), RowGrain(n), [&](int64_t begin, int64_t end) {
        for (int64_t t = begin; t < end; ++t) {
          T* row = dx.data<T>() + t * n;
          if (Counts(ValidData(valid), t)) {
            ZLossRowBackward(logits.data<T>() + t * n, row, n, per_row);
          } else {
            std::fill_n(row, n, T(0));
          }
        }
      });
    });
  });
  return dx;
}

}  // namespace

Var SequenceBalanceLoss(Tape& tape, const Routing& routing, int64_t rows_per_sequence,
                        const Tensor& valid, double coefficient, const RouterOptions& options,
                        double scale) {
  const int64_t rows = routing.scores.dim(0);
  CHECK(rows_per_sequence > 0 && rows % rows_per_sequence == 0)
      << rows << " rows in sequences of " << rows_per_sequence;
  CheckValid(valid, rows);
  const int64_t sequences = rows / rows_per_sequence;
  const double factor = coefficient * scale / static_cast<double>(std::max<int64_t>(1, sequences));
  const RouterOptions free_choice{.experts = options.experts, .top_k = options.top_k};
  return BalanceLoss(tape, routing, valid,
                     [scores = routing.scores.Save(), free_choice, valid, sequences, factor] {
                       const Tensor choices = ChooseExperts(scores.Get(), {}, free_choice);
                       return Slope(scores.Get(), choices, valid, sequences, factor);
                     });
}

Var LoadBalanceLoss(Tape& tape, const Routing& routing, const Tensor& valid, double coefficient,
                    const RouterOptions& options, double scale) {
  CheckValid(valid, routing.scores.dim(0));
  CHECK(routing.indices.dim(1) == options.top_k);
  return BalanceLoss(
      tape, routing, valid,
      [scores = routing.scores.Save(), choices = routing.indices.tensor(), valid,
       factor = coefficient * scale] { return Slope(scores.Get(), choices, valid, 1, factor); });
}

Var RouterZLoss(Tape& tape, const Var& logits, const Tensor& valid, double coefficient,
                double scale) {
  CHECK(logits.shape().rank() == 2) << logits.shape();
  CheckValid(valid, logits.dim(0));
  Saved xs = logits.Save();
  const double factor = coefficient * scale;
  Var loss = tape.Compute("router.z_loss",
                          [xs, valid, factor] { return ZLossForward(xs.Get(), valid, factor); });
  tape.Record({&loss}, [xs, valid, factor, gx = logits.grad()](Sink& sink) {
    if (gx == nullptr) return;
    sink.Add(gx, ZLossBackward(xs.Get(), valid, factor, sink.OutputGrad(0)));
  });
  return loss;
}

}  // namespace choir
