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

// The rows that are here, and the sequences of the microbatch they belong to.
struct Rows {
  Tensor valid;
  RowRuns runs;
  int64_t per_sequence, sequences;
  RankGroup* group;

  // Calls body(t) for the rows t of sequence q that are here.
  template <class Body>
  void ForEachOf(int64_t q, Body&& body) const {
    for (const RowRun& run : runs) {
      const int64_t begin = std::max(run.begin, q * per_sequence);
      const int64_t end = std::min(run.begin + run.count, (q + 1) * per_sequence);
      for (int64_t row = begin; row < end; ++row) body(run.here + row - run.begin);
    }
  }
  int64_t SequenceOf(int64_t t) const {
    const auto after = [](int64_t row, const RowRun& run) { return row < run.here; };
    const RowRun& run = *std::prev(std::upper_bound(runs.begin(), runs.end(), t, after));
    return (run.begin + t - run.here) / per_sequence;
  }
};

// `per_sequence` 0: the microbatch is one sequence.
Rows MakeRows(const BalanceInput& in, int64_t rows, int64_t per_sequence) {
  CHECK(!in.valid.defined() || (in.valid.dtype() == DType::kF32 && in.valid.NumElements() == rows));
  const int64_t total = in.total_rows > 0 ? in.total_rows : rows;
  RowRuns runs = in.runs;
  if (in.total_rows == 0) AppendRows(runs, 0, rows);
  CHECK(NumRows(runs) == rows) << rows << " rows, but the runs have " << NumRows(runs);
  CHECK(runs.empty() || runs.back().begin + runs.back().count <= total)
      << "rows up to " << runs.back().begin + runs.back().count << " of " << total;
  if (per_sequence == 0) per_sequence = std::max<int64_t>(1, total);
  CHECK(per_sequence > 0 && total % per_sequence == 0)
      << total << " rows in sequences of " << per_sequence;
  return {in.valid, std::move(runs), per_sequence, std::max<int64_t>(1, total / per_sequence),
          in.token_group};
}

