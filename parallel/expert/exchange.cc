#include "parallel/expert/exchange.h"

#include <numeric>

#include "base/fault.h"
#include "ops/elementwise.h"
#include "ops/launch.h"
#include "ops/parallel_for.h"

namespace choir {
namespace {

constexpr AxisSet kExchangeAxes{Axis::kExpert, Axis::kExpertTensor};
constexpr TensorOptions kCounts{DType::kI32, Device::kCpu, MemoryCategory::kWorkspace};

int64_t Sum(const std::vector<int64_t>& v) {
  return std::accumulate(v.begin(), v.end(), int64_t{0});
}

std::vector<int64_t> Scaled(const std::vector<int64_t>& rows, int64_t width) {
  std::vector<int64_t> counts = rows;
  for (int64_t& n : counts) n *= width;
  return counts;
}

// Who holds which experts.
struct Owners {
  int64_t experts, groups, parts;
  int64_t Begin(int64_t member) const { return PieceBegin(experts, groups, member / parts); }
  int64_t End(int64_t member) const { return PieceBegin(experts, groups, member / parts + 1); }
  int64_t Count(int64_t member) const { return End(member) - Begin(member); }
};

// i32[leaves, experts]: rows of each leaf and expert among the sorted ones of this rank. One leaf
// in fast mode.
Tensor CountRows(const Dispatch& dispatch, const RowLeaves* rows, int64_t experts) {
  const int64_t leaves = rows != nullptr ? static_cast<int64_t>(rows->index.size()) : 1;
  Tensor counts = Tensor::Zeros({leaves, experts}, kCounts);
  int32_t* n = counts.data<int32_t>();
  if (rows == nullptr) {
    const int32_t* offset = dispatch.offsets.data<int32_t>();
    for (int64_t e = 0; e < experts; ++e) n[e] = offset[e + 1] - offset[e];
    return counts;
  }
  const GroupedLeaves grouped = LeavesOfRows(dispatch, *rows);
  for (int64_t l = 0; l < leaves; ++l) {
    for (int64_t e = 0; e < experts; ++e) {
      n[l * experts + e] = static_cast<int32_t>(grouped.End(l, e) - grouped.Begin(l, e));
    }
  }
  return counts;
}

// Everyone's counts of the experts that are here: [members][leaves, local experts], and everyone's
// leaf positions.
struct Announced {
  int64_t members = 0, leaves = 0, experts = 0;
  std::vector<int32_t> counts;  // [members, leaves, experts]
  std::vector<int64_t> index;   // [members, leaves]

