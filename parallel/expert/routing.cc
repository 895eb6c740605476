#include "parallel/expert/routing.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "parallel/expert/capacity.h"

namespace choir {
namespace {

using Level = RoutingQuestion::Level;

int64_t Experts(const RoutingQuestion& q) { return q.begin.back(); }
int64_t First(const RoutingQuestion& q) { return q.begin[static_cast<size_t>(q.group)]; }
int64_t Local(const RoutingQuestion& q) {
  return q.begin[static_cast<size_t>(q.group) + 1] - First(q);
}

// Nodes that a token meets. Of its K experts, drawn evenly, a node among D has none with
// probability (1 - 1/D)^K.
double NodesMet(int64_t nodes, int64_t top_k) {
  const auto d = static_cast<double>(nodes);
  return d * (1 - std::pow(1 - 1 / d, static_cast<double>(top_k)));
}

// Rows that one rank sends.
int64_t BalancedRows(const RoutingQuestion& q) {
  double each = static_cast<double>(q.top_k);
  if (q.level == Level::kNodes) each = NodesMet(Experts(q), q.top_k);
  if (q.level == Level::kInsideNode) each /= NodesMet(q.nodes, q.top_k);
  return static_cast<int64_t>(std::ceil(static_cast<double>(q.tokens) * each));
}

// i's share of `rows` over `count`, the first ones one larger.
int64_t Share(int64_t rows, int64_t count, int64_t i) { return rows / count + (i < rows % count); }

}  // namespace

RoutingAnswer RecordedRouting::Ask(const RoutingQuestion& q) {
  CHECK(!answers_.empty()) << "an exchange that the recorded step did not have";
  RoutingAnswer answer = std::move(answers_.front());
  answers_.pop_front();
  CHECK(static_cast<int64_t>(answer.sent.size()) == Experts(q));
  return answer;
}

RoutingAnswer BalancedRouting::Ask(const RoutingQuestion& q) {
  RoutingAnswer answer;
  const int64_t rows = BalancedRows(q);
  for (int64_t e = 0; e < Experts(q); ++e) answer.sent.push_back(Share(rows, Experts(q), e));
  answer.arriving.assign(static_cast<size_t>(q.members * q.leaves * Local(q)), 0);
  for (int64_t m = 0; m < q.members; ++m) {
    for (int64_t e = 0; e < Local(q); ++e) {
      answer.arriving[static_cast<size_t>(m * q.leaves * Local(q) + e)] =
          static_cast<int32_t>(Share(rows, Experts(q), First(q) + e));
    }
  }
  return answer;
}

RoutingAnswer SkewedRouting::Ask(const RoutingQuestion& q) {
  RoutingAnswer answer = BalancedRouting().Ask(q);
  const int64_t first = First(q), local = Local(q), others = Experts(q) - local;
  int64_t left = 0;  // rows for the other experts
  for (int64_t rows : answer.sent) left += rows;
  for (int64_t e = first; e < first + local; ++e) {
    int64_t& rows = answer.sent[static_cast<size_t>(e)];
    const auto more = static_cast<int64_t>(std::ceil(factor_ * static_cast<double>(rows)));
    rows = std::min({more, q.tokens, left});
    left -= rows;
  }
  for (int64_t e = 0, i = 0; e < Experts(q); ++e) {
    if (e >= first && e < first + local) continue;
    answer.sent[static_cast<size_t>(e)] = Share(left, others, i++);
  }
  for (int64_t m = 0; m < q.members; ++m) {
    for (int64_t e = 0; e < local; ++e) {
      answer.arriving[static_cast<size_t>(m * q.leaves * local + e)] =
          static_cast<int32_t>(answer.sent[static_cast<size_t>(first + e)]);
    }
  }
  return answer;
}

RoutingAnswer WorstRouting::Ask(const RoutingQuestion& q) {
  RoutingAnswer answer;
  const int64_t experts = Experts(q), local = Local(q);
  const int64_t choices = std::min(q.top_k, experts), here = std::min(choices, local);
  int64_t tokens = q.tokens;
  if (capacity_factor_ && q.level == Level::kExperts) {
    tokens = std::min(tokens,
                      ExpertCapacity(*capacity_factor_, q.tokens * token_ranks_, q.top_k, experts));
  }
  answer.sent.assign(static_cast<size_t>(experts), 0);
  for (int64_t e = 0; e < here; ++e) answer.sent[static_cast<size_t>(First(q) + e)] = tokens;
  for (int64_t e = 0, left = choices - here; e < experts && left > 0; ++e) {
    if (e >= First(q) && e < First(q) + local) continue;
    answer.sent[static_cast<size_t>(e)] = tokens;
    --left;
  }
  answer.arriving.assign(static_cast<size_t>(q.members * q.leaves * local), 0);
  for (int64_t m = 0; m < q.members; ++m) {
    for (int64_t e = 0; e < here; ++e) {
      answer.arriving[static_cast<size_t>(m * q.leaves * local + e)] = static_cast<int32_t>(tokens);
    }
  }
  return answer;
}

}  // namespace choir
