#include "parallel/place.h"

#include "base/fault.h"

namespace choir {
namespace {

// Every set of axes that some part of the program exchanges along.
constexpr AxisSet kGroups[] = {
    Axis::kTensor,
    Axis::kContext,
    {Axis::kContext, Axis::kTensor},
    Axis::kShard,
    Axis::kReplica,
    kDataAxes,
    {Axis::kReplica, Axis::kShard, Axis::kContext},
    {Axis::kReplica, Axis::kShard, Axis::kContext, Axis::kTensor},
    Axis::kPipe,
    kDenseAxes,
    {Axis::kExpert, Axis::kExpertTensor},
    Axis::kExpertTensor,
    Axis::kExpertData,
    Axis::kExpertContext,
    {Axis::kExpertData, Axis::kExpertContext},
};

class CommunicatorRanks : public RankGroup {
 public:
  explicit CommunicatorRanks(Communicator& group) : group_(group) {}
  int size() const override { return group_.size(); }
  void Max(const Tensor& x) override { group_.AllReduce(x, ReduceOp::kMax).Wait(); }
  void Sum(const Tensor& x) override { group_.AllReduce(x, ReduceOp::kSum).Wait(); }

 private:
  Communicator& group_;
};

}  // namespace

Place::Place(const Mesh& mesh, World* world, Numerics numerics, ContextMethod context_method,
             const ExchangeOptions& exchange)
    : mesh_(mesh),
      world_(world),
      numerics_(numerics),
      context_method_(mesh.Size(Axis::kContext) > 1 ? context_method : ContextMethod::kUlysses),
      exchange_(exchange) {
  CHECK(mesh.size() == (world != nullptr ? world->size() : 1));
  if (world == nullptr) return;
  rank_ = world->rank();
  for (AxisSet axes : kGroups) {
    if (mesh.Size(axes) == 1) continue;
    groups_[axes] = &world->Group(mesh.Peers(rank_, axes), axes.ToString());
    ranks_[axes] = std::make_unique<CommunicatorRanks>(*groups_[axes]);
  }
  MakeNodeGroups();
}

// The members of an exchange are neighbours, so that those of a node are a run of them.
void Place::MakeNodeGroups() {
  const AxisSet axes{Axis::kExpert, Axis::kExpertTensor};
  const int members = mesh_.Size(axes), size = exchange_.node_size, me = mesh_.Coord(rank_, axes);
  if (size == 0 || members <= size) return;
  CHECK(members % size == 0) << members << " members on nodes of " << size;
  const std::vector<int> peers = mesh_.Peers(rank_, axes);
  std::vector<int> inside, across;
  for (int i = 0; i < members; ++i) {
    if (i / size == me / size) inside.push_back(peers[static_cast<size_t>(i)]);
    if (i % size == me % size) across.push_back(peers[static_cast<size_t>(i)]);
  }
  if (size > 1) inside_node_ = &world_->Group(inside, axes.ToString() + " inside node");
  across_nodes_ = &world_->Group(across, axes.ToString() + " across nodes");
}

Communicator& Place::Group(AxisSet axes) const {
  const auto group = groups_.find(axes);
  CHECK(group != groups_.end()) << "no group over " << axes.ToString();
  return *group->second;
}

RankGroup* Place::Ranks(AxisSet axes) const {
  const auto ranks = ranks_.find(axes);
  if (ranks == ranks_.end()) return nullptr;
  // The counts behind the balance losses are the only exchange of ops over these axes.
  const bool of_counts = axes == (Axis::kContext | AxisSet(Axis::kTensor));
  if (of_counts && Injected(Fault::kSlopesFromLocalCounts)) return nullptr;
  return ranks->second.get();
}

void Place::Poll() const {
  if (world_ != nullptr) world_->Progress();
}

}  // namespace choir
