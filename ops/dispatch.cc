#include "ops/dispatch.h"

#include <algorithm>

#include "ops/launch.h"
#include "ops/parallel_for.h"
#include "ops/simd.h"

namespace choir {
namespace {

int64_t CountPresent(std::span<const int32_t> expert_of, int32_t experts) {
  int64_t present = 0;
  for (int32_t e : expert_of) {
    CHECK(e >= kAbsent && e < experts) << "expert " << e << " of " << experts;
    present += e != kAbsent;
  }
  return present;
}

// Counting sort of the choices by expert. One thread: a fraction of a millisecond for 10^5.
void PlanCpu(std::span<const int32_t> expert_of, std::span<int32_t> source,
             std::span<int32_t> position, std::span<int32_t> offsets) {
  std::fill(offsets.begin(), offsets.end(), 0);
  for (int32_t e : expert_of) {
    if (e != kAbsent) ++offsets[static_cast<size_t>(e)];
  }
  int32_t end = 0;  // offsets[e] becomes the next free row of expert e
  for (int32_t& offset : offsets) {
    const int32_t count = offset;
    offset = end;
    end += count;
  }
  for (size_t i = 0; i < expert_of.size(); ++i) {
    if (expert_of[i] == kAbsent) {
      position[i] = kAbsent;
      continue;
    }
    const int32_t row = offsets[static_cast<size_t>(expert_of[i])]++;
    source[static_cast<size_t>(row)] = static_cast<int32_t>(i);
    position[i] = row;
  }
  // Each offset has moved to the begin of the next expert.
  std::copy_backward(offsets.begin(), offsets.end() - 1, offsets.end());
  offsets[0] = 0;
}

int64_t TopK(const Dispatch& dispatch) { return dispatch.position.dim(1); }

template <class T>
void PermuteCpu(const Tensor& y, const Tensor& x, const Dispatch& dispatch) {
  const int64_t width = x.dim(1), k = TopK(dispatch);
  const int32_t* source = dispatch.source.data<int32_t>();
  ParallelRanges(y.dim(0), RowGrain(width), [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      std::copy_n(x.data<T>() + source[n] / k * width, width, y.data<T>() + n * width);
    }
  });
}

// out[0, width) = sum over k of weight(k) * rows[position[k]], in the order of k and without absent
// ones, for eight vectors at a time so that sums stay in registers.
template <class T, class Weight>
void SumOfRows(T* out, const T* rows, int64_t width, std::span<const int32_t> position,
               const Weight& weight) {
  constexpr int64_t kVecs = 8;
  int64_t c = 0;
  for (; c + kVecs * kLanes <= width; c += kVecs * kLanes) {
    Vec<T> sum[kVecs] = {};
    for (size_t k = 0; k < position.size(); ++k) {
      if (position[k] == kAbsent) continue;
      const T* row = rows + position[k] * width + c;
      const T w = weight(k);
      for (int64_t v = 0; v < kVecs; ++v) sum[v] += w * Load(row + v * kLanes);
    }
    for (int64_t v = 0; v < kVecs; ++v) Store(out + c + v * kLanes, sum[v]);
  }
  ForEachVec<T>(width - c, [&](int64_t, auto load, auto store) {
    Vec<T> sum{};
    for (size_t k = 0; k < position.size(); ++k) {
      if (position[k] == kAbsent) continue;
      sum += weight(k) * load(rows + position[k] * width + c);
    }
    store(out + c, sum);
  });
}

// out[t] = sum over k of weights[t, k] * rows[position[t, k]]; weights of 1 if undefined.
template <class T>
void CombineCpu(const Tensor& out, const Tensor& rows, const Tensor& weights,
                const Dispatch& dispatch) {
  const int64_t width = out.dim(1), top_k = TopK(dispatch);
  const std::span<const int32_t> position = dispatch.position.span<const int32_t>();
  ParallelRanges(out.dim(0), RowGrain(width), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const auto places =
          position.subspan(static_cast<size_t>(t * top_k), static_cast<size_t>(top_k));
      T* to = out.data<T>() + t * width;
      if (weights.defined()) {
        const T* w = weights.data<T>() + t * top_k;
        SumOfRows(to, rows.data<T>(), width, places, [w](size_t k) { return w[k]; });
      } else {
        SumOfRows(to, rows.data<T>(), width, places, [](size_t) { return T(1); });
      }
    }
  });
}

