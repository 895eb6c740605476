#include "parallel/zero/sum_queue.h"

#include <algorithm>
#include <utility>

namespace choir {

void SumQueue::Add(const SumAxes& axes, Summand summand, Done done) {
  const DType dtype = summand.tensor.dtype();
  auto kind = std::find_if(filling_.begin(), filling_.end(),
                           [&](const Filling& f) { return f.axes == axes && f.dtype == dtype; });
  if (kind == filling_.end()) kind = filling_.insert(kind, {axes, dtype});
  kind->bytes += summand.tensor.bytes();
  kind->items.push_back({std::move(summand), std::move(done)});
  if (kind->bytes >= bucket_bytes_) {
    Filling full = std::move(*kind);
    filling_.erase(kind);
    Launch(std::move(full));
  }
  Poll();
}

void SumQueue::Launch(Filling filling) {
  while (under_way_.size() >= kMostUnderWay) FinishFirst();
  std::vector<Summand> summands;
  UnderWay next;
  for (Item& item : filling.items) {
    summands.push_back(std::move(item.summand));
    next.done.push_back(std::move(item.done));
  }
  next.bucket = std::make_unique<Bucket>(place_, filling.axes, summands, wire_);
  summands.clear();  // copied
  under_way_.push_back(std::move(next));
  Poll();
}

void SumQueue::Flush() {
  for (Filling& filling : std::exchange(filling_, {})) Launch(std::move(filling));
}

void SumQueue::Poll() {
  int turn = Bucket::kSteps;
  for (const UnderWay& u : under_way_) {
    u.bucket->Advance(turn);
    turn = u.bucket->turn();
  }
}

void SumQueue::FinishFirst() {
  UnderWay first = std::move(under_way_.front());
  under_way_.pop_front();
  first.bucket->Wait();
  for (size_t i = 0; i < first.done.size(); ++i) first.done[i](first.bucket->Piece(i));
}

void SumQueue::Wait() {
  Flush();
  while (!under_way_.empty()) FinishFirst();
}

}  // namespace choir
