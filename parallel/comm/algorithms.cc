#include "parallel/comm/algorithms.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/check.h"
#include "parallel/comm/call_check.h"
#include "parallel/comm/reduce.h"
#include "parallel/comm/ring_walk.h"

namespace choir {
namespace {

// Bytes that a sum stages for one operation, and the pieces of a ring.
constexpr int64_t kStaging = 1 << 20;
constexpr int kWindow = 4;
constexpr int64_t kRingPiece = kStaging / kWindow;
// Up to this many bytes in all, the number of stops counts more than where the bytes cross.
constexpr int64_t kShort = 128 << 10;

// p + offset; meta tensors have no memory.
std::byte* At(std::byte* p, int64_t offset) { return p == nullptr ? nullptr : p + offset; }
std::byte* Raw(const Tensor& x) { return static_cast<std::byte*>(x.raw()); }
size_t Index(int i) { return static_cast<size_t>(i); }

int64_t Length(const std::vector<int64_t>& offsets, int i) {
  return offsets[Index(i) + 1] - offsets[Index(i)];
}

void CopyBytes(std::byte* to, const std::byte* from, int64_t bytes) {
  if (to != nullptr && to != from && bytes > 0) {
    std::memmove(to, from, static_cast<size_t>(bytes));
  }
}

// Where the segments of a collective are on this rank, and where the sum of its own goes.
struct Segments {
  const std::vector<int64_t>& offsets;
  std::byte* data;
  std::byte* own;
};

// After it, own segment = sum over the members; the others of `data` hold partial sums.
Task RingReduceScatter(Operation& op, Segments s, Reduction reduction) {
  const int n = op.size(), next = (op.rank() + 1) % n, previous = (op.rank() + n - 1) % n;
  std::byte* const scratch = op.Scratch(kStaging);
  RingWalk first({s.offsets, previous, 1, kRingPiece});
  RingWalk posting({s.offsets, (op.rank() + 2 * n - 2) % n, n - 1, kRingPiece});
  RingWalk taking = posting;
  RingPiece piece;
  std::array<MessageRange, kWindow> window;
  int64_t posted = 0;
  while (posted < kWindow && posting.Next(&piece)) {
    window[Index(static_cast<int>(posted))] =
        op.Receive(previous, At(scratch, posted * kRingPiece), piece.bytes);
    ++posted;
  }
  while (first.Next(&piece)) op.Send(next, At(s.data, piece.begin), piece.bytes);
  for (int slot = 0; taking.Next(&piece); slot = (slot + 1) % kWindow) {
    co_await op.Completed(window[Index(slot)]);
    std::byte* const staged = At(scratch, slot * kRingPiece);
    std::byte* const mine = At(s.data, piece.begin);
    const bool last = piece.step == n - 2;
    std::byte* const to = last ? At(s.own, piece.begin - s.offsets[Index(op.rank())]) : mine;
    if (!op.dry()) Combine(reduction, to, staged, mine, piece.bytes);
    if (!last) op.Send(next, mine, piece.bytes);
    if (posting.Next(&piece)) window[Index(slot)] = op.Receive(previous, staged, piece.bytes);
  }
  co_await op.AllCompleted();
}

// Own segment -> all segments.
Task RingAllGather(Operation& op, Segments s) {
  const int n = op.size(), next = (op.rank() + 1) % n, previous = (op.rank() + n - 1) % n;
  constexpr int64_t kPiece = 2 * kRingPiece;
  RingWalk first({s.offsets, op.rank(), 1, kPiece});
  RingWalk posting({s.offsets, previous, n - 1, kPiece});
  RingWalk taking = posting;
  RingPiece piece;
  std::array<MessageRange, kWindow> window;
  for (MessageRange& slot : window) {
    if (posting.Next(&piece)) slot = op.Receive(previous, At(s.data, piece.begin), piece.bytes);
  }
  while (first.Next(&piece)) op.Send(next, At(s.data, piece.begin), piece.bytes);
  for (int slot = 0; taking.Next(&piece); slot = (slot + 1) % kWindow) {
    co_await op.Completed(window[Index(slot)]);
    if (piece.step < n - 2) op.Send(next, At(s.data, piece.begin), piece.bytes);
    if (!posting.Next(&piece)) continue;
    window[Index(slot)] = op.Receive(previous, At(s.data, piece.begin), piece.bytes);
  }
  co_await op.AllCompleted();
}

// The parts of the own segment arrive in rounds of one piece from each member, into two staging
// buffers in turn.
class DirectRounds {
 public:
  DirectRounds(Operation& op, Segments s) : op_(op), s_(s) {
    const int64_t others = op.size() - 1;
    piece_ = std::max<int64_t>(kStaging / 2 / others / kPageSize, 1) * kPageSize;
    scratch_ = op.Scratch(2 * others * piece_);
    int64_t longest = 0;
    for (int i = 0; i < op.size(); ++i) longest = std::max(longest, Length(s.offsets, i));
    rounds_ = (longest + piece_ - 1) / piece_;
  }