Tensor CopyRows(const Tensor& x, const Dispatch& dispatch) {
  Tensor out =
      Tensor::Empty({dispatch.source.dim(0), x.dim(1)}, x.options(MemoryCategory::kActivations));
  Launch(out.device(), MemoryWork("permute", out, out, dispatch.source),
         [&] { DispatchFloat(out.dtype(), [&]<class T>() { PermuteCpu<T>(out, x, dispatch); }); });
  return out;
}

Tensor Combine(const Tensor& rows, const Tensor& weights, const Dispatch& dispatch) {
  Tensor out = Tensor::Empty({dispatch.position.dim(0), rows.dim(1)},
                             rows.options(MemoryCategory::kActivations));
  Launch(out.device(), MemoryWork("combine", rows, weights, dispatch.position, out), [&] {
    DispatchFloat(out.dtype(), [&]<class T>() { CombineCpu<T>(out, rows, weights, dispatch); });
  });
  return out;
}

struct UnpermuteGrads {
  Tensor dy, dweights;  // either may be undefined: not wanted
};

// With i = source[n] the choice (t, k): dy[n] = weights[i] * dout[t], dweights[i] = dout[t] . y[n].
// In sorted order, so that the large tensors are read and written in sequence.
template <class T>
void UnpermuteBackwardCpu(const UnpermuteGrads& grads, const Tensor& y, const Tensor& weights,
                          const Tensor& dout, const Dispatch& dispatch) {
  const int64_t width = dout.dim(1), top_k = TopK(dispatch);
  const int32_t* source = dispatch.source.data<int32_t>();
  ParallelRanges(y.dim(0), RowGrain(width), [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const T* from = dout.data<T>() + source[n] / top_k * width;
      if (grads.dweights.defined()) {
        grads.dweights.data<T>()[source[n]] = Dot(from, y.data<T>() + n * width, width);
      }
      if (!grads.dy.defined()) continue;
      T* to = grads.dy.data<T>() + n * width;
      const T w = weights.data<T>()[source[n]];
      ForEachVec<T>(width, [&](int64_t, auto load, auto store) { store(to, w * load(from)); });
    }
  });
}

}  // namespace

Dispatch PlanDispatch(Tape& tape, const Var& indices, int experts, int64_t meta_rows) {
  CHECK(indices.shape().rank() == 2 && indices.tensor().dtype() == DType::kI32);
  CHECK(experts > 0);
  Saved chosen = indices.Save();
  std::vector<Var> plan = tape.Compute(
      {Tag("dispatch.source", true), Tag("dispatch.position", true), Tag("dispatch.offsets", true)},
      [chosen, experts, meta_rows]() -> std::vector<Tensor> {
        const Tensor& from = chosen.Get();
        const TensorOptions options = from.options(MemoryCategory::kActivations);
        int64_t present = meta_rows >= 0 ? meta_rows : from.NumElements();
        Launch(from.device(), MemoryWork("dispatch_count", from),
               [&] { present = CountPresent(from.span<const int32_t>(), experts); });
        Tensor source = Tensor::Empty({present}, options);
        Tensor position = Tensor::Empty(from.shape(), options);
        Tensor offsets = Tensor::Empty({experts + 1}, options);
        Launch(from.device(), MemoryWork("dispatch_plan", from, source, position, offsets), [&] {
          PlanCpu(from.span<const int32_t>(), source.span<int32_t>(), position.span<int32_t>(),
                  offsets.span<int32_t>());
        });
        return {source, position, offsets};
      });
  return {plan[0].tensor(), plan[1].tensor(), plan[2].tensor()};
}

std::vector<int64_t> ExpertCounts(const Dispatch& dispatch) {
  const int64_t experts = dispatch.offsets.NumElements() - 1;
  std::vector<int64_t> counts(static_cast<size_t>(experts));
  Launch(dispatch.offsets.device(), MemoryWork("expert_counts", dispatch.offsets), [&] {
    const int32_t* offset = dispatch.offsets.data<int32_t>();
    for (size_t e = 0; e < counts.size(); ++e) counts[e] = offset[e + 1] - offset[e];
  });
  return counts;
}

std::vector<int64_t> ExpertCounts(const Tensor& indices, const Tensor& valid, int experts) {
  CHECK(indices.shape().rank() == 2);
  CHECK(!valid.defined() || valid.NumElements() == indices.dim(0));
  std::vector<int64_t> counts(static_cast<size_t>(experts));
  Launch(indices.device(), MemoryWork("expert_counts", indices, valid), [&] {
    const int64_t top_k = indices.dim(1);
    const int32_t* chosen = indices.data<int32_t>();
    for (int64_t i = 0; i < indices.NumElements(); ++i) {
      if (valid.defined() && valid.data<float>()[i / top_k] == 0) continue;
      CHECK(chosen[i] >= 0 && chosen[i] < experts) << "expert " << chosen[i] << " of " << experts;
      ++counts[static_cast<size_t>(chosen[i])];
    }
  });
  return counts;
}

