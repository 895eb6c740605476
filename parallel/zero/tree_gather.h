// The canonical sum of a small gradient whose parts are spread over ranks in any way: everyone gets
// all nodes and finishes the tree alone.
#pragma once

#include "ops/parameter.h"
#include "parallel/place.h"

namespace choir {

// The tree of a gradient that is also summed over heads: a token tree for each of kVirtualPieces
// pieces of the heads.
std::shared_ptr<const LeafTree> OverHeads(const LeafTree& tokens);

// The root of parameter.tree over the ranks along `axes`. Blocks.
Tensor FinishTree(Parameter& parameter, const Place& place, AxisSet axes);

}  // namespace choir