  int64_t rounds() const { return rounds_; }
  // Bytes of round `round` of member i's segment.
  int64_t Bytes(int i, int64_t round) const {
    return std::clamp<int64_t>(Length(s_.offsets, i) - round * piece_, 0, piece_);
  }
  MessageRange Receive(int64_t round) {
    const size_t begin = op_.Begun();
    const int64_t bytes = Bytes(op_.rank(), round);
    for (int i = 1; i < op_.size(); ++i) {
      const int from = (op_.rank() + op_.size() - i) % op_.size();
      op_.Receive(from, Staged(from, round), bytes);
    }
    return {begin, op_.Begun()};
  }
  MessageRange Send(int64_t round) {
    const size_t begin = op_.Begun();
    for (int i = 1; i < op_.size(); ++i) {
      const int to = (op_.rank() + i) % op_.size();
      op_.Send(to, At(s_.data, s_.offsets[Index(to)] + round * piece_), Bytes(to, round));
    }
    return {begin, op_.Begun()};
  }
  void Sum(int64_t round, const Reduction& reduction, SumOrder order) {
    const int64_t bytes = Bytes(op_.rank(), round);
    if (op_.dry() || bytes == 0) return;
    std::vector<std::byte*> parts;
    for (int i = 0; i < op_.size(); ++i) parts.push_back(Staged(i, round));
    std::byte* const to = s_.own + round * piece_;
    if (order == SumOrder::kTree) return CombineTree(reduction, to, parts, bytes);
    CombineRing(reduction, to, parts, (op_.rank() + 1) % op_.size(), bytes);
  }

 private:
  std::byte* Staged(int member, int64_t round) const {
    if (member == op_.rank()) {
      return At(s_.data, s_.offsets[Index(member)] + round * piece_);
    }
    const int64_t slot = member - (member > op_.rank() ? 1 : 0);
    return At(scratch_, ((round % 2) * (op_.size() - 1) + slot) * piece_);
  }

