// Where this rank stands: its coordinates, and the groups that it exchanges tensors with.
#pragma once

#include <map>
#include <memory>

#include "ops/numerics.h"
#include "ops/rank_group.h"
#include "parallel/comm/communicator.h"
#include "parallel/mesh/degrees.h"
#include "parallel/mesh/mesh.h"

namespace choir {

// How tokens travel to their experts and back (parallel/expert/).
struct ExchangeOptions {
  int pieces = 1;     // that an exchange is cut into
  int node_size = 0;  // ranks of a node, where rows go between nodes first; 0: all at once
};

class Place {
 public:
  // Alone: the only rank of a job, without communicators.
  Place() : Place(Mesh(Degrees{}), nullptr, Numerics::kFast) {}
  explicit Place(Numerics numerics) : Place(Mesh(Degrees{}), nullptr, numerics) {}
  // `world` has mesh.size() ranks and outlives this. Makes all groups, in one order on every rank.
  Place(const Mesh& mesh, World* world, Numerics numerics,
        ContextMethod context_method = ContextMethod::kUlysses,
        const ExchangeOptions& exchange = {});

  const Mesh& mesh() const { return mesh_; }
  int rank() const { return rank_; }
  Numerics numerics() const { return numerics_; }
  bool invariant() const { return numerics_ == Numerics::kInvariant; }
  // How context ranks attend to each other's tokens; of one rank it is ulysses.
  ContextMethod context_method() const { return context_method_; }
  bool ring() const { return context_method_ == ContextMethod::kRing; }
  World* world() const { return world_; }
  const ExchangeOptions& exchange() const { return exchange_; }
  int Size(AxisSet axes) const { return mesh_.Size(axes); }
  int Coord(AxisSet axes) const { return mesh_.Coord(rank_, axes); }
  // The ranks that differ from this one in `axes` only. CHECKs that there is more than one.
  Communicator& Group(AxisSet axes) const;
  // The same for ops; null when this rank is alone in it.
  RankGroup* Ranks(AxisSet axes) const;
  // The ranks that exchange tokens with this one: those of its node, and those at its place in
  // every node. Null where there is one only, and both where exchanges have one level.
  Communicator* inside_node() const { return inside_node_; }
  Communicator* across_nodes() const { return across_nodes_; }
  // Lets communication progress; cheap.
  void Poll() const;

 private:
  void MakeNodeGroups();

  Mesh mesh_;
  World* world_;
  Numerics numerics_;
  ContextMethod context_method_;
  ExchangeOptions exchange_;
  int rank_ = 0;
  Communicator *inside_node_ = nullptr, *across_nodes_ = nullptr;
  std::map<AxisSet, Communicator*> groups_;
  std::map<AxisSet, std::unique_ptr<RankGroup>> ranks_;
};

// The order of sums that a job's numerics need.
inline SumOrder SumOrderOf(Numerics numerics) {
  return numerics == Numerics::kInvariant ? SumOrder::kTree : SumOrder::kRing;
}

}  // namespace choir
