#include "data/loader/row_source.h"

#include <chrono>
#include <utility>

namespace choir {

RowSource::RowSource(std::shared_ptr<const LaneContext> context,
                     const std::vector<LaneState>& states, int64_t first_row,
                     const RowOptions& options)
    : context_(std::move(context)), options_(options), next_row_(first_row) {
  for (size_t l = 0; l < states.size(); ++l) {
    lanes_.emplace_back(context_, static_cast<int64_t>(l)).SetState(states[l]);
  }
  if (context_->config.prefetch_rows > 0) thread_ = std::thread([this] { Run(); });
}

RowSource::~RowSource() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

MadeRow RowSource::Make() {
  Lane& lane = lanes_[next_row_ % static_cast<int64_t>(lanes_.size())];
  ++next_row_;
  const PackedRow row = lane.NextRow();
  MadeRow made{MakeRowTokens(*context_->corpus, row, options_), lane.state(), {}};
  made.damage = context_->corpus->damage();
  return made;
}

void RowSource::Run() {
  const auto bound = static_cast<size_t>(context_->config.prefetch_rows);
  while (true) {
    MadeRow row = Make();
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return stop_ || queue_.size() < bound; });
    if (stop_) return;
    queue_.push_back(std::move(row));
    changed_.notify_all();
  }
}

MadeRow RowSource::Next() {
  if (!thread_.joinable()) return Make();
  std::unique_lock lock(mutex_);
  if (queue_.empty()) {
    const auto start = std::chrono::steady_clock::now();
    changed_.wait(lock, [&] { return !queue_.empty(); });
    seconds_waited_ +=
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
  MadeRow row = std::move(queue_.front());
  queue_.pop_front();
  changed_.notify_all();
  return row;
}

}  // namespace choir
