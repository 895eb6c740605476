// The rows of all lanes in their global order, made ahead by background threads.
//
// Every process goes through all rows, because what a lane holds back decides its next row; but the
// tokens are fetched only of the rows that it trains on.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "data/loader/loader.h"
#include "data/loader/row_tokens.h"
#include "data/order/lane.h"

namespace choir {

// A row, and the state of its lane once it is consumed.
struct MadeRow {
  RowTokens tokens;  // not of this process: segments only
  LaneState after;
};

class RowSource {
 public:
  struct Start {
    std::vector<LaneState> lanes;
    int64_t row = 0;    // the first to be made, of lane row mod lanes
    int64_t batch = 0;  // of which it is the first row
  };
  // `rows_of`: the rows of batch b, those that are skipped counted. Makes up to data.prefetch_rows
  // rows ahead in data.threads threads; 0: rows are made by Next.
  RowSource(std::shared_ptr<const LaneContext> context, Start start, const RowOptions& options,
            StepRowsOf rows_of);
  ~RowSource();
  RowSource(const RowSource&) = delete;

  // Errors are those of Lane::NextRow, for the row that has one and all after it.
  absl::StatusOr<MadeRow> Next();
  // Time that Next spent waiting for the threads, or making rows.
  double seconds_waited() const { return seconds_waited_; }

 private:
  struct Slot {
    bool wanted = false;
    bool done = false;
    absl::StatusOr<MadeRow> row = absl::UnknownError("not made");
  };
  // The place of the next row to be begun; mutex held.
  Slot Begin();
  // Makes row `n`, the next of its lane.
  absl::StatusOr<MadeRow> Make(int64_t n, bool wanted);
  bool MayBegin() const;
  void Run();

  std::shared_ptr<const LaneContext> context_;
  RowOptions options_;
  StepRowsOf rows_of_;
  std::vector<Lane> lanes_;
  double seconds_waited_ = 0;

  std::mutex mutex_;  // guards the rest
  std::condition_variable changed_;
  int64_t batch_;           // that row next_ belongs to
  StepRows batch_rows_;     // of it
  int64_t batch_row_ = 0;   // of row next_ in it
  int64_t next_;            // row to be begun
  std::deque<Slot> slots_;  // rows begun and not yet taken; the first is the next to be given
  std::vector<bool> busy_;  // lanes with a thread
  bool stop_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace choir
