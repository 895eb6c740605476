#include "parallel/mesh/mesh.h"

#include <utility>

#include "base/check.h"

namespace choir {
namespace {

constexpr std::array<Axis, 5> kDenseOrder = {Axis::kPipe, Axis::kReplica, Axis::kShard,
                                             Axis::kContext, Axis::kTensor};
constexpr std::array<Axis, 5> kExpertOrder = {
    Axis::kPipe, Axis::kExpertData, Axis::kExpertContext, Axis::kExpert, Axis::kExpertTensor};

}  // namespace

std::string_view Name(Axis axis) {
  static constexpr std::string_view kNames[kNumAxes] = {
      "pipe",        "replica",        "shard",  "context",      "tensor",
      "expert_data", "expert_context", "expert", "expert_tensor"};
  return kNames[static_cast<size_t>(axis)];
}

std::string AxisSet::ToString() const {
  std::string text;
  for (int i = 0; i < kNumAxes; ++i) {
    const Axis axis = static_cast<Axis>(i);
    if (!Has(axis)) continue;
    if (!text.empty()) text += "+";
    text += Name(axis);
  }
  return text.empty() ? "none" : text;
}

Mesh::Mesh(const Degrees& degrees) : degrees_(degrees) {
  for (int degree : {degrees.pipe, degrees.replica, degrees.shard, degrees.context, degrees.tensor,
                     degrees.expert, degrees.expert_tensor}) {
    CHECK(degree > 0);
  }
  const int tokens = degrees.replica * degrees.shard * degrees.context * degrees.tensor;
  const int experts = degrees.expert * degrees.expert_tensor;
  CHECK(tokens % experts == 0) << tokens << " ranks, " << experts << " of experts";
  // Ranks that share sequences are neighbours: those beyond one exchange of tokens with experts.
  const int sharing = degrees.context * degrees.tensor;
  expert_context_ = sharing % experts == 0 ? sharing / experts : 1;
  expert_data_ = tokens / (experts * expert_context_);
}

int Mesh::Degree(Axis axis) const {
  switch (axis) {
    case Axis::kPipe:
      return degrees_.pipe;
    case Axis::kReplica:
      return degrees_.replica;
    case Axis::kShard:
      return degrees_.shard;
    case Axis::kContext:
      return degrees_.context;
    case Axis::kTensor:
      return degrees_.tensor;
    case Axis::kExpertData:
      return expert_data_;
    case Axis::kExpertContext:
      return expert_context_;
    case Axis::kExpert:
      return degrees_.expert;
    case Axis::kExpertTensor:
      return degrees_.expert_tensor;
  }
  CHECK(false) << "axis " << static_cast<int>(axis);
  __builtin_unreachable();
}

namespace {

bool OfExperts(AxisSet axes) { return !(axes - kDenseAxes).empty(); }

// Calls body(axis) for the axes of the grid of `axes`, outermost first.
template <class Body>
void ForEachAxis(AxisSet axes, const Body& body) {
  CHECK((axes - kDenseAxes).empty() || (axes - kExpertAxes).empty())
      << axes.ToString() << " mixes the two grids";
  if (OfExperts(axes)) {
    for (Axis axis : kExpertOrder) body(axis);
  } else {
    for (Axis axis : kDenseOrder) body(axis);
  }
}

}  // namespace

int Mesh::Size(AxisSet axes) const {
  int n = 1;
  ForEachAxis(axes, [&](Axis axis) {
    if (axes.Has(axis)) n *= Degree(axis);
  });
  return n;
}

int Mesh::Coord(int rank, AxisSet axes) const {
  CHECK(rank >= 0 && rank < size());
  int coord = 0, stride = size();
  ForEachAxis(axes, [&](Axis axis) {
    stride /= Degree(axis);
    if (axes.Has(axis)) coord = coord * Degree(axis) + rank / stride % Degree(axis);
  });
  return coord;
}

std::vector<int> Mesh::Peers(int rank, AxisSet axes) const {
  CHECK(rank >= 0 && rank < size());
  // `fixed` is what the other axes add to the rank's number.
  std::vector<int> peers = {0};
  int stride = size(), fixed = 0;
  ForEachAxis(axes, [&](Axis axis) {
    const int degree = Degree(axis);
    stride /= degree;
    if (!axes.Has(axis)) {
      fixed += rank / stride % degree * stride;
      return;
    }
    std::vector<int> more;
    for (int peer : peers) {
      for (int i = 0; i < degree; ++i) more.push_back(peer + i * stride);
    }
    peers = std::move(more);
  });
  for (int& peer : peers) peer += fixed;
  return peers;
}

}  // namespace choir
