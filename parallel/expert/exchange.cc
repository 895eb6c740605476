#include "parallel/expert/exchange.h"

#include <cstring>

#include "base/fault.h"
#include "ops/elementwise.h"
#include "ops/launch.h"
#include "ops/parallel_for.h"

namespace choir {
namespace {

std::vector<int64_t> Scaled(const std::vector<int64_t>& rows, int64_t width) {
  std::vector<int64_t> counts = rows;
  for (int64_t& n : counts) n *= width;
  return counts;
}

// to[i] = from[order[i]], or to[order[i]] = from[i]; any dtype.
template <bool kGather>
void Reorder(const Tensor& to, const Tensor& from, const Tensor& order) {
  Launch(to.device(), MemoryWork("exchange_order", to, from, order), [&] {
    const int64_t bytes = from.dim(1) * SizeOf(from.dtype());
    const int32_t* at = order.data<int32_t>();
    const auto* source = static_cast<const std::byte*>(from.raw());
    auto* target = static_cast<std::byte*>(to.raw());
    ParallelRanges(order.NumElements(), RowGrain(from.dim(1)), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t s = kGather ? at[i] : i, t = kGather ? i : at[i];
        std::memcpy(target + t * bytes, source + s * bytes, static_cast<size_t>(bytes));
      }
    });
  });
}

