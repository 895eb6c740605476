// How many rows each exchange of tokens moves. A run finds it out from what its router chose; a run
// on the meta device, which chooses nothing, must be told. What a run found can be told to it: then
// the memory of both is the same to the byte.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <utility>
#include <vector>

namespace choir {

// One exchange, as this rank sees it before it knows where rows go.
struct RoutingQuestion {
  enum class Level {
    kExperts,     // rows to the ranks of all experts
    kNodes,       // rows to nodes; a node is counted as one expert
    kInsideNode,  // rows that came to this node, to its ranks
  };
  Level level = Level::kExperts;
  int64_t tokens = 0;  // of this rank
  int64_t top_k = 0;
  std::vector<int64_t> begin;  // experts [begin[i], begin[i + 1]) are at the i-th group of members
  int64_t group = 0;           // that this rank is of
  int64_t members = 1;         // ranks that exchange
  int64_t leaves = 1;          // of sums over tokens
  int64_t nodes = 1;           // inside a node: how many there are
};

struct RoutingAnswer {
  std::vector<int64_t> sent;       // by expert: rows of this rank
  std::vector<int32_t> arriving;   // [members, leaves, experts of this rank]
  std::vector<int64_t> positions;  // of the members' leaves, [members, leaves]; may be empty
};

class ExchangeRouting {
 public:
  virtual ~ExchangeRouting() = default;
  // Called for each exchange, in the order of the step: on meta ...
  virtual RoutingAnswer Ask(const RoutingQuestion& question) = 0;
  // ... and elsewhere, when its rows are known.
  virtual void Tell(RoutingAnswer answer) = 0;
};

// What a step found, to be asked for in the same order.
class RecordedRouting : public ExchangeRouting {
 public:
  RoutingAnswer Ask(const RoutingQuestion& question) override;
  void Tell(RoutingAnswer answer) override { answers_.push_back(std::move(answer)); }
  // Forgets all answers: before a step that is recorded.
  void Clear() { answers_.clear(); }

 private:
  std::deque<RoutingAnswer> answers_;
};

// Every expert is chosen as often; rows that do not divide go to the first ones.
class BalancedRouting : public ExchangeRouting {
 public:
  RoutingAnswer Ask(const RoutingQuestion& question) override;
  void Tell(RoutingAnswer) override {}
};

// This rank's experts are chosen `factor` times as often as on the mean, by every rank (a factor of
// 1 is balanced; each token chooses an expert once at most); others as often as each other.
class SkewedRouting : public ExchangeRouting {
 public:
  explicit SkewedRouting(double factor) : factor_(factor) {}
  RoutingAnswer Ask(const RoutingQuestion& question) override;
  void Tell(RoutingAnswer) override {}

 private:
  double factor_;
};

// Every token of every rank chooses this rank's experts first: nothing needs more memory here. With
// a capacity factor an expert takes no more of a microbatch, which is cut over `token_ranks` ranks.
class WorstRouting : public ExchangeRouting {
 public:
  WorstRouting(std::optional<double> capacity_factor, int64_t token_ranks)
      : capacity_factor_(capacity_factor), token_ranks_(token_ranks) {}
  RoutingAnswer Ask(const RoutingQuestion& question) override;
  void Tell(RoutingAnswer) override {}

 private:
  std::optional<double> capacity_factor_;
  int64_t token_ranks_;
};

}  // namespace choir
