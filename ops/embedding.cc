#include "ops/embedding.h"

#include <algorithm>

#include "ops/launch.h"
#include "ops/parallel_for.h"
#include "ops/simd.h"

namespace choir {
namespace {

template <class T>
void GatherCpu(const Tensor& out, const Tensor& tokens, const Tensor& table) {
  const int64_t width = table.dim(1), vocabulary = table.dim(0);
  const int32_t* id = tokens.data<int32_t>();
  const T* from = table.data<T>();
  T* to = out.data<T>();
  ParallelRanges(tokens.NumElements(), RowGrain(width), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      CHECK(id[t] >= 0 && id[t] < vocabulary)
          << "token " << id[t] << " at " << t << " is outside of a vocabulary of " << vocabulary;
      std::copy_n(from + id[t] * width, width, to + t * width);
    }
  });
}

// Counting sort of rows by token: afterwards `order` holds the rows, those of one token ascending,
// and start[v] is the end of token v's rows (so that start[v - 1] is their begin).
void SortByToken(const Tensor& tokens, int32_t* start, int64_t vocabulary, int32_t* order) {
  const int32_t* id = tokens.data<int32_t>();
  const int64_t rows = tokens.NumElements();
  std::fill_n(start, vocabulary + 1, 0);
  for (int64_t t = 0; t < rows; ++t) ++start[id[t] + 1];
  for (int64_t v = 0; v < vocabulary; ++v) start[v + 1] += start[v];
  for (int64_t t = 0; t < rows; ++t) order[start[id[t]]++] = static_cast<int32_t>(t);
}

// grad[0, width) += sum of the rows of dy listed in [begin, end), summed in double.
template <class T>
void AddRows(T* grad, const T* dy, int64_t width, const int32_t* begin, const int32_t* end) {
  if (end - begin == 1) {
    const T* row = dy + *begin * width;
    ForEachVec<T>(width, [&](int64_t, auto load, auto store) {
      store(grad, load(static_cast<const T*>(grad)) + load(row));
    });
    return;
  }
  ForEachVec<T>(width, [&](int64_t, auto load, auto store) {
    Vec<double> sum{};
    for (const int32_t* t = begin; t < end; ++t) {
      sum += __builtin_convertvector(load(dy + *t * width), Vec<double>);
    }
    sum += __builtin_convertvector(load(static_cast<const T*>(grad)), Vec<double>);
    store(grad, __builtin_convertvector(sum, Vec<T>));
  });
}

// Positions of the sorted order per task; a task owns the tokens whose rows begin in its range.
constexpr int64_t kTaskRows = 64;

template <class T>
void ScatterAddCpu(const Tensor& grad, const Tensor& dy, const Tensor& tokens, const Tensor& start,
                   const Tensor& order) {
  const int64_t width = grad.dim(1), rows = tokens.NumElements();
  const int32_t* id = tokens.data<int32_t>();
  const int32_t* end_of = start.data<int32_t>();
  const int32_t* by_token = order.data<int32_t>();
  SortByToken(tokens, start.data<int32_t>(), grad.dim(0), order.data<int32_t>());
  ParallelRanges(rows, kTaskRows, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end;) {
      const int32_t token = id[by_token[i]];
      if (i == begin && i > 0 && id[by_token[i - 1]] == token) {
        i = end_of[token];  // began in an earlier task
        continue;
      }
      AddRows(grad.data<T>() + token * width, dy.data<T>(), width, by_token + i,
              by_token + end_of[token]);
      i = end_of[token];
    }
  });
}

}  // namespace

Var Embedding(Tape& tape, const Tensor& tokens, Parameter& table, const Tag& tag) {
  CHECK(tokens.dtype() == DType::kI32);
  CHECK(tokens.shape().rank() == 1 && table.value.shape().rank() == 2) << table.name;
  tape.Use(table);
  Var y = tape.Compute(tag, [tokens, &table] {
    const Tensor& value = table.value;
    Tensor out =
        Tensor::Empty({tokens.dim(0), value.dim(1)}, value.options(MemoryCategory::kActivations));
    Launch(out.device(), "embedding", [&] {
      DispatchFloat(out.dtype(), [&]<class T>() { GatherCpu<T>(out, tokens, value); });
    });
    return out;
  });
  tape.Record({&y}, [tokens, &table](Sink& sink) {
    sink.Weight(table, [tokens, dy = sink.OutputGrad(0)](const Tensor& grad) {
      const TensorOptions scratch{DType::kI32, grad.device(), MemoryCategory::kWorkspace};
      const Tensor start = Tensor::Empty({grad.dim(0) + 1}, scratch);
      const Tensor order = Tensor::Empty({tokens.dim(0)}, scratch);
      Launch(grad.device(), "embedding_backward", [&] {
        DispatchFloat(grad.dtype(),
                      [&]<class T>() { ScatterAddCpu<T>(grad, dy, tokens, start, order); });
      });
    });
  });
  return y;
}

}  // namespace choir
