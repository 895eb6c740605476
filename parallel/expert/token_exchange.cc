#include "parallel/expert/token_exchange.h"

#include "base/fault.h"

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
  inside.group = place.inside_node();
  inside.begin.clear();
  const int64_t size = place.exchange().node_size;
  const int64_t first = all.group->rank() / size * size;
  for (int64_t m = first; m < first + size; m += all.parts) {
    inside.begin.push_back(all.Begin(m) - all.Begin(first));
  }
  const int64_t last = first + size - 1;
  inside.begin.push_back(all.Begin(last) + all.Count(last) - all.Begin(first));
  return inside;
}

ExchangeMembers AcrossMembers(const Nodes& nodes, const Place& place) {
  ExchangeMembers across{.group = place.across_nodes(), .place = &place};
  for (int64_t d = 0; d <= nodes.count(); ++d) across.begin.push_back(d);
  return across;
}

// i32 [T, nodes]: d at place d where a token has choices in node d, elsewhere kAbsent.
Tensor NodeChoices(const Tensor& indices, const Nodes& nodes) {
  const int64_t tokens = indices.dim(0), top_k = indices.dim(1), count = nodes.count();
  Tensor choices = Tensor::Empty({tokens, count}, indices.options(MemoryCategory::kActivations));
  const int32_t* chosen = indices.data<int32_t>();
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t d = 0; d < count; ++d) {
      int32_t choice = kAbsent;
      for (int64_t k = 0; k < top_k; ++k) {
        const int64_t e = chosen[t * top_k + k];
        if (e >= nodes.begin[static_cast<size_t>(d)] && e < nodes.begin[static_cast<size_t>(d) + 1])
          choice = static_cast<int32_t>(d);
      }
      choices.data<int32_t>()[t * count + d] = choice;
    }
  }
  return choices;
}

// For each row to a node the token's choices there, counted from the node's first expert.
Tensor ChoicesInside(const Tensor& indices, const Dispatch& to_nodes, const Nodes& nodes) {
  const int64_t top_k = indices.dim(1), rows = to_nodes.source.NumElements();
  Tensor inside = Tensor::Empty({rows, top_k}, indices.options(MemoryCategory::kActivations));
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
  return inside;
}

// Plans the exchange of rows that are sorted by `sent.dispatch`, and starts it.
void Start(Tape& tape, const Var& x, const ExchangeMembers& members, SentTokens& sent) {
  sent.exchange = std::make_shared<ExpertExchange>();
  sent.exchange->plan = PlanExchange(tape, sent.dispatch, members);
  sent.rows = ToExperts(tape, Permute(tape, x, sent.dispatch), sent.exchange, Reader::kAwaits);
}

void SendOverNodes(Tape& tape, const Var& x, const TokenChoices& choices, const Place& place,
                   SentTokens& sent) {
  const ExchangeMembers all = AllMembers(place, choices.experts);
  const Nodes nodes = NodesOf(all, place.exchange().node_size);
  const Tensor& indices = choices.indices.tensor();
  sent.members = InsideMembers(all, place);
  sent.to_nodes =
      PlanDispatch(tape, tape.Input(NodeChoices(indices, nodes)), static_cast<int>(nodes.count()));
  sent.nodes = std::make_shared<ExpertExchange>();
  sent.nodes->plan = PlanExchange(tape, sent.to_nodes, AcrossMembers(nodes, place));
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
  sent.dispatch = PlanDispatch(tape, choices.indices, choices.experts);
  Start(tape, x, AllMembers(place, choices.experts), sent);
  return sent;
}

void DeliverTokens(Tape& tape, SentTokens& sent) {
  if (sent.nodes == nullptr) return;
  const Var tokens = AwaitRows(tape, std::move(sent.rows), sent.nodes, "moe.node_rows");
  sent.dispatch = PlanDispatch(tape, tape.Input(std::move(sent.choices)),
                               static_cast<int>(sent.members.begin.back()));
  Start(tape, tokens, sent.members, sent);
}

Var ReturnTokens(Tape& tape, const Var& results, const SentTokens& sent) {
  const Var back = FromExperts(tape, results, sent.exchange, Reader::kAwaits);
  const Var sums = Unpermute(tape, back, sent.weights, sent.dispatch);
  if (sent.nodes == nullptr) return sums;
  return SumCopies(tape, FromExperts(tape, sums, sent.nodes, Reader::kAnyOp, "moe.from_nodes"),
                   sent.to_nodes);
}

}  // namespace choir
