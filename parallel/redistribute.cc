#include "parallel/redistribute.h"

#include <numeric>

#include "base/fault.h"
#include "ops/elementwise.h"

namespace choir {
namespace {

bool Whole(Spread spread) {
  return spread == Spread::kReplicated || spread == Spread::kReplicatedPartialGrad;
}

std::vector<int64_t> Elements(const std::vector<int64_t>& rows, int64_t width) {
  std::vector<int64_t> counts = rows;
  for (int64_t& n : counts) n *= width;
  return counts;
}

int64_t RowsBefore(const RowMove& move) {
  return std::accumulate(move.rows.begin(), move.rows.begin() + move.group->rank(), int64_t{0});
}

int64_t Width(const Tensor& x) {
  int64_t width = 1;
  for (int d = 1; d < x.shape().rank(); ++d) width *= x.dim(d);
  return width;
}

}  // namespace

Spread Dual(Spread spread) {
  switch (spread) {
    case Spread::kSplit:
      return Spread::kSplit;
    case Spread::kPartial:
    case Spread::kReplicated:
      return Spread::kReplicated;
    case Spread::kReplicatedPartialGrad:
      return Spread::kPartial;
  }
  CHECK(false) << "spread " << static_cast<int>(spread);
  __builtin_unreachable();
}

Tensor Redistribute(const Tensor& x, const RowMove& move) {
  if (move.group == nullptr || move.from == move.to) return x;
  if (Whole(move.from) && Whole(move.to)) return x;
  const int64_t total = std::accumulate(move.rows.begin(), move.rows.end(), int64_t{0});
  const int64_t mine = move.rows[static_cast<size_t>(move.group->rank())];
  CHECK(x.dim(0) == (move.from == Spread::kSplit ? mine : total)) << x.shape();
  const TensorOptions options = x.options(MemoryCategory::kActivations);
  const std::vector<int64_t> counts = Elements(move.rows, Width(x));
  if (move.from == Spread::kSplit) {
    CHECK(Whole(move.to)) << "a piece cannot become a part of a sum";
    Tensor all = Tensor::Empty(x.shape().With(0, total), options);
    move.group->AllGather(all, x, counts).Wait();
    return all;
  }
  if (move.from == Spread::kPartial) {
    // The collectives overwrite what they are given.
    const Tensor sum = CopyOf(x, MemoryCategory::kCommunication);
    if (Whole(move.to)) {
      move.group->AllReduce(sum, ReduceOp::kSum).Wait();
      return sum;
    }
    if (Injected(Fault::kPartialNotSummed)) return sum.Rows(RowsBefore(move), mine);
    Tensor piece = Tensor::Empty(x.shape().With(0, mine), options);
    move.group->ReduceScatter(piece, sum, counts).Wait();
    return piece;
  }
  CHECK(move.to == Spread::kSplit) << "a copy cannot become a part of a sum";
  return x.Rows(RowsBefore(move), mine);
}

Var Redistribute(Tape& tape, const Var& x, const RowMove& move, const Tag& tag) {
  if (move.group == nullptr || move.from == move.to) return x;
  Saved xs = x.Save();
  Var y = tape.Compute(tag, [xs, move] { return Redistribute(xs.Get(), move); });
  tape.Record({&y}, [gx = x.grad(), back = move.Backward()](Sink& sink) {
    if (gx == nullptr) return;
    const Tensor grad = Redistribute(sink.OutputGrad(0), back);
    if (back.from == Spread::kPartial && Injected(Fault::kGatherGradientScaled)) {
      ScaleInPlace(grad, 1.0 / back.group->size());
    }
    sink.Add(gx, grad);
  });
  return y;
}

}  // namespace choir
