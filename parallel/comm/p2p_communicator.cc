#include "parallel/comm/p2p_communicator.h"

#include <cstring>

#include "base/check.h"
#include "ops/numerics.h"

namespace choir {
namespace {

void CheckSummable(DType dtype) {
  CHECK(dtype == DType::kF32 || dtype == DType::kF64 || dtype == DType::kI32)
      << "no collective sums " << dtype;
}

// In a group of one: out = in.
void CopyOwn(const Tensor& out, const Tensor& in) {
  if (out.device() == Device::kMeta || out.bytes() == 0 || out.raw() == in.raw()) return;
  std::memcpy(out.raw(), in.raw(), static_cast<size_t>(out.bytes()));
}

}  // namespace

std::vector<int64_t> P2pCommunicator::Offsets(std::span<const int64_t> counts, DType dtype) const {
  CHECK(counts.size() == static_cast<size_t>(size())) << "one count for each member";
  std::vector<int64_t> offsets{0};
  for (int64_t count : counts) {
    CHECK(count >= 0);
    offsets.push_back(offsets.back() + count * SizeOf(dtype));
  }
  return offsets;
}

Event P2pCommunicator::Collective(Call call) {
  call.sequence = collectives_++;
  return world_.Begin(std::move(call), view_);
}

Event P2pCommunicator::Message(Call call) {
  CHECK(call.peer >= 0 && call.peer < size() && call.peer != rank());
  CHECK(call.tag >= 0 && call.tag < (1 << 16));
  call.sequence = messages_++;
  return world_.Begin(std::move(call), view_);
}

Event P2pCommunicator::AllReduce(const Tensor& x, ReduceOp op, Site site) {
  CheckSummable(x.dtype());
  Call call{.kind = CallKind::kAllReduce, .reduce = op, .dtype = x.dtype(), .site = site};
  call.out = call.in = x;
  for (int i = 0; i <= size(); ++i) {
    call.offsets.push_back(PieceBegin(x.NumElements(), size(), i) * SizeOf(x.dtype()));
  }
  return Collective(std::move(call));
}

Event P2pCommunicator::AllGather(const Tensor& out, const Tensor& in,
                                 std::span<const int64_t> counts, Site site) {
  CHECK(out.dtype() == in.dtype());
  Call call{.kind = CallKind::kAllGather, .dtype = out.dtype(), .site = site};
  call.offsets = Offsets(counts, out.dtype());
  CHECK(out.bytes() == call.offsets.back());
  CHECK(in.NumElements() == counts[static_cast<size_t>(rank())]);
  if (size() == 1) CopyOwn(out, in);
  call.out = out;
  call.in = in;
  return Collective(std::move(call));
}

Event P2pCommunicator::ReduceScatter(const Tensor& out, const Tensor& in,
                                     std::span<const int64_t> counts, Site site) {
  CheckSummable(in.dtype());
  CHECK(out.dtype() == in.dtype());
  Call call{.kind = CallKind::kReduceScatter, .dtype = in.dtype(), .site = site};
  call.offsets = Offsets(counts, in.dtype());
  CHECK(in.bytes() == call.offsets.back());
  CHECK(out.NumElements() == counts[static_cast<size_t>(rank())]);
  if (size() == 1) CopyOwn(out, in);
  call.out = out;
  call.in = in;
  return Collective(std::move(call));
}

Event P2pCommunicator::AllToAll(const Tensor& out, std::span<const int64_t> recv_counts,
                                const Tensor& in, std::span<const int64_t> send_counts, Site site) {
  CHECK(out.dtype() == in.dtype());
  Call call{.kind = CallKind::kAllToAll, .dtype = in.dtype(), .site = site};
  call.offsets = Offsets(recv_counts, out.dtype());
  call.in_offsets = Offsets(send_counts, in.dtype());
  CHECK(out.bytes() == call.offsets.back());
  CHECK(in.bytes() == call.in_offsets.back());
  const size_t own = static_cast<size_t>(rank());
  CHECK(recv_counts[own] == send_counts[own]) << "from this rank to itself";
  if (size() == 1) CopyOwn(out, in);
  call.out = out;
  call.in = in;
  return Collective(std::move(call));
}

Event P2pCommunicator::Broadcast(const Tensor& x, int root, Site site) {
  CHECK(root >= 0 && root < size());
  Call call{.kind = CallKind::kBroadcast, .dtype = x.dtype(), .peer = root, .site = site};
  call.out = call.in = x;
  return Collective(std::move(call));
}

Event P2pCommunicator::Barrier(Site site) {
  return Collective({.kind = CallKind::kBarrier, .site = site});
}

Event P2pCommunicator::Send(const Tensor& x, int to, int tag, Site site) {
  Call call{.kind = CallKind::kSend, .dtype = x.dtype(), .peer = to, .tag = tag, .site = site};
  call.in = x;
  return Message(std::move(call));
}

Event P2pCommunicator::Recv(const Tensor& x, int from, int tag, Site site) {
  Call call{.kind = CallKind::kRecv, .dtype = x.dtype(), .peer = from, .tag = tag, .site = site};
  call.out = x;
  return Message(std::move(call));
}

}  // namespace choir
