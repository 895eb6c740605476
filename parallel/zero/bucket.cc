#include "parallel/zero/bucket.h"

#include <numeric>

#include "base/fault.h"

namespace choir {

Bucket::Bucket(const Place& place, const SumAxes& axes, const TensorOptions& options)
    : place_(place), axes_(axes), options_(options) {
  if (!axes.shard.empty()) {
    shards_ = place.Size(axes.shard);
    shard_ = place.Coord(axes.shard);
  }
}

size_t Bucket::Add(int64_t elements) {
  sizes_.push_back(elements);
  missing_ = sizes_.size();
  return sizes_.size() - 1;
}

int64_t Bucket::bytes() const {
  return std::accumulate(sizes_.begin(), sizes_.end(), int64_t{0}) * SizeOf(options_.dtype);
}

void Bucket::Seal() {
  counts_.assign(static_cast<size_t>(shards_), 0);
  offsets_.assign(static_cast<size_t>(shards_), {});
  int64_t at = 0;
  for (int s = 0; s < shards_; ++s) {
    const auto i = static_cast<size_t>(s);
    for (int64_t n : sizes_) {
      offsets_[i].push_back(at);
      const int64_t piece = Begin(n, s + 1) - Begin(n, s);
      counts_[i] += piece;
      at += piece;
    }
  }
  TensorOptions options = options_;
  options.category = MemoryCategory::kCommunication;
  buffer_ = Tensor::Empty({at}, options);
}

bool Bucket::Put(size_t item, const Tensor& whole) {
  if (!buffer_.defined()) Seal();
  const int64_t n = sizes_[item];
  CHECK(whole.NumElements() == n && missing_ > 0);
  const Tensor flat = whole.Reshape({n});
  for (int s = 0; s < shards_; ++s) {
    const int64_t begin = Begin(n, s), count = Begin(n, s + 1) - begin;
    if (count == 0) continue;
    buffer_.Rows(offsets_[static_cast<size_t>(s)][item], count).CopyFrom(flat.Rows(begin, count));
  }
  return --missing_ == 0;
}

Tensor Bucket::Mine() const {
  const auto i = static_cast<size_t>(shard_);
  return buffer_.Rows(std::accumulate(counts_.begin(), counts_.begin() + shard_, int64_t{0}),
                      counts_[i]);
}

// False where there is nothing to do.
bool Bucket::Start(int step) {
  const AxisSet axes = step == 0 ? axes_.inner : step == 1 ? axes_.shard : axes_.outer;
  if (axes.empty() || place_.Size(axes) == 1) return false;
  Communicator& group = place_.Group(axes);
  if (step == 0) {
    event_ = group.AllReduce(buffer_, ReduceOp::kSum);
  } else if (step == 1) {
    event_ = group.ReduceScatter(Mine(), buffer_, counts_);
  } else {
    event_ = group.AllReduce(Mine(), ReduceOp::kSum);
  }
  return true;
}

bool Bucket::Advance(int turn) {
  while (step_ < kSteps && step_ < turn) {
    if (!event_.Done()) return false;
    event_ = Event();
    Start(step_++);
  }
  return step_ == kSteps && event_.Done();
}

void Bucket::Wait() {
  while (!Advance(kSteps)) event_.Wait();
}

void Bucket::Take(size_t item, const Tensor& piece) const {
  if (piece.NumElements() == 0) return;
  int shard = shard_;
  if (shards_ > 1 && Injected(Fault::kNeighboursPieceSummed)) shard = (shard + 1) % shards_;
  piece.CopyFrom(buffer_.Rows(offsets_[static_cast<size_t>(shard)][item], piece.NumElements())
                     .Reshape(piece.shape()));
}

void Bucket::Reset() {
  buffer_ = Tensor();
  missing_ = sizes_.size();
  step_ = 0;
  event_ = Event();
}

}  // namespace choir