GroupedLeaves LeavesOfRows(const Dispatch& dispatch, const RowLeaves& rows) {
  const size_t leaves = rows.index.size();
  CHECK(rows.bounds.size() == leaves + 1);
  CHECK(rows.bounds.front() == 0 && rows.bounds.back() == dispatch.position.dim(0))
      << rows.bounds.back() << " rows in leaves, " << dispatch.position.dim(0) << " tokens";
  GroupedLeaves grouped;
  grouped.index = rows.index;
  grouped.experts = dispatch.offsets.NumElements() - 1;
  grouped.bounds.resize(leaves * static_cast<size_t>(grouped.experts) * 2);
  Launch(dispatch.offsets.device(), MemoryWork("leaves_of_rows", dispatch.source), [&] {
    const int32_t* source = dispatch.source.data<int32_t>();
    const int32_t* offset = dispatch.offsets.data<int32_t>();
    for (int64_t e = 0; e < grouped.experts; ++e) {
      int32_t row = offset[e];
      for (size_t i = 0; i < leaves; ++i) {
        int32_t* run = grouped.bounds.data() +
                       (i * static_cast<size_t>(grouped.experts) + static_cast<size_t>(e)) * 2;
        run[0] = row;
        const int64_t end = rows.bounds[i + 1] * TopK(dispatch);  // in choices
        while (row < offset[e + 1] && source[row] < end) ++row;
        run[1] = row;
      }
    }
  });
  return grouped;
}

Var Permute(Tape& tape, const Var& x, const Dispatch& dispatch, const Tag& tag) {
  CHECK(x.shape().rank() == 2 && x.dim(0) == dispatch.position.dim(0)) << x.shape();
  Saved xs = x.Save();
  Var y = tape.Compute(tag, [xs, dispatch] { return CopyRows(xs.Get(), dispatch); });
  tape.Record({&y}, [dispatch, gx = x.grad()](Sink& sink) {
    if (gx != nullptr) sink.Add(gx, Combine(sink.OutputGrad(0), {}, dispatch));
  });
  return y;
}

Var Unpermute(Tape& tape, const Var& y, const Var& weights, const Dispatch& dispatch,
              const Tag& tag) {
  CHECK(y.shape().rank() == 2 && y.dim(0) == dispatch.source.dim(0)) << y.shape();
  CHECK(weights.shape() == dispatch.position.shape());
  Saved ys = y.Save(), ws = weights.Save();
  Var out = tape.Compute(tag, [ys, ws, dispatch] { return Combine(ys.Get(), ws.Get(), dispatch); });
  tape.Record({&out}, [ys, ws, dispatch, gy = y.grad(), gw = weights.grad()](Sink& sink) {
    const Tensor dout = sink.OutputGrad(0);
    const TensorOptions options = dout.options(MemoryCategory::kActivations);
    UnpermuteGrads grads;
    if (gy != nullptr) grads.dy = Tensor::Empty(ys.Get().shape(), options);
    const bool all = ys.Get().dim(0) == ws.Get().NumElements();
    if (gw != nullptr) {
      grads.dweights =
          all ? Tensor::Empty(ws.Get().shape(), options) : Tensor::Zeros(ws.Get().shape(), options);
    }
    const Tensor read = gw == nullptr ? Tensor() : ys.Get();
    const Work work =
        MemoryWork("unpermute_backward", dout, read, ws.Get(), grads.dy, grads.dweights);
    Launch(dout.device(), work, [&] {
      DispatchFloat(dout.dtype(), [&]<class T>() {
        UnpermuteBackwardCpu<T>(grads, ys.Get(), ws.Get(), dout, dispatch);
      });
    });
    sink.Add(gy, std::move(grads.dy));
    sink.Add(gw, std::move(grads.dweights));
  });
  return out;
}

Var SumCopies(Tape& tape, const Var& y, const Dispatch& dispatch, const Tag& tag) {
  CHECK(y.shape().rank() == 2 && y.dim(0) == dispatch.source.dim(0)) << y.shape();
  Saved ys = y.Save();
  Var out = tape.Compute(tag, [ys, dispatch] { return Combine(ys.Get(), {}, dispatch); });
  tape.Record({&out}, [dispatch, gy = y.grad()](Sink& sink) {
    if (gy != nullptr) sink.Add(gy, CopyRows(sink.OutputGrad(0), dispatch));
  });
  return out;
}

}  // namespace choir
