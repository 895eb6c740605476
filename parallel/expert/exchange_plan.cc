#include "parallel/expert/exchange_plan.h"

#include <algorithm>
#include <numeric>

#include "base/fault.h"

namespace choir {

int64_t TotalRows(const std::vector<int64_t>& rows) {
  return std::accumulate(rows.begin(), rows.end(), int64_t{0});
}
namespace {

constexpr AxisSet kExchangeAxes{Axis::kExpert, Axis::kExpertTensor};
TensorOptions CountsOn(Device device) { return {DType::kI32, device, MemoryCategory::kWorkspace}; }

Device DeviceOf(const Dispatch& dispatch) { return dispatch.offsets.device(); }

// i32[leaves, experts]: rows of each leaf and expert among the sorted ones of this rank. One leaf
// in fast mode.
Tensor CountRows(const Dispatch& dispatch, const RowLeaves* rows) {
  const int64_t experts = dispatch.offsets.NumElements() - 1;
  const int64_t leaves = rows != nullptr ? static_cast<int64_t>(rows->index.size()) : 1;
  Tensor counts = Tensor::Zeros({leaves, experts}, CountsOn(DeviceOf(dispatch)));
  if (DeviceOf(dispatch) == Device::kMeta) return counts;
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

// Everyone's counts of the experts that are here, and everyone's leaf positions.
struct Announced {
  int64_t members = 0, leaves = 0, experts = 0;
  std::vector<int32_t> counts;  // [members, leaves, experts]
  std::vector<int64_t> index;   // [members, leaves]

  int64_t Rows(int64_t member, int64_t leaf, int64_t expert) const {
    return counts[static_cast<size_t>((member * leaves + leaf) * experts + expert)];
  }
};

// The counts for each member, one member after another.
Tensor PackCounts(const Tensor& counts, const ExchangeMembers& members) {
  const int64_t leaves = counts.dim(0), experts = counts.dim(1);
  int64_t total = 0;
  for (int64_t m = 0; m < members.group->size(); ++m) total += leaves * members.Count(m);
  Tensor packed = Tensor::Empty({total}, counts.options(MemoryCategory::kCommunication));
  if (counts.device() == Device::kMeta) return packed;
  int32_t* to = packed.data<int32_t>();
  for (int64_t m = 0; m < members.group->size(); ++m) {
    for (int64_t l = 0; l < leaves; ++l) {
      to = std::copy_n(counts.data<int32_t>() + l * experts + members.Begin(m), members.Count(m),
                       to);
    }
  }
  return packed;
}

// Positions of all members' leaves, [members, leaves]; zeros on meta.
std::vector<int64_t> GatherLeaves(const RowLeaves& rows, Communicator& group, Device device) {
  const auto leaves = static_cast<int64_t>(rows.index.size()), size = int64_t{group.size()};
  const Tensor mine = Tensor::Empty({leaves}, CountsOn(device)),
               index = Tensor::Empty({size * leaves}, CountsOn(device));
  const bool meta = device == Device::kMeta;
  for (int64_t l = 0; l < leaves && !meta; ++l) {
    mine.data<int32_t>()[l] = static_cast<int32_t>(rows.index[static_cast<size_t>(l)]);
  }
  group.AllGather(index, mine, std::vector<int64_t>(static_cast<size_t>(size), leaves)).Wait();
  if (meta) return std::vector<int64_t>(static_cast<size_t>(size * leaves));
  const auto positions = index.span<const int32_t>();
  return {positions.begin(), positions.end()};
}

Announced Announce(const Tensor& counts, const RowLeaves* rows, const ExchangeMembers& members,
                   const RoutingAnswer* answer) {
  Communicator& group = *members.group;
  const int64_t leaves = counts.dim(0), size = group.size();
  const int64_t local = members.Count(group.rank());
  std::vector<int64_t> send, recv(static_cast<size_t>(size), leaves * local);
  for (int64_t m = 0; m < size; ++m) send.push_back(leaves * members.Count(m));
  const Tensor in = PackCounts(counts, members);
  const Tensor out = Tensor::Empty({TotalRows(recv)}, CountsOn(counts.device()));
  group.AllToAll(out, recv, in, send).Wait();
  Announced all{size, leaves, local, {}, {}};
  if (counts.device() == Device::kMeta) {
    CHECK(answer != nullptr) << "nobody says how many rows arrive";
    CHECK(static_cast<int64_t>(answer->arriving.size()) == TotalRows(recv));
    all.counts = answer->arriving;
  } else {
    const auto received = out.span<const int32_t>();
    all.counts.assign(received.begin(), received.end());
  }
  if (rows != nullptr) all.index = GatherLeaves(*rows, group, counts.device());
  if (answer != nullptr && !answer->positions.empty()) all.index = answer->positions;
  return all;
}

// Where each expert's rows begin among the sorted ones of this rank, and their end.
std::vector<int64_t> SortedBegins(const Dispatch& dispatch, const RoutingAnswer* answer) {
  const int64_t experts = dispatch.offsets.NumElements() - 1;
  std::vector<int64_t> begins = {0};
  for (int64_t e = 0; e < experts; ++e) {
    begins.push_back(answer != nullptr ? begins.back() + answer->sent[static_cast<size_t>(e)]
                                       : dispatch.offsets.data<int32_t>()[e + 1]);
  }
  return begins;
}

// What this rank sends of piece `j`.
ExchangePiece Outgoing(const std::vector<int64_t>& begins, const ExchangeMembers& members, int j) {
  ExchangePiece piece;
  for (int64_t m = 0; m < members.group->size(); ++m) {
    const auto expert = [&](int i) {
      return static_cast<size_t>(members.Begin(m) +
                                 PieceBegin(members.Count(m), members.pieces, i));
    };
    piece.sorted_begin.push_back(begins[expert(j)]);
    piece.send_rows.push_back(begins[expert(j + 1)] - begins[expert(j)]);
  }
  return piece;
}

// Fills what arrives of a piece, its local experts being [first, last). Rows come by (member,
// expert, order at the sender), where the order at the sender is by leaf.
void OrderArrivals(const Announced& all, int64_t first, int64_t last, ExchangePiece& piece,
                   ExchangePlan& plan, GroupedLeaves& leaves) {
  for (int64_t m = 0; m < all.members; ++m) {
    int64_t rows = 0;
    for (int64_t l = 0; l < all.leaves; ++l) {
      for (int64_t e = first; e < last; ++e) rows += all.Rows(m, l, e);
    }
    piece.recv_rows.push_back(rows);
  }
  // Where each member's rows of the current expert begin among the arrivals.
  std::vector<int64_t> next(static_cast<size_t>(all.members), 0);
  for (size_t m = 1; m < next.size(); ++m) next[m] = next[m - 1] + piece.recv_rows[m - 1];
  if (all.members > 1 && Injected(Fault::kSourcesSwapped)) {
    next[0] = piece.recv_rows[1];
    next[1] = 0;
  }
  piece.begin = plan.arriving_rows;
  piece.order = Tensor::Empty({TotalRows(piece.recv_rows)}, plan.offsets.options());
  if (plan.offsets.device() == Device::kMeta) {
    plan.arriving_rows += TotalRows(piece.recv_rows);
    return;
  }
  int32_t* order = piece.order.data<int32_t>();
  int64_t row = piece.begin;
  for (int64_t e = first; e < last; ++e) {
    plan.offsets.data<int32_t>()[e] = static_cast<int32_t>(row);
    for (int64_t m = 0; m < all.members; ++m) {
      for (int64_t l = 0; l < all.leaves; ++l) {
        const auto place = static_cast<size_t>(((m * all.leaves + l) * all.experts + e) * 2);
        leaves.bounds[place] = static_cast<int32_t>(row);
        for (int64_t i = all.Rows(m, l, e); i > 0; --i) {
          order[row++ - piece.begin] = static_cast<int32_t>(next[static_cast<size_t>(m)]++);
        }
        leaves.bounds[place + 1] = static_cast<int32_t>(row);
      }
    }
  }
  plan.arriving_rows = row;
  plan.offsets.data<int32_t>()[last] = static_cast<int32_t>(row);
}

}  // namespace

ExchangeMembers AllMembers(const Place& place, int experts) {
  ExchangeMembers members{
      .parts = place.Size(Axis::kExpertTensor), .pieces = place.exchange().pieces, .place = &place};
  const int64_t groups = place.Size(Axis::kExpert);
  for (int64_t i = 0; i <= groups; ++i) members.begin.push_back(PieceBegin(experts, groups, i));
  if (place.Size(kExchangeAxes) > 1) members.group = &place.Group(kExchangeAxes);
  return members;
}

ExchangePlan PlanExchange(const Tape& tape, const Dispatch& dispatch,
                          const ExchangeMembers& members, const RoutingAnswer* answer) {
  ExchangePlan plan{.group = members.group, .place = members.place, .parts = members.parts};
  plan.sorted_rows = dispatch.source.NumElements();
  const RowLeaves* rows = tape.rows().get();
  if (plan.group == nullptr) {
    if (members.routing != nullptr && answer == nullptr) {
      members.routing->Tell({ExpertCounts(dispatch), {}, {}});
    }
    plan.arriving_rows = plan.sorted_rows;
    plan.offsets = dispatch.offsets;
    if (rows != nullptr) {
      plan.leaves = std::make_shared<GroupedLeaves>(LeavesOfRows(dispatch, *rows));
    }
    return plan;
  }
  const Announced all = Announce(CountRows(dispatch, rows), rows, members, answer);
  plan.offsets = Tensor::Empty({all.experts + 1}, CountsOn(DeviceOf(dispatch)));
  const std::vector<int64_t> begins = SortedBegins(dispatch, answer);
  if (members.routing != nullptr && answer == nullptr) {
    members.routing->Tell({ExpertCounts(dispatch), all.counts, all.index});
  }
  auto leaves = std::make_shared<GroupedLeaves>();
  leaves->index = all.index;
  leaves->experts = all.experts;
  leaves->bounds.resize(static_cast<size_t>(all.members * all.leaves * all.experts * 2));
  plan.runs = {0};
  for (int j = 0; j < members.pieces; ++j) {
    plan.runs.push_back(PieceBegin(all.experts, members.pieces, j + 1));
    const int64_t first = plan.runs[static_cast<size_t>(j)], last = plan.runs.back();
    CHECK(first < last) << members.pieces << " pieces of " << all.experts << " experts";
    ExchangePiece piece = Outgoing(begins, members, j);
    OrderArrivals(all, first, last, piece, plan, *leaves);
    plan.pieces.push_back(std::move(piece));
  }
  if (rows != nullptr) plan.leaves = std::move(leaves);
  return plan;
}

RowsPlan PlanRows(Tape& tape, const Var& indices, const ExchangeMembers& members) {
  const int experts = static_cast<int>(members.begin.back());
  if (indices.tensor().device() != Device::kMeta) {
    RowsPlan plan{PlanDispatch(tape, indices, experts), {}};
    plan.exchange = PlanExchange(tape, plan.dispatch, members);
    return plan;
  }
  const bool alone = members.group == nullptr;
  const RoutingQuestion question{
      .level = members.level,
      .tokens = indices.dim(0),
      .top_k = indices.dim(1),
      .begin = members.begin,
      .group = alone ? 0 : members.group->rank() / members.parts,
      .members = alone ? 1 : members.group->size(),
      .leaves = tape.rows() != nullptr ? static_cast<int64_t>(tape.rows()->index.size()) : 1,
      .nodes = members.nodes};
  static BalancedRouting& balanced = *new BalancedRouting;
  ExchangeRouting& routing = members.routing != nullptr ? *members.routing : balanced;
  const RoutingAnswer answer = routing.Ask(question);
  RowsPlan plan{PlanDispatch(tape, indices, experts, TotalRows(answer.sent)), {}};
  plan.exchange = PlanExchange(tape, plan.dispatch, members, &answer);
  return plan;
}

}  // namespace choir