  int64_t Rows(int64_t member, int64_t leaf, int64_t expert) const {
    return counts[static_cast<size_t>((member * leaves + leaf) * experts + expert)];
  }
};

Announced Announce(const Tensor& counts, const RowLeaves* rows, const Owners& owners,
                   Communicator& group) {
  const int64_t leaves = counts.dim(0), experts = counts.dim(1), members = group.size();
  const int64_t local = owners.Count(group.rank());
  std::vector<int64_t> send, recv(static_cast<size_t>(members), leaves * local);
  std::vector<int32_t> packed;
  for (int64_t m = 0; m < members; ++m) {
    send.push_back(leaves * owners.Count(m));
    for (int64_t l = 0; l < leaves; ++l) {
      const int32_t* row = counts.data<int32_t>() + l * experts;
      packed.insert(packed.end(), row + owners.Begin(m), row + owners.End(m));
    }
  }
  const auto in = Tensor::From<int32_t>({static_cast<int64_t>(packed.size())}, packed,
                                        MemoryCategory::kCommunication);
  const Tensor out = Tensor::Empty({Sum(recv)}, kCounts);
  group.AllToAll(out, recv, in, send).Wait();
  Announced all{members, leaves, local, {}, {}};
  const auto received = out.span<const int32_t>();
  all.counts.assign(received.begin(), received.end());
  if (rows == nullptr) return all;
  const Tensor mine = Tensor::Empty({leaves}, kCounts),
               index = Tensor::Empty({members * leaves}, kCounts);
  for (int64_t l = 0; l < leaves; ++l) {
    mine.data<int32_t>()[l] = static_cast<int32_t>(rows->index[static_cast<size_t>(l)]);
  }
  const std::vector<int64_t> each(static_cast<size_t>(members), leaves);
  group.AllGather(index, mine, each).Wait();
  const auto positions = index.span<const int32_t>();
  all.index.assign(positions.begin(), positions.end());
  return all;
}

// Rows arrive by (member, expert, order at the sender), where the order at the sender is by leaf.
// Fills order, offsets and leaves.
void OrderArrivals(const Announced& all, bool invariant, ExpertExchange& exchange) {
  exchange.order = Tensor::Empty({Sum(exchange.recv_rows)}, kCounts);
  exchange.offsets = Tensor::Empty({all.experts + 1}, kCounts);
  auto leaves = std::make_shared<GroupedLeaves>();
  leaves->index = all.index;
  leaves->experts = all.experts;
  leaves->bounds.resize(static_cast<size_t>(all.members * all.leaves * all.experts * 2));
  // Where each member's rows of the current expert begin among the arrivals.
  std::vector<int64_t> next(static_cast<size_t>(all.members), 0);
  for (int64_t m = 1; m < all.members; ++m) {
    next[static_cast<size_t>(m)] =
        next[static_cast<size_t>(m - 1)] + exchange.recv_rows[static_cast<size_t>(m - 1)];
  }
  if (all.members > 1 && Injected(Fault::kSourcesSwapped)) {
    next[0] = exchange.recv_rows[1];
    next[1] = 0;
  }
  int32_t* order = exchange.order.data<int32_t>();
  int64_t row = 0;
  for (int64_t e = 0; e < all.experts; ++e) {
    exchange.offsets.data<int32_t>()[e] = static_cast<int32_t>(row);
    for (int64_t m = 0; m < all.members; ++m) {
      for (int64_t l = 0; l < all.leaves; ++l) {
        const auto place = static_cast<size_t>(((m * all.leaves + l) * all.experts + e) * 2);
        leaves->bounds[place] = static_cast<int32_t>(row);
        for (int64_t i = all.Rows(m, l, e); i > 0; --i) {
          order[row++] = static_cast<int32_t>(next[static_cast<size_t>(m)]++);
        }
        leaves->bounds[place + 1] = static_cast<int32_t>(row);
      }
    }
  }
  exchange.offsets.data<int32_t>()[all.experts] = static_cast<int32_t>(row);
  if (invariant) exchange.leaves = std::move(leaves);
}

// y[i] = x[order[i]], or y[order[i]] = x[i].
template <bool kGather>
Tensor Reorder(const Tensor& x, const Tensor& order) {
  Tensor y = Tensor::Empty(x.shape(), x.options(MemoryCategory::kActivations));
  Launch(x.device(), "exchange_order", [&] {
    DispatchFloat(x.dtype(), [&]<class T>() {
      const int64_t width = x.dim(1);
      const int32_t* at = order.data<int32_t>();
      const T* from = x.data<T>();
      T* to = y.data<T>();
      ParallelRanges(x.dim(0), RowGrain(width), [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          const int64_t source = kGather ? at[i] : i, target = kGather ? i : at[i];
          std::copy_n(from + source * width, width, to + target * width);
        }
      });
    });
  });
  return y;
}

// The rows of each member's experts, one member after another: those of an expert once per part.
Tensor PackForMembers(const Tensor& sorted, const ExpertExchange& exchange) {
  if (exchange.parts == 1) return sorted;
  const Tensor packed = Tensor::Empty({Sum(exchange.send_rows), sorted.dim(1)},
                                      sorted.options(MemoryCategory::kCommunication));
  int64_t from = 0, to = 0;
  for (size_t m = 0; m < exchange.send_rows.size(); ++m) {
    const int64_t rows = exchange.send_rows[m];
    packed.Rows(to, rows).CopyFrom(sorted.Rows(from, rows));
    to += rows;
    if (static_cast<int>(m) % exchange.parts == exchange.parts - 1) from += rows;
  }
  return packed;
}

// Adds parts [first, first + count) as a balanced binary tree; the first part's tensor is the sum.
Tensor AddParts(std::vector<Tensor>& parts, size_t first, size_t count) {
  if (count == 1) return parts[first];
  const size_t half = count / 2;
  const Tensor left = AddParts(parts, first, half);
  AddInto(left, AddParts(parts, first + half, count - half));
  return left;
}

// The other way: what came from the members of one expert is added up.
Tensor SumOverParts(const Tensor& packed, const ExpertExchange& exchange) {
  if (exchange.parts == 1) return packed;
  Tensor sorted = Tensor::Empty({exchange.sorted_rows, packed.dim(1)},
                                packed.options(MemoryCategory::kActivations));
  const auto parts = static_cast<size_t>(exchange.parts);
  int64_t from = 0, to = 0;
  for (size_t m = 0; m < exchange.send_rows.size(); m += parts) {
    const int64_t rows = exchange.send_rows[m];
    std::vector<Tensor> pieces;
    for (size_t t = 0; t < parts; ++t) {
      pieces.push_back(packed.Rows(from + static_cast<int64_t>(t) * rows, rows));
    }
    const size_t added = Injected(Fault::kPartsNotSummed) ? 1 : parts;
    if (rows > 0) sorted.Rows(to, rows).CopyFrom(AddParts(pieces, 0, added));
    from += static_cast<int64_t>(parts) * rows;
    to += rows;
  }
  return sorted;
}

Tensor SendToExperts(const Tensor& sorted, const ExpertExchange& exchange) {
  const int64_t width = sorted.dim(1);
  CHECK(sorted.dim(0) == exchange.sorted_rows);
  const Tensor packed = PackForMembers(sorted, exchange);
  const Tensor arrived = Tensor::Empty({Sum(exchange.recv_rows), width},
                                       sorted.options(MemoryCategory::kCommunication));
  exchange.group
      ->AllToAll(arrived, Scaled(exchange.recv_rows, width), packed,
                 Scaled(exchange.send_rows, width))
      .Wait();
  return Reorder<true>(arrived, exchange.order);
}

Tensor SendBack(const Tensor& rows, const ExpertExchange& exchange) {
  const int64_t width = rows.dim(1);
  const Tensor leaving = Reorder<false>(rows, exchange.order);
  const Tensor returned =
      Tensor::Empty({Sum(exchange.send_rows), width}, rows.options(MemoryCategory::kCommunication));
  exchange.group
      ->AllToAll(returned, Scaled(exchange.send_rows, width), leaving,
                 Scaled(exchange.recv_rows, width))
      .Wait();
  return SumOverParts(returned, exchange);
}

}  // namespace

