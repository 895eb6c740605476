// Who sees whose keys when the tokens of a microbatch lie on a ring of context ranks.
//
// A document is cut where the runs of the ranks begin and end. Inside a part attention is causal,
// and a later part sees an earlier one whole: so there are no masks, only parts and pairs of parts.
#pragma once

#include <cstdint>
#include <vector>

#include "ops/attention_blocks.h"
#include "ops/row_runs.h"

namespace choir {

// The keys of one rank as they travel: only parts that another rank sees, one after another.
struct TravellingParts {
  RowRuns parts;  // `begin`: the row of the owner's tensor, `here`: its row on the way
  int hops = 0;   // how many ranks further on they go; 0: nobody else sees any

  int64_t rows() const { return NumRows(parts); }
};

struct RingPlan {
  // Cumulative lengths of the parts that are here, as AttendCausal takes them.
  std::vector<int32_t> boundaries;
  std::vector<TravellingParts> travelling;  // by owner
  // By owner: pairs of a part here and an earlier part of the owner. Keys are rows of what travels;
  // of the own rank, rows here.
  std::vector<std::vector<SeenBlock>> seen;
};

// `runs`: the rows of every rank. `documents`: cumulative lengths in the whole microbatch.
RingPlan PlanRing(const std::vector<RowRuns>& runs, const std::vector<int32_t>& documents,
                  int rank);

// (query, key) pairs that rank of `plan` computes.
int64_t VisiblePairs(const RingPlan& plan);

}  // namespace choir
