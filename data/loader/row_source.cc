#include "data/loader/row_source.h"

#include <chrono>
#include <utility>

#include "base/check.h"
#include "base/status.h"

namespace choir {

RowSource::RowSource(std::shared_ptr<const LaneContext> context, Start start,
                     const RowOptions& options, StepRowsOf rows_of)
    : context_(std::move(context)),
      options_(options),
      rows_of_(std::move(rows_of)),
      batch_(start.batch),
      next_(start.row) {
  for (size_t l = 0; l < start.lanes.size(); ++l) {
    lanes_.emplace_back(context_, static_cast<int64_t>(l)).SetState(start.lanes[l]);
  }
  batch_rows_ = rows_of_(batch_);
  busy_.assign(lanes_.size(), false);
  if (context_->config.prefetch_rows == 0) return;
  for (int64_t t = 0; t < context_->config.threads; ++t) threads_.emplace_back([this] { Run(); });
}

RowSource::~RowSource() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

absl::StatusOr<MadeRow> RowSource::Make(int64_t n, bool wanted) {
  Lane& lane = lanes_[static_cast<size_t>(n) % lanes_.size()];
  ASSIGN_OR_RETURN(const PackedRow row, lane.NextRow());
  const Corpus& corpus = *context_->corpus;
  std::vector<TokenDocument> documents;
  std::vector<DocumentHead> heads;
  for (const Piece& piece : row.pieces) {
    const DocumentStream& stream = context_->streams[piece.stream];
    if (wanted) {
      ASSIGN_OR_RETURN(documents.emplace_back(),
                       corpus.Read(Split::kTrain, stream, piece.document));
    } else {
      ASSIGN_OR_RETURN(heads.emplace_back(), corpus.Head(Split::kTrain, stream, piece.document));
    }
  }
  MadeRow made;
  made.tokens = wanted ? MakeRowTokens(context_->streams, row, documents, options_)
                       : MakeRowSegments(context_->streams, row, heads, options_);
  made.after = lane.state();
  return made;
}

RowSource::Slot RowSource::Begin() {
  while (batch_row_ == batch_rows_.count) {
    batch_rows_ = rows_of_(++batch_);
    batch_row_ = 0;
  }
  Slot slot;
  slot.wanted =
      !context_->plan.SkipsBatch(batch_) && (!batch_rows_.mine || batch_rows_.mine(batch_row_));
  ++batch_row_;
  ++next_;
  return slot;
}

bool RowSource::MayBegin() const {
  return static_cast<int64_t>(slots_.size()) < context_->config.prefetch_rows &&
         !busy_[static_cast<size_t>(next_) % lanes_.size()];
}

// Rows are begun in order, so that those of a lane are made in order, by one thread at a time.
void RowSource::Run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return stop_ || MayBegin(); });
    if (stop_) return;
    const int64_t n = next_;
    const size_t lane = static_cast<size_t>(n) % lanes_.size();
    slots_.push_back(Begin());
    Slot& slot = slots_.back();  // stays where it is until it is done and taken
    busy_[lane] = true;
    lock.unlock();
    absl::StatusOr<MadeRow> row = Make(n, slot.wanted);
    lock.lock();
    slot.row = std::move(row);
    slot.done = true;
    // After an error nothing of this lane may be made, as if nothing were wrong.
    busy_[lane] = !slot.row.ok();
    changed_.notify_all();
  }
}

absl::StatusOr<MadeRow> RowSource::Next() {
  const auto start = std::chrono::steady_clock::now();
  std::unique_lock lock(mutex_);
  if (threads_.empty() && slots_.empty()) {
    const int64_t n = next_;
    slots_.push_back(Begin());
    slots_.back().row = Make(n, slots_.back().wanted);
    slots_.back().done = true;
  } else {
    changed_.wait(lock, [&] { return !slots_.empty() && slots_.front().done; });
  }
  seconds_waited_ +=
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (!slots_.front().row.ok()) return slots_.front().row.status();  // stays the first
  absl::StatusOr<MadeRow> row = std::move(slots_.front().row);
  slots_.pop_front();
  lock.unlock();
  changed_.notify_all();
  return row;
}

}  // namespace choir
