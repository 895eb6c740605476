#include "parallel/expert/token_exchange.h"

#include <algorithm>

#include "base/fault.h"
#include "ops/launch.h"

namespace choir {
namespace {

// The nodes of an exchange, and the experts that each has: node d's are [begin[d], begin[d + 1]).
struct Nodes {
  std::vector<int64_t> begin;
  int64_t count() const { return static_cast<int64_t>(begin.size()) - 1; }
};

Nodes NodesOf(const ExchangeMembers& all, int node_size) {
  Nodes nodes;
  for (int64_t m = 0; m < all.group->size(); m += node_size) nodes.begin.push_back(all.Begin(m));
  nodes.begin.push_back(all.begin.back());
  return nodes;
}

// The ranks of this rank's node hold the node's experts, counted from its first.
ExchangeMembers InsideMembers(const ExchangeMembers& all, const Place& place) {
  ExchangeMembers inside = all;
  inside.level = RoutingQuestion::Level::kInsideNode;
  inside.group = place.inside_node();
  inside.begin.clear();
  const int64_t size = place.exchange().node_size;
  inside.nodes = all.group->size() / size;
  const int64_t first = all.group->rank() / size * size;
  for (int64_t m = first; m < first + size; m += all.parts) {
    inside.begin.push_back(all.Begin(m) - all.Begin(first));
  }
  const int64_t last = first + size - 1;
  inside.begin.push_back(all.Begin(last) + all.Count(last) - all.Begin(first));
  return inside;
}

ExchangeMembers AcrossMembers(const ExchangeMembers& all, const Nodes& nodes, const Place& place) {
  ExchangeMembers across{.group = place.across_nodes(),
                         .place = &place,
                         .level = RoutingQuestion::Level::kNodes,
                         .routing = all.routing};
  for (int64_t d = 0; d <= nodes.count(); ++d) across.begin.push_back(d);
  return across;
}

// i32 [T, nodes]: d at place d where a token has choices in node d, elsewhere kAbsent.
Tensor NodeChoices(const Tensor& indices, const Nodes& nodes) {
  const int64_t tokens = indices.dim(0), top_k = indices.dim(1), count = nodes.count();
  Tensor choices = Tensor::Empty({tokens, count}, indices.options(MemoryCategory::kActivations));
  Launch(indices.device(), MemoryWork("node_choices", indices, choices), [&] {
    const int32_t* chosen = indices.data<int32_t>();
    for (int64_t t = 0; t < tokens; ++t) {
      for (int64_t d = 0; d < count; ++d) {
        const int64_t begin = nodes.begin[static_cast<size_t>(d)];
        const int64_t end = nodes.begin[static_cast<size_t>(d) + 1];
        const bool met = std::any_of(chosen + t * top_k, chosen + (t + 1) * top_k,
                                     [begin, end](int64_t e) { return e >= begin && e < end; });
        choices.data<int32_t>()[t * count + d] = met ? static_cast<int32_t>(d) : kAbsent;
      }
    }
  });
  return choices;
}

// For each row to a node the token's choices there, counted from the node's first expert.
Tensor ChoicesInside(const Tensor& indices, const Dispatch& to_nodes, const Nodes& nodes) {
  const int64_t top_k = indices.dim(1), rows = to_nodes.source.NumElements();
  Tensor inside = Tensor::Empty({rows, top_k}, indices.options(MemoryCategory::kActivations));
  Launch(indices.device(), MemoryWork("choices_inside", indices, inside), [&] {
    for (int64_t n = 0; n < rows; ++n) {
      const int64_t source = to_nodes.source.data<int32_t>()[n];
      const int32_t* chosen = indices.data<int32_t>() + source / nodes.count() * top_k;
      const auto d = static_cast<size_t>(source % nodes.count());
      for (int64_t k = 0; k < top_k; ++k) {
        const bool here = chosen[k] >= nodes.begin[d] && chosen[k] < nodes.begin[d + 1];
        inside.data<int32_t>()[n * top_k + k] =
            here ? chosen[k] - static_cast<int32_t>(nodes.begin[d]) : kAbsent;
      }
    }
  });
  return inside;
}

// Plans the exchange of rows by their choices, and starts it.
void Start(Tape& tape, const Var& x, const Var& indices, const ExchangeMembers& members,
           SentTokens& sent) {
  RowsPlan plan = PlanRows(tape, indices, members);
  sent.dispatch = std::move(plan.dispatch);
  sent.exchange = std::make_shared<ExpertExchange>();
  sent.exchange->plan = std::move(plan.exchange);
  sent.rows = ToExperts(tape, Permute(tape, x, sent.dispatch), sent.exchange, Reader::kAwaits);
}

void SendOverNodes(Tape& tape, const Var& x, const TokenChoices& choices, const Place& place,
                   SentTokens& sent) {
  ExchangeMembers all = AllMembers(place, choices.experts);
  all.routing = choices.routing;
  const Nodes nodes = NodesOf(all, place.exchange().node_size);
  const Tensor& indices = choices.indices.tensor();
  sent.members = InsideMembers(all, place);
  RowsPlan plan =
      PlanRows(tape, tape.Input(NodeChoices(indices, nodes)), AcrossMembers(all, nodes, place));
  sent.to_nodes = std::move(plan.dispatch);
  sent.nodes = std::make_shared<ExpertExchange>();
  sent.nodes->plan = std::move(plan.exchange);
  Arrivals of_choices;
  sent.choices = of_choices.Start(sent.nodes->plan, ChoicesInside(indices, sent.to_nodes, nodes));
  of_choices.AwaitAll(sent.nodes->plan);
  sent.weights = ToExperts(tape, Permute(tape, choices.weights, sent.to_nodes, "permute.nodes"),
                           sent.nodes, Reader::kAnyOp, "moe.weights_to_nodes");
  if (Injected(Fault::kTwoLevelWeightMissing)) sent.weights = tape.Input(sent.weights.tensor());
  // Last, so that small things do not wait for it, here and in backward.
  sent.rows = ToExperts(tape, Permute(tape, x, sent.to_nodes, "permute.nodes"), sent.nodes,
                        Reader::kAwaits, "moe.to_nodes");
}

}  // namespace

SentTokens SendTokens(Tape& tape, const Var& x, const TokenChoices& choices, const Place& place) {
  SentTokens sent;
  if (place.across_nodes() != nullptr) {
    SendOverNodes(tape, x, choices, place, sent);
    return sent;
  }
  sent.weights = choices.weights;
  ExchangeMembers all = AllMembers(place, choices.experts);
  all.routing = choices.routing;
  Start(tape, x, choices.indices, all, sent);
  return sent;
}

void DeliverTokens(Tape& tape, SentTokens& sent) {
  if (sent.nodes == nullptr) return;
  const Var tokens = AwaitRows(tape, std::move(sent.rows), sent.nodes, "moe.node_rows");
  const Var choices = tape.Input(std::move(sent.choices));
  Start(tape, tokens, choices, sent.members, sent);
}

Var ReturnTokens(Tape& tape, const Var& results, const SentTokens& sent) {
  const Var back = FromExperts(tape, results, sent.exchange, Reader::kAwaits);
  const Var sums = Unpermute(tape, back, sent.weights, sent.dispatch);
  if (sent.nodes == nullptr) return sums;
  return SumCopies(tape, FromExperts(tape, sums, sent.nodes, Reader::kAnyOp, "moe.from_nodes"),
                   sent.to_nodes);
}

}  // namespace choir