ExpertExchange PlanExchange(Tape& tape, const Dispatch& dispatch, int experts, const Place& place) {
  ExpertExchange exchange;
  exchange.sorted_rows = dispatch.source.NumElements();
  const RowLeaves* rows = tape.rows().get();
  if (place.Size(kExchangeAxes) == 1) {
    exchange.offsets = dispatch.offsets;
    if (rows != nullptr) {
      exchange.leaves = std::make_shared<GroupedLeaves>(LeavesOfRows(dispatch, *rows));
    }
    return exchange;
  }
  exchange.group = &place.Group(kExchangeAxes);
  exchange.parts = place.Size(Axis::kExpertTensor);
  const Owners owners{experts, place.Size(Axis::kExpert), exchange.parts};
  const int32_t* offset = dispatch.offsets.data<int32_t>();
  for (int64_t m = 0; m < exchange.group->size(); ++m) {
    exchange.send_rows.push_back(offset[owners.End(m)] - offset[owners.Begin(m)]);
  }
  const Announced all = Announce(CountRows(dispatch, rows, experts), rows, owners, *exchange.group);
  for (int64_t m = 0; m < all.members; ++m) {
    int64_t arriving = 0;
    for (int64_t i = 0; i < all.leaves * all.experts; ++i) {
      arriving += all.counts[static_cast<size_t>(m * all.leaves * all.experts + i)];
    }
    exchange.recv_rows.push_back(arriving);
  }
  OrderArrivals(all, rows != nullptr, exchange);
  return exchange;
}

Var ToExperts(Tape& tape, const Var& sorted, const ExpertExchange& exchange, const Tag& tag) {
  if (exchange.group == nullptr) return sorted;
  Saved xs = sorted.Save();
  Var y = tape.Compute(tag, [xs, exchange] { return SendToExperts(xs.Get(), exchange); });
  tape.Record({&y}, [gx = sorted.grad(), exchange](Sink& sink) {
    if (gx != nullptr) sink.Add(gx, SendBack(sink.OutputGrad(0), exchange));
  });
  return y;
}

Var FromExperts(Tape& tape, const Var& rows, const ExpertExchange& exchange, const Tag& tag) {
  if (exchange.group == nullptr) return rows;
  Saved xs = rows.Save();
  Var y = tape.Compute(tag, [xs, exchange] { return SendBack(xs.Get(), exchange); });
  tape.Record({&y}, [gx = rows.grad(), exchange](Sink& sink) {
    if (gx != nullptr) sink.Add(gx, SendToExperts(sink.OutputGrad(0), exchange));
  });
  return y;
}

}  // namespace choir