// A [1] tensor: the sum over rows, in order, of row_value(t) -> double.
template <class RowValue>
Tensor SumRows(const Tensor& like, const char* op, const RowValue& row_value) {
  const int64_t rows = like.dim(0);
  Tensor loss = Tensor::Empty({1}, like.options(MemoryCategory::kActivations));
  const Tensor values =
      Tensor::Empty({rows}, {DType::kF64, like.device(), MemoryCategory::kWorkspace});
  Launch(like.device(), MemoryWork(op, like, values), [&] {
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
// slope[sequence of t, i] * s_ti / sum_j s_tj.
struct LinearLoss {
  Tensor scores;  // [T, E]
  Tensor slope;   // [sequences, E], same dtype
  Rows rows;

  int64_t experts() const { return scores.dim(1); }
  bool Counts(int64_t t) const { return choir::Counts(ValidData(rows.valid), t); }
  template <class T>
  const T* ScoreRow(int64_t t) const {
    return scores.data<T>() + t * experts();
  }
  template <class T>
  const T* SlopeRow(int64_t t) const {
    return slope.data<T>() + rows.SequenceOf(t) * experts();
  }
};

template <class T>
T ScoreSum(const T* s, int64_t experts) {
  return SumOf(s, experts) + static_cast<T>(kRouterEpsilon);
}

Tensor LinearLossForward(const LinearLoss& loss) {
  return SumRows(loss.scores, "balance_loss", [&](int64_t t) {
    if (!loss.Counts(t)) return 0.0;
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
  if (!loss.Counts(t)) {
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
  Launch(ds.device(), MemoryWork("balance_loss_backward", loss.scores, ds), [&] {
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

// f64[sequences, E + 1]: of each sequence how often its valid tokens chose each expert, and their
// number, over all ranks. `choices` gives the experts that count as chosen, [T, K].
Tensor CountChoices(const Tensor& choices, const Rows& rows, int64_t experts) {
  const Tensor counts = Tensor::Zeros({rows.sequences, experts + 1},
                                      {DType::kF64, choices.device(), MemoryCategory::kWorkspace});
  Launch(counts.device(), MemoryWork("balance_counts", choices, counts), [&] {
    const float* valid = ValidData(rows.valid);
    const int64_t k = choices.dim(1);
    ParallelFor(rows.sequences, [&](int64_t q) {
      double* count = counts.data<double>() + q * (experts + 1);
      rows.ForEachOf(q, [&](int64_t t) {
        if (!Counts(valid, t)) return;
        for (int64_t j = 0; j < k; ++j) ++count[choices.data<int32_t>()[t * k + j]];
        ++count[experts];
      });
    });
  });
  if (rows.group != nullptr) rows.group->Sum(counts);
  return counts;
}

// slope[q, i] = factor * E / (K n_q^2) * choices of expert i in sequence q: that is f_i / n_q of
// the losses, whose P_i are sums divided by n_q.
Tensor Slope(const Tensor& scores, const Tensor& choices, const Rows& rows, double factor) {
  const int64_t experts = scores.dim(1), k = choices.dim(1);
  const Tensor counts = CountChoices(choices, rows, experts);
  Tensor slope =
      Tensor::Empty({rows.sequences, experts}, scores.options(MemoryCategory::kActivations));
  Launch(slope.device(), MemoryWork("balance_slope", counts, slope), [&] {
    DispatchFloat(slope.dtype(), [&]<class T>() {
      for (int64_t q = 0; q < rows.sequences; ++q) {
        const double* count = counts.data<double>() + q * (experts + 1);
        const double n = std::max(1.0, count[experts]);
        const double unit = factor * static_cast<double>(experts) / (double(k) * n * n);
        T* row = slope.data<T>() + q * experts;
        for (int64_t e = 0; e < experts; ++e)
          row[e] = static_cast<T>(count[e]) * static_cast<T>(unit);
      }
    });
  });
  return slope;
}

// The loss with slopes that are a decision: kept, and without gradient.
Var BalanceLoss(Tape& tape, const Routing& routing, const Rows& rows, Tape::Kernel make_slope) {
  const Tensor slope = tape.Compute(Tag("balance.slope", true), std::move(make_slope)).tensor();
  Saved scores = routing.scores.Save();
  Var loss = tape.Compute("balance.loss", [scores, slope, rows] {
    return LinearLossForward({scores.Get(), slope, rows});
  });
  tape.Record({&loss}, [scores, slope, rows, gs = routing.scores.grad()](Sink& sink) {
    if (gs == nullptr) return;
    sink.Add(gs, LinearLossBackward({scores.Get(), slope, rows}, sink.OutputGrad(0)));
  });
  return loss;
}

// The z-loss: factor / count * logsumexp(row)^2 is one row's part. `count`, f64[1], is that of the
// valid tokens of all ranks.
struct ZLoss {
  Tensor logits, valid, count;
  double factor;

  double PerRow() const { return factor / std::max(1.0, *count.data<double>()); }
};

Tensor CountValid(const Rows& rows, const Tensor& logits) {
  const Tensor count =
      Tensor::Empty({1}, {DType::kF64, logits.device(), MemoryCategory::kActivations});
  Launch(count.device(), MemoryWork("count_valid", rows.valid, count), [&] {
    double valid = 0;
    for (int64_t t = 0; t < logits.dim(0); ++t) valid += Counts(ValidData(rows.valid), t);
    *count.data<double>() = valid;
  });
  if (rows.group != nullptr) rows.group->Sum(count);
  return count;
}

Tensor ZLossForward(const ZLoss& loss) {
  const Tensor& logits = loss.logits;
  return SumRows(logits, "router_z_loss", [&](int64_t t) {
    if (!Counts(ValidData(loss.valid), t)) return 0.0;
    double lse = 0;
    DispatchFloat(logits.dtype(), [&]<class T>() {
      lse = RowLogSumExp(logits.data<T>() + t * logits.dim(1), logits.dim(1));
    });
    return loss.PerRow() * lse * lse;
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

Tensor ZLossBackward(const ZLoss& loss, const Tensor& seed) {
  const Tensor& logits = loss.logits;
  Tensor dx = Tensor::Empty(logits.shape(), logits.options(MemoryCategory::kActivations));
  const int64_t n = logits.dim(1);
  Launch(dx.device(), MemoryWork("router_z_loss_backward", logits, dx), [&] {
    const double per_row = ScalarValue(seed) * loss.PerRow();
    DispatchFloat(dx.dtype(), [&]<class T>() {
      ParallelRanges(dx.dim(0), RowGrain(n), [&](int64_t begin, int64_t end) {
        for (int64_t t = begin; t < end; ++t) {
          T* row = dx.data<T>() + t * n;
          if (Counts(ValidData(loss.valid), t)) {
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

Var SequenceBalanceLoss(Tape& tape, const Routing& routing, const BalanceInput& input) {
  CHECK(input.rows_per_sequence > 0) << input.rows_per_sequence << " rows in a sequence";
  const Rows rows = MakeRows(input, routing.scores.dim(0), input.rows_per_sequence);
  const double factor = input.coefficient * input.scale / static_cast<double>(rows.sequences);
  const RouterOptions free_choice{.experts = input.options.experts, .top_k = input.options.top_k};
  return BalanceLoss(tape, routing, rows,
                     [scores = routing.scores.Save(), free_choice, rows, factor] {
                       const Tensor choices = ChooseExperts(scores.Get(), {}, free_choice);
                       return Slope(scores.Get(), choices, rows, factor);
                     });
}

Var LoadBalanceLoss(Tape& tape, const Routing& routing, const BalanceInput& input) {
  CHECK(routing.indices.dim(1) == input.options.top_k);
  const Rows rows = MakeRows(input, routing.scores.dim(0), 0);
  return BalanceLoss(tape, routing, rows,
                     [scores = routing.scores.Save(), choices = routing.indices.tensor(), rows,
                      factor = input.coefficient * input.scale] {
                       return Slope(scores.Get(), choices, rows, factor);
                     });
}

Var RouterZLoss(Tape& tape, const Var& logits, const BalanceInput& input) {
  CHECK(logits.shape().rank() == 2) << logits.shape();
  const Rows rows = MakeRows(input, logits.dim(0), 0);
  Saved xs = logits.Save();
  const Tensor count =
      tape.Compute(Tag("router.valid", true), [xs, rows] { return CountValid(rows, xs.Get()); })
          .tensor();
  auto loss_of = [xs, valid = input.valid, count, factor = input.coefficient * input.scale] {
    return ZLoss{xs.Get(), valid, count, factor};
  };
  Var loss = tape.Compute("router.z_loss", [loss_of] { return ZLossForward(loss_of()); });
  tape.Record({&loss}, [loss_of, gx = logits.grad()](Sink& sink) {
    if (gx == nullptr) return;
    sink.Add(gx, ZLossBackward(loss_of(), sink.OutputGrad(0)));
  });
  return loss;
}

}  // namespace choir
