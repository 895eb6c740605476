#include "ops/embedding.h"

#include <algorithm>

#include "ops/launch.h"
#include "ops/parallel_for.h"
#include "ops/simd.h"

namespace choir {
namespace {

template <class T>
void GatherCpu(const Tensor& out, const Tensor& tokens, const Tensor& table,
               const EmbeddingOptions& part) {
  const int64_t width = table.dim(1), rows = table.dim(0);
  const int32_t* id = tokens.data<int32_t>();
  const T* from = table.data<T>();
  T* to = out.data<T>();
  ParallelRanges(tokens.NumElements(), RowGrain(width), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      CHECK(id[t] >= 0 && id[t] < part.vocabulary)
          << "token " << id[t] << " at " << t << " is outside of a vocabulary of "
          << part.vocabulary;
      const int64_t row = id[t] - part.first_row;
      if (row >= 0 && row < rows) {
        std::copy_n(from + row * width, width, to + t * width);
      } else {
        std::fill_n(to + t * width, width, T(0));
      }
    }
  });
}

// What a range of rows adds to the gradient of a part of the table.
struct Scatter {
  Tensor tokens, dy;
  int64_t first_row;
  Tensor start, order;  // i32 [rows of the part + 1], [rows]: scratch
};

// Counting sort of the rows whose tokens are of this part by token: afterwards `order` holds them,
// those of one token ascending, and start[v] is the end of the rows of the part's row v (so that
// start[v - 1] is their begin). Returns their number.
int64_t SortByToken(const Scatter& s) {
  const int32_t* id = s.tokens.data<int32_t>();
  int32_t *start = s.start.data<int32_t>(), *order = s.order.data<int32_t>();
  const int64_t rows = s.tokens.NumElements(), vocabulary = s.start.dim(0) - 1;
  auto here = [&](int64_t t) { return id[t] >= s.first_row && id[t] < s.first_row + vocabulary; };
  std::fill_n(start, vocabulary + 1, 0);
  for (int64_t t = 0; t < rows; ++t) {
    if (here(t)) ++start[id[t] - s.first_row + 1];
  }
  for (int64_t v = 0; v < vocabulary; ++v) start[v + 1] += start[v];
  const int64_t count = start[vocabulary];
  for (int64_t t = 0; t < rows; ++t) {
    if (here(t)) order[start[id[t] - s.first_row]++] = static_cast<int32_t>(t);
  }
  return count;
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
void ScatterAddCpu(const Tensor& grad, const Scatter& s) {
  const int64_t width = grad.dim(1), count = SortByToken(s);
  const int32_t* id = s.tokens.data<int32_t>();
  const int32_t* end_of = s.start.data<int32_t>();
  const int32_t* by_token = s.order.data<int32_t>();
  ParallelRanges(count, kTaskRows, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end;) {
      const int64_t row = id[by_token[i]] - s.first_row;
      if (i == begin && i > 0 && id[by_token[i - 1]] - s.first_row == row) {
        i = end_of[row];  // began in an earlier task
        continue;
      }
      AddRows(grad.data<T>() + row * width, s.dy.data<T>(), width, by_token + i,
              by_token + end_of[row]);
      i = end_of[row];
    }
  });
}

// Reported as if all tokens were different: a row of dy, and one of the table twice.
void ScatterAdd(const Tensor& grad, const Tensor& tokens, const Tensor& dy, int64_t first_row) {
  const TensorOptions scratch{DType::kI32, grad.device(), MemoryCategory::kWorkspace};
  const Scatter scatter{tokens, dy, first_row, Tensor::Empty({grad.dim(0) + 1}, scratch),
                        Tensor::Empty({tokens.dim(0)}, scratch)};
  Launch(grad.device(), MemoryWork("embedding_backward", tokens, dy, dy, dy),
         [&] { DispatchFloat(grad.dtype(), [&]<class T>() { ScatterAddCpu<T>(grad, scatter); }); });
}

}  // namespace

Var Embedding(Tape& tape, const Tensor& tokens, Parameter& table, const EmbeddingOptions& options) {
  CHECK(tokens.dtype() == DType::kI32);
  CHECK(tokens.shape().rank() == 1 && table.shape().rank() == 2) << table.name;
  EmbeddingOptions part = options;
  if (part.vocabulary == 0) part.vocabulary = table.shape().dim(0);
  CHECK(part.first_row >= 0 && part.first_row + table.shape().dim(0) <= part.vocabulary)
      << table.name << ": row " << part.first_row << " of " << part.vocabulary;
  tape.Use(table);
  Var y = tape.Compute(part.tag, [tokens, &table, part] {
    const Tensor value = table.Value();
    Tensor out =
        Tensor::Empty({tokens.dim(0), value.dim(1)}, value.options(MemoryCategory::kActivations));
    Launch(out.device(), MemoryWork("embedding", tokens, out, out), [&] {
      DispatchFloat(out.dtype(), [&]<class T>() { GatherCpu<T>(out, tokens, value, part); });
    });
    return out;
  });
  tape.Record({&y}, [tokens, &table, first_row = part.first_row, rows = tape.rows()](Sink& sink) {
    sink.Weight(table, rows, tokens.dim(0),
                [tokens, first_row, dy = sink.OutputGrad(0)](const Tensor& grad, int64_t begin,
                                                             int64_t end) {
                  ScatterAdd(grad, tokens.Rows(begin, end - begin), dy.Rows(begin, end - begin),
                             first_row);
                });
  });
  return y;
}

}  // namespace choir