// A piece's rows, one member after another: those of an expert once per part.
Tensor Pack(const ExchangePlan& plan, const ExchangePiece& piece, const Tensor& sorted) {
  if (plan.parts == 1 && plan.pieces.size() == 1) return sorted;
  const Tensor packed = Tensor::Empty({TotalRows(piece.send_rows), sorted.dim(1)},
                                      sorted.options(MemoryCategory::kCommunication));
  int64_t to = 0;
  for (size_t m = 0; m < piece.send_rows.size(); ++m) {
    const int64_t rows = piece.send_rows[m];
    CopyInto(packed.Rows(to, rows), sorted.Rows(piece.sorted_begin[m], rows));
    to += rows;
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
void Unpack(const ExchangePlan& plan, const ExchangePiece& piece, const Tensor& returned,
            const Tensor& sorted) {
  const auto parts = static_cast<size_t>(plan.parts);
  int64_t from = 0;
  for (size_t m = 0; m < piece.send_rows.size(); m += parts) {
    const int64_t rows = piece.send_rows[m];
    std::vector<Tensor> pieces;
    for (size_t t = 0; t < parts; ++t) {
      pieces.push_back(returned.Rows(from + static_cast<int64_t>(t) * rows, rows));
    }
    const size_t added = parts > 1 && Injected(Fault::kPartsNotSummed) ? 1 : parts;
    if (rows > 0) {
      CopyInto(sorted.Rows(piece.sorted_begin[m], rows), AddParts(pieces, 0, added));
    }
    from += static_cast<int64_t>(parts) * rows;
  }
}

// Where the pieces of each member would lie if they came back last one first.
std::vector<ExchangePiece> Backwards(const std::vector<ExchangePiece>& pieces) {
  std::vector<ExchangePiece> wrong = pieces;
  for (size_t m = 0; m < pieces[0].send_rows.size(); ++m) {
    int64_t at = pieces[0].sorted_begin[m];
    for (size_t j = pieces.size(); j-- > 0;) {
      wrong[j].sorted_begin[m] = at;
      at += wrong[j].send_rows[m];
    }
  }
  return wrong;
}

}  // namespace

Tensor Arrivals::Start(const ExchangePlan& plan, const Tensor& sorted) {
  const int64_t width = sorted.dim(1);
  CHECK(sorted.dim(0) == plan.sorted_rows) << sorted.shape();
  AwaitAll(plan);
  flights_.clear();
  for (const ExchangePiece& piece : plan.pieces) {
    const Tensor packed = Pack(plan, piece, sorted);
    const Tensor arrived = Tensor::Empty({TotalRows(piece.recv_rows), width},
                                         sorted.options(MemoryCategory::kCommunication));
    flights_.push_back({plan.group->AllToAll(arrived, Scaled(piece.recv_rows, width), packed,
                                             Scaled(piece.send_rows, width)),
                        arrived, packed});
  }
  rows_ = Tensor::Empty({plan.arriving_rows, width}, sorted.options(MemoryCategory::kActivations));
  return rows_;
}

void Arrivals::Await(const ExchangePlan& plan, int64_t i) {
  if (flights_.empty()) return;
  Flight& flight = flights_.at(static_cast<size_t>(i));
  if (!flight.arrived.defined()) return;
  flight.event.Wait();
  const ExchangePiece& piece = plan.pieces[static_cast<size_t>(i)];
  Reorder<true>(rows_.Rows(piece.begin, piece.order.NumElements()), flight.arrived, piece.order);
  flight = Flight();
  for (const Flight& other : flights_) {
    if (other.arrived.defined()) return;
  }
  flights_.clear();
  rows_ = Tensor();
}

void Arrivals::AwaitAll(const ExchangePlan& plan) {
  for (size_t i = 0; i < plan.pieces.size(); ++i) Await(plan, static_cast<int64_t>(i));
}

void Returns::Start(const ExchangePlan& plan, int64_t i, const Tensor& rows) {
  CHECK(rows.dim(0) == plan.arriving_rows) << rows.shape();
  CHECK(i == static_cast<int64_t>(flights_.size())) << "piece " << i << " of other rows";
  CHECK(flights_.empty() || from_ == rows.raw()) << "pieces of two tensors at once";
  from_ = rows.raw();
  const int64_t width = rows.dim(1);
  const ExchangePiece& piece = plan.pieces[static_cast<size_t>(i)];
  const int64_t count = piece.order.NumElements();
  const Tensor leaving =
      Tensor::Empty({count, width}, rows.options(MemoryCategory::kCommunication));
  Reorder<false>(leaving, rows.Rows(piece.begin, count), piece.order);
  const Tensor returned = Tensor::Empty({TotalRows(piece.send_rows), width},
                                        rows.options(MemoryCategory::kCommunication));
  flights_.push_back({plan.group->AllToAll(returned, Scaled(piece.send_rows, width), leaving,
                                           Scaled(piece.recv_rows, width)),
                      returned, leaving});
}

Tensor Returns::Collect(const ExchangePlan& plan, const Tensor& rows) {
  CHECK(flights_.empty() || from_ == rows.raw()) << "other rows are on their way back";
  for (size_t i = flights_.size(); i < plan.pieces.size(); ++i) {
    Start(plan, static_cast<int64_t>(i), rows);
  }
  std::vector<Flight> flights = std::move(flights_);
  flights_.clear();
  if (flights.size() == 1 && plan.parts == 1) {
    flights[0].event.Wait();
    return flights[0].returned;
  }
  std::vector<ExchangePiece> swapped;
  if (flights.size() > 1 && Injected(Fault::kChunkOrderSwapped)) swapped = Backwards(plan.pieces);
  const std::vector<ExchangePiece>& pieces = swapped.empty() ? plan.pieces : swapped;
  const Tensor sorted =
      Tensor::Empty({plan.sorted_rows, rows.dim(1)}, rows.options(MemoryCategory::kActivations));
  for (size_t i = 0; i < flights.size(); ++i) {
    flights[i].event.Wait();
    Unpack(plan, pieces[i], flights[i].returned, sorted);
    flights[i] = Flight();
  }
  return sorted;
}

Var ToExperts(Tape& tape, const Var& sorted, const ExchangeRef& exchange, Reader reader,
              const Tag& tag) {
  if (exchange->plan.group == nullptr) return sorted;
  const bool now = reader == Reader::kAnyOp || tape.observed();
  Saved xs = sorted.Save();
  Var y = tape.Compute(tag, [xs, exchange, now] {
    Tensor rows = exchange->rows.Start(exchange->plan, xs.Get());
    if (now) exchange->rows.AwaitAll(exchange->plan);
    return rows;
  });
  tape.Record({&y}, [gx = sorted.grad(), exchange](Sink& sink) {
    if (gx == nullptr) return;
    sink.Add(gx, exchange->row_grads.Collect(exchange->plan, sink.OutputGrad(0)));
  });
  return y;
}

Var FromExperts(Tape& tape, const Var& rows, const ExchangeRef& exchange, Reader reader,
                const Tag& tag) {
  if (exchange->plan.group == nullptr) return rows;
  const bool now = reader == Reader::kAnyOp || tape.observed();
  Saved xs = rows.Save();
  Var y = tape.Compute(
      tag, [xs, exchange] { return exchange->results.Collect(exchange->plan, xs.Get()); });
  tape.Record({&y}, [gx = rows.grad(), exchange, now](Sink& sink) {
    if (gx == nullptr) return;
    sink.Add(gx, exchange->result_grads.Start(exchange->plan, sink.OutputGrad(0)));
    if (now) exchange->result_grads.AwaitAll(exchange->plan);
  });
  return y;
}

Var AwaitRows(Tape& tape, const Var& rows, const ExchangeRef& exchange, const Tag& tag) {
  if (exchange->plan.group == nullptr) return rows;
  Saved xs = rows.Save();
  Var y = tape.Compute(tag, [xs, exchange] {
    Tensor same = xs.Get();
    exchange->rows.AwaitAll(exchange->plan);
    return same;
  });
  tape.Record({&y}, [gx = rows.grad(), exchange](Sink& sink) {
    if (gx == nullptr) return;
    const Tensor grads = sink.OutputGrad(0);
    for (size_t i = 0; i < exchange->plan.pieces.size(); ++i) {
      exchange->row_grads.Start(exchange->plan, static_cast<int64_t>(i), grads);
    }
    sink.Add(gx, grads);
  });
  return y;
}

void OverlapExperts(const ExchangeRef& exchange, GroupedOptions& first, GroupedOptions& last) {
  const ExchangePlan& plan = exchange->plan;
  if (plan.group == nullptr) return;
  const ExpertRuns runs{plan.runs, nullptr, nullptr, [place = plan.place] { place->Poll(); }};
  first.forward = first.backward = last.forward = last.backward = runs;
  first.forward.before = [exchange](int64_t i) { exchange->rows.Await(exchange->plan, i); };
  first.backward.after = [exchange](int64_t i, const Tensor& grads) {
    exchange->row_grads.Start(exchange->plan, i, grads);
  };
  last.forward.after = [exchange](int64_t i, const Tensor& results) {
    exchange->results.Start(exchange->plan, i, results);
  };
  last.backward.before = [exchange](int64_t i) { exchange->result_grads.Await(exchange->plan, i); };
}

}  // namespace choir
