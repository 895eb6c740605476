#include "parallel/context/ring_plan.h"

#include <algorithm>
#include <iterator>

#include "base/check.h"
#include "base/fault.h"

namespace choir {
namespace {

struct Part {
  int rank = 0;
  RowRun rows;
  int64_t way = 0;  // its first row among what travels
  bool travels = false;
};

// Every document's parts on all ranks.
using Parts = std::vector<std::vector<Part>>;

void AddParts(const RowRuns& runs, const std::vector<int32_t>& documents, int rank, Parts& parts) {
  for (const RowRun& run : runs) {
    const int64_t end = run.begin + run.count;
    // The last document that begins at or before the run.
    auto d = std::prev(std::upper_bound(documents.begin(), documents.end(), run.begin));
    for (; d + 1 != documents.end() && *d < end; ++d) {
      const int64_t from = std::max<int64_t>(run.begin, d[0]);
      const int64_t to = std::min<int64_t>(end, d[1]);
      if (from == to) continue;
      const RowRun rows{from, to - from, run.here + from - run.begin};
      parts[static_cast<size_t>(d - documents.begin())].push_back({rank, rows});
    }
  }
}

bool Sees(const Part& query, const Part& key) {
  if (query.rank != key.rank && Injected(Fault::kRingMaskByLocalIndex)) {
    return key.rows.here < query.rows.here;
  }
  return key.rows.begin < query.rows.begin;
}

// Calls body(query, key) for the pairs of parts of which one sees the other.
template <class P, class Body>
void ForEachPair(P& parts, Body&& body) {
  for (auto& of_document : parts) {
    for (auto& query : of_document) {
      for (auto& key : of_document) {
        if (&query != &key && Sees(query, key)) body(query, key);
      }
    }
  }
}

// Which parts travel, how far, and in which order.
std::vector<TravellingParts> Travelling(Parts& parts, int ranks) {
  std::vector<TravellingParts> travelling(static_cast<size_t>(ranks));
  ForEachPair(parts, [&](const Part& query, Part& key) {
    if (query.rank == key.rank) return;
    key.travels = true;
    int& hops = travelling[static_cast<size_t>(key.rank)].hops;
    hops = std::max(hops, (query.rank - key.rank + ranks) % ranks);
  });
  std::vector<std::vector<Part*>> of_rank(static_cast<size_t>(ranks));
  for (auto& of_document : parts) {
    for (Part& part : of_document) {
      if (part.travels) of_rank[static_cast<size_t>(part.rank)].push_back(&part);
    }
  }
  for (size_t r = 0; r < of_rank.size(); ++r) {
    std::sort(of_rank[r].begin(), of_rank[r].end(),
              [](const Part* a, const Part* b) { return a->rows.here < b->rows.here; });
    for (Part* part : of_rank[r]) {
      part->way = travelling[r].rows();
      AppendRows(travelling[r].parts, part->rows.here, part->rows.count);
    }
  }
  return travelling;
}

}  // namespace

RingPlan PlanRing(const std::vector<RowRuns>& runs, const std::vector<int32_t>& documents,
                  int rank) {
  CHECK(!documents.empty() && documents.front() == 0);
  const int ranks = static_cast<int>(runs.size());
  Parts parts(documents.size());
  for (int r = 0; r < ranks; ++r) AddParts(runs[static_cast<size_t>(r)], documents, r, parts);

  RingPlan plan;
  plan.boundaries = {0};
  for (const auto& of_document : parts) {
    for (const Part& part : of_document) {
      if (part.rank != rank) continue;
      plan.boundaries.push_back(static_cast<int32_t>(part.rows.here + part.rows.count));
    }
  }
  std::sort(plan.boundaries.begin(), plan.boundaries.end());

  std::erase_if(parts, [](const std::vector<Part>& p) { return p.size() < 2; });
  plan.travelling = Travelling(parts, ranks);
  plan.seen.resize(runs.size());
  ForEachPair(parts, [&](const Part& query, const Part& key) {
    if (query.rank != rank) return;
    const int64_t first = key.rank == rank ? key.rows.here : key.way;
    plan.seen[static_cast<size_t>(key.rank)].push_back(
        {query.rows.here, query.rows.count, first, key.rows.count});
  });
  return plan;
}

int64_t VisiblePairs(const RingPlan& plan) {
  int64_t pairs = 0;
  for (size_t i = 0; i + 1 < plan.boundaries.size(); ++i) {
    const int64_t n = plan.boundaries[i + 1] - plan.boundaries[i];
    pairs += n * (n + 1) / 2;
  }
  for (const auto& blocks : plan.seen) {
    for (const SeenBlock& b : blocks) pairs += b.queries * b.keys;
  }
  return pairs;
}

}  // namespace choir
