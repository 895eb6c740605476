// Rows go to the ranks that hold their experts, and results come back, piece by piece
// (exchange_plan.h) and while experts compute.
//
//   forward    ToExperts starts all pieces; the first product of the experts waits for a piece
//              before it computes the piece's experts; the last product starts the way back of a
//              piece when it has computed its experts; FromExperts waits for all.
//   backward   the same, mirrored: gradients of results go to the experts and are awaited by the
//              last product, gradients of rows leave after the first product's.
#pragma once

#include <memory>
#include <vector>

#include "ops/grouped_matmul.h"
#include "ops/tape.h"
#include "parallel/expert/exchange_plan.h"

namespace choir {

// Sorted rows on their way to the experts. One start at a time.
class Arrivals {
 public:
  // Starts all pieces of `sorted` [sorted_rows, C]. The result [arriving_rows, C] holds a piece
  // once Await of it has returned.
  Tensor Start(const ExchangePlan& plan, const Tensor& sorted);
  // Nothing if the piece is not under way.
  void Await(const ExchangePlan& plan, int64_t piece);
  void AwaitAll(const ExchangePlan& plan);

 private:
  struct Flight {
    Event event;
    Tensor arrived;  // undefined: not under way
    Tensor sent;     // here for as long as `arrived`, however early it has left
  };
  std::vector<Flight> flights_;  // by piece
  Tensor rows_;
};

// Rows by local expert on their way back, where the parts of an expert's width are added up.
class Returns {
 public:
  // Starts one piece of `rows` [arriving_rows, C], which holds it.
  void Start(const ExchangePlan& plan, int64_t piece, const Tensor& rows);
  // [sorted_rows, C], when all is there: starts the pieces of `rows` that have not been.
  Tensor Collect(const ExchangePlan& plan, const Tensor& rows);

 private:
  struct Flight {
    Event event;
    Tensor returned, sent;
  };
  std::vector<Flight> flights_;
  const void* from_ = nullptr;  // the rows that were started
};

struct ExpertExchange {
  ExchangePlan plan;
  Arrivals rows, result_grads;
  Returns results, row_grads;
};
// Made once for a layer's forward pass; closures of the tape share it.
using ExchangeRef = std::shared_ptr<ExpertExchange>;

// Who reads rows that arrive: an op that knows nothing of it, so that they are there when
// ToExperts returns (and gradients when FromExperts hands them on); or one that awaits them: the
// products that OverlapExperts has prepared, or AwaitRows.
enum class Reader { kAnyOp, kAwaits };

// sorted [sorted_rows, C] to [arriving_rows, C], rows by local expert. Backward sums over parts.
Var ToExperts(Tape& tape, const Var& sorted, const ExchangeRef& exchange, Reader reader,
              const Tag& tag = "moe.to_experts");
// [arriving_rows, C] back to [sorted_rows, C], summed over parts.
Var FromExperts(Tape& tape, const Var& rows, const ExchangeRef& exchange, Reader reader,
                const Tag& tag = "moe.from_experts");

// The rows of ToExperts for any op, when all are there. Backward starts the way back of their
// gradients, so that it can overlap with what was computed between ToExperts and this.
Var AwaitRows(Tape& tape, const Var& rows, const ExchangeRef& exchange, const Tag& tag);

// Makes the experts' first product, of the rows of ToExperts, and their last, which FromExperts
// sends back, wait for and start pieces of the exchange. Changes no number.
void OverlapExperts(const ExchangeRef& exchange, GroupedOptions& first, GroupedOptions& last);

}  // namespace choir
