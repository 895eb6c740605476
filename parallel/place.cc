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

Place::Place(const Mesh& mesh, World* world, Numerics numerics, ContextMethod context_method)
    : mesh_(mesh),
      world_(world),
      numerics_(numerics),
      context_method_(mesh.Size(Axis::kContext) > 1 ? context_method : ContextMethod::kUlysses) {
  CHECK(mesh.size() == (world != nullptr ? world->size() : 1));
  if (world == nullptr) return;
  rank_ = world->rank();
  for (AxisSet axes : kGroups) {
    if (mesh.Size(axes) == 1) continue;
    groups_[axes] = &world->Group(mesh.Peers(rank_, axes), axes.ToString());
    ranks_[axes] = std::make_unique<CommunicatorRanks>(*groups_[axes]);
  }
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
