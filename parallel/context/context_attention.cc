#include "parallel/context/context_attention.h"

#include <algorithm>

#include "base/fault.h"
#include "ops/attention.h"
#include "ops/launch.h"
#include "parallel/context/ring_attention.h"

namespace choir {
namespace {

// Dim 0 of [rows, groups, width] is cut over the members by `rows`, or dim 1 by pieces of `groups`.
struct Trade {
  Communicator* group;
  std::vector<int64_t> rows;  // of each member
  int64_t groups;             // of all members
  int64_t width;

  int64_t GroupBegin(int64_t i) const { return PieceBegin(groups, group->size(), i); }
  int64_t Groups(int64_t i) const { return GroupBegin(i + 1) - GroupBegin(i); }
  int64_t MyRows() const { return rows[static_cast<size_t>(group->rank())]; }
  int64_t MyGroups() const { return Groups(group->rank()); }
  int64_t AllRows() const {
    int64_t n = 0;
    for (int64_t r : rows) n += r;
    return n;
  }
};

// Copies between [rows, groups, width] and a dense block of some of its groups.
template <bool kPack>
void CopyBlock(const Tensor& all, int64_t group_begin, int64_t groups, const Tensor& block) {
  const int64_t bytes = SizeOf(all.dtype()) * all.dim(2);
  const int64_t run = groups * bytes, stride = all.dim(1) * bytes;
  auto* a = static_cast<char*>(all.raw()) + group_begin * bytes;
  auto* b = static_cast<char*>(block.raw());
  for (int64_t r = 0; r < all.dim(0); ++r) {
    char* whole = a + r * stride;
    char* part = b + r * run;
    std::memcpy(kPack ? part : whole, kPack ? whole : part, static_cast<size_t>(run));
  }
}

// What member i gets of this rank's rows ([my rows, its groups]) and gives of its own ([its rows,
// my groups]).
struct Counts {
  std::vector<int64_t> by_groups, by_rows;

  explicit Counts(const Trade& trade) {
    for (int i = 0; i < trade.group->size(); ++i) {
      by_groups.push_back(trade.MyRows() * trade.Groups(i) * trade.width);
      by_rows.push_back(trade.rows[static_cast<size_t>(i)] * trade.MyGroups() * trade.width);
    }
  }
};

template <bool kPack>
void CopyByGroups(const Trade& trade, const Tensor& x, const Tensor& flat) {
  const Counts counts(trade);
  int64_t at = 0;
  for (int i = 0; i < trade.group->size(); ++i) {
    const int64_t n = counts.by_groups[static_cast<size_t>(i)];
    if (n > 0) CopyBlock<kPack>(x, trade.GroupBegin(i), trade.Groups(i), flat.Rows(at, n));
    at += n;
  }
}

// [my rows, all groups, width] -> [all rows, my groups, width].
Tensor ToGroups(const Tensor& x, const Trade& trade) {
  const Counts counts(trade);
  const Tensor packed = Tensor::Empty({x.NumElements()}, x.options(MemoryCategory::kCommunication));
  Tensor y = Tensor::Empty({trade.AllRows(), trade.MyGroups(), trade.width},
                           x.options(MemoryCategory::kActivations));
  Launch(x.device(), MemoryWork("context_pack", x, packed),
         [&] { CopyByGroups<true>(trade, x, packed); });
  trade.group->AllToAll(y, counts.by_rows, packed, counts.by_groups).Wait();
  return y;
}

Tensor ToRows(const Tensor& y, const Trade& trade) {
  const Counts counts(trade);
  const Tensor packed = Tensor::Empty({trade.MyRows() * trade.groups * trade.width},
                                      y.options(MemoryCategory::kCommunication));
  Tensor x = Tensor::Empty({trade.MyRows(), trade.groups, trade.width},
                           y.options(MemoryCategory::kActivations));
  trade.group->AllToAll(packed, counts.by_groups, y, counts.by_rows).Wait();
  Launch(x.device(), MemoryWork("context_unpack", x, packed),
         [&] { CopyByGroups<false>(trade, x, packed); });
  return x;
}

Var TradeForGroups(Tape& tape, const Var& x, const Trade& trade) {
  Saved xs = x.Save();
  Var y = tape.Compute("context.to_groups", [xs, trade] { return ToGroups(xs.Get(), trade); });
  tape.Record({&y}, [gx = x.grad(), trade](Sink& sink) {
    if (gx != nullptr) sink.Add(gx, ToRows(sink.OutputGrad(0), trade));
  });
  return y;
}

Var TradeForRows(Tape& tape, const Var& y, const Trade& trade) {
  Saved ys = y.Save();
  Var x = tape.Compute("context.to_rows", [ys, trade] { return ToRows(ys.Get(), trade); });
  tape.Record({&x}, [gy = y.grad(), trade](Sink& sink) {
    if (gy != nullptr) sink.Add(gy, ToGroups(sink.OutputGrad(0), trade));
  });
  return x;
}

// The documents that attention keeps apart: `whole`, but for an injected fault.
std::shared_ptr<const std::vector<int32_t>> Documents(
    const std::shared_ptr<const std::vector<int32_t>>& whole, const Trade& trade) {
  if (!Injected(Fault::kBoundariesOfPiece)) return whole;
  auto cut = std::make_shared<std::vector<int32_t>>(*whole);
  int64_t end = 0;
  for (int64_t rows : trade.rows) cut->push_back(static_cast<int32_t>(end += rows));
  std::sort(cut->begin(), cut->end());
  return cut;
}

}  // namespace

Var ContextAttention(Tape& tape, const Var& qkv, const ContextAttentionInput& input,
                     const Place& place) {
  if (place.Size(Axis::kContext) == 1) {
    return CausalAttention(tape, qkv, input.boundaries, input.scale);
  }
  if (place.ring()) return RingAttention(tape, qkv, input, place);
  const int64_t tokens = qkv.dim(0), groups = qkv.dim(1), heads = qkv.dim(2) - 2, dim = qkv.dim(3);
  Communicator& group = place.Group(Axis::kContext);
  std::vector<int64_t> rows_of;
  for (const RowRuns& runs : input.tokens->context_runs) rows_of.push_back(NumRows(runs));
  const Trade in{&group, rows_of, groups, (heads + 2) * dim};
  const Trade back{&group, rows_of, groups, heads * dim};
  const Var rows = tape.Reshape(qkv, {tokens, groups, in.width});
  const Var traded =
      tape.Reshape(TradeForGroups(tape, rows, in), {in.AllRows(), in.MyGroups(), heads + 2, dim});
  const Var mixed = CausalAttention(tape, traded, Documents(input.boundaries, in), input.scale);
  const Var returned =
      TradeForRows(tape, tape.Reshape(mixed, {back.AllRows(), back.MyGroups(), back.width}), back);
  return tape.Reshape(returned, {tokens, groups * back.width});
}

}  // namespace choir