  Operation& op_;
  Segments s_;
  int64_t piece_ = 0, rounds_ = 0;
  std::byte* scratch_ = nullptr;
};

Task DirectReduceScatter(Operation& op, Segments s, Reduction reduction, SumOrder order) {
  DirectRounds rounds(op, s);
  MessageRange arriving = rounds.Receive(0), previous_sends;
  for (int64_t round = 0; round < rounds.rounds(); ++round) {
    const MessageRange now = arriving;
    const MessageRange sends = rounds.Send(round);
    if (round + 1 < rounds.rounds()) arriving = rounds.Receive(round + 1);
    co_await op.Completed(now);
    rounds.Sum(round, reduction, order);
    co_await op.Completed(previous_sends);  // bounds what is under way
    previous_sends = sends;
  }
  co_await op.AllCompleted();
}

Task DirectAllGather(Operation& op, Segments s) {
  const int n = op.size();
  for (int i = 1; i < n; ++i) {
    const int from = (op.rank() + n - i) % n;
    op.Receive(from, At(s.data, s.offsets[Index(from)]), Length(s.offsets, from));
  }
  const std::byte* const own = At(s.data, s.offsets[Index(op.rank())]);
  for (int i = 1; i < n; ++i) op.Send((op.rank() + i) % n, own, Length(s.offsets, op.rank()));
  co_await op.AllCompleted();
}

bool Short(const std::vector<int64_t>& offsets) { return offsets.back() <= kShort; }

Task ReduceScatter(Operation& op, Segments s, SumOrder order) {
  const Reduction reduction{op.call().reduce, op.call().dtype};
  if (order == SumOrder::kTree || Short(s.offsets)) {
    co_await DirectReduceScatter(op, s, reduction, order);
  } else {
    co_await RingReduceScatter(op, s, reduction);
  }
}

Task AllGather(Operation& op, Segments s) {
  if (Short(s.offsets)) {
    co_await DirectAllGather(op, s);
  } else {
    co_await RingAllGather(op, s);
  }
}

Task AllReduce(Operation& op, SumOrder order) {
  const std::vector<int64_t>& offsets = op.call().offsets;
  std::byte* const data = Raw(op.call().out);
  const Segments segments{offsets, data, At(data, offsets[Index(op.rank())])};
  co_await ReduceScatter(op, segments, order);
  co_await AllGather(op, segments);
}

Task AllToAll(Operation& op) {
  const Call& call = op.call();
  const int n = op.size(), r = op.rank();
  std::byte *const out = Raw(call.out), *const in = Raw(call.in);
  for (int i = 1; i < n; ++i) {
    const int from = (r + n - i) % n;
    op.Receive(from, At(out, call.offsets[Index(from)]), Length(call.offsets, from));
  }
  for (int i = 1; i < n; ++i) {
    const int to = (r + i) % n;
    op.Send(to, At(in, call.in_offsets[Index(to)]), Length(call.in_offsets, to));
  }
  CopyBytes(At(out, call.offsets[Index(r)]), At(in, call.in_offsets[Index(r)]),
            Length(call.offsets, r));
  co_await op.AllCompleted();
}

// A binomial tree from the root: with v = distance from the root, the parent of v is v without its
// lowest one bit. Pieces are passed on while the next ones arrive.
Task Broadcast(Operation& op) {
  const int n = op.size(), root = op.call().peer, v = (op.rank() + n - root) % n;
  std::byte* const data = Raw(op.call().out);
  const std::vector<int64_t> whole{0, op.call().out.bytes()};
  RingWalk posting({whole, 0, 1, kRingPiece}), taking = posting;
  RingPiece piece;
  std::vector<MessageRange> arriving;
  const int lowest = v & -v, parent = (v - lowest + root) % n;
  while (v != 0 && posting.Next(&piece)) {
    arriving.push_back(op.Receive(parent, At(data, piece.begin), piece.bytes));
  }
  int top = 1;
  while (top < (v == 0 ? n : lowest)) top *= 2;
  for (size_t i = 0; taking.Next(&piece); ++i) {
    if (v != 0) co_await op.Completed(arriving[i]);
    for (int bit = top / 2; bit > 0; bit /= 2) {
      if (v + bit >= n) continue;
      op.Send((v + bit + root) % n, At(data, piece.begin), piece.bytes);
    }
  }
  co_await op.AllCompleted();
}

// Dissemination: after round k every member knows of 2^(k+1) that have come.
Task Barrier(Operation& op) {
  const int n = op.size();
  for (int distance = 1; distance < n; distance *= 2) {
    op.Signal((op.rank() + distance) % n);
    const MessageRange arriving = op.ReceiveSignal((op.rank() + n - distance) % n);
    co_await op.Completed(arriving);
  }
  co_await op.AllCompleted();
}

Task RunReduceScatter(Operation& op, SumOrder order) {
  const Segments segments{op.call().offsets, Raw(op.call().in), Raw(op.call().out)};
  co_await ReduceScatter(op, segments, order);
}

Task RunAllGather(Operation& op) {
  const Call& call = op.call();
  std::byte* const out = Raw(call.out);
  CopyBytes(At(out, call.offsets[Index(op.rank())]), Raw(call.in), call.in.bytes());
  const Segments segments{call.offsets, out, nullptr};
  co_await AllGather(op, segments);
}

Task SendOrReceive(Operation& op) {
  const Call& call = op.call();
  if (call.kind == CallKind::kSend) {
    op.SendAs(MessageKind::kUser, call.peer, Raw(call.in), call.in.bytes());
  } else {
    op.ReceiveAs(MessageKind::kUser, call.peer, Raw(call.out), call.out.bytes());
  }
  co_await op.AllCompleted();
}

Task RunUnchecked(Operation& op, SumOrder order) {
  switch (op.call().kind) {
    case CallKind::kAllReduce:
      return AllReduce(op, order);
    case CallKind::kAllGather:
      return RunAllGather(op);
    case CallKind::kReduceScatter:
      return RunReduceScatter(op, order);
    case CallKind::kAllToAll:
      return AllToAll(op);
    case CallKind::kBroadcast:
      return Broadcast(op);
    case CallKind::kBarrier:
      return Barrier(op);
    case CallKind::kSend:
    case CallKind::kRecv:
      return SendOrReceive(op);
  }
  CHECK(false);
  return {};
}

}  // namespace

Task RunCall(Operation& operation, AlgorithmOptions options) {
  const CallKind kind = operation.call().kind;
  const bool collective = kind != CallKind::kSend && kind != CallKind::kRecv;
  if (options.check && collective && !operation.dry()) co_await CheckCall(operation);
  co_await RunUnchecked(operation, options.sum_order);
}

}  // namespace choir
