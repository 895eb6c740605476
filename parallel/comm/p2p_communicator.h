// A group of a P2pWorld: checks what is handed in and begins the call.
#pragma once

#include "parallel/comm/call.h"
#include "parallel/comm/communicator.h"
#include "parallel/comm/p2p_world.h"

namespace choir {

class P2pCommunicator : public Communicator {
 public:
  P2pCommunicator(P2pWorld& world, GroupView view)
      : Communicator(view.name, view.ranks, view.rank), world_(world), view_(std::move(view)) {}

  Event AllReduce(const Tensor& x, ReduceOp op, Site site) override;
  Event AllGather(const Tensor& out, const Tensor& in, std::span<const int64_t> counts,
                  Site site) override;
  Event ReduceScatter(const Tensor& out, const Tensor& in, std::span<const int64_t> counts,
                      Site site) override;
  Event AllToAll(const Tensor& out, std::span<const int64_t> recv_counts, const Tensor& in,
                 std::span<const int64_t> send_counts, Site site) override;
  Event Broadcast(const Tensor& x, int root, Site site) override;
  Event Barrier(Site site) override;
  Event Send(const Tensor& x, int to, int tag, Site site) override;
  Event Recv(const Tensor& x, int from, int tag, Site site) override;

 private:
  Event Collective(Call call);
  Event Message(Call call);
  std::vector<int64_t> Offsets(std::span<const int64_t> counts, DType dtype) const;

  P2pWorld& world_;
  GroupView view_;
  int64_t collectives_ = 0, messages_ = 0;
};

}  // namespace choir
