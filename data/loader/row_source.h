// The rows of all lanes in their global order, made ahead by a background thread.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "data/loader/row_tokens.h"
#include "data/order/lane.h"

namespace choir {

// A row, and the state of its lane once it is consumed.
struct MadeRow {
  RowTokens tokens;
  LaneState after;
  absl::Status damage;  // of the corpus, as far as this row or an earlier one touched it
};

class RowSource {
 public:
  // Continues each lane from its state; the first row is `first_row`, of lane first_row mod lanes.
  // `prefetch_rows` 0: rows are made on demand.
  RowSource(std::shared_ptr<const LaneContext> context, const std::vector<LaneState>& states,
            int64_t first_row, const RowOptions& options);
  ~RowSource();
  RowSource(const RowSource&) = delete;

  MadeRow Next();
  // Time that Next spent waiting for the thread.
  double seconds_waited() const { return seconds_waited_; }

 private:
  MadeRow Make();
  void Run();

  std::shared_ptr<const LaneContext> context_;
  RowOptions options_;
  std::vector<Lane> lanes_;
  int64_t next_row_;  // to be made
  double seconds_waited_ = 0;

  std::mutex mutex_;  // guards the rest
  std::condition_variable changed_;
  std::deque<MadeRow> queue_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace choir
