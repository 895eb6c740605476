#include "parallel/zero/bucket.h"

#include <numeric>

#include "base/fault.h"

namespace choir {

Bucket::Bucket(const Place& place, const SumAxes& axes, std::span<const Summand> summands)
    : place_(place), axes_(axes) {
  if (!axes.shard.empty()) {
    shards_ = place.Size(axes.shard);
    shard_ = place.Coord(axes.shard);
  }
  Pack(summands);
}

void Bucket::Pack(std::span<const Summand> summands) {
  int64_t total = 0;
  for (const auto& [tensor, cut] : summands) {
    sizes_.push_back(ShardCounts(tensor.shape(), cut, shards_));
    total += tensor.NumElements();
  }
  buffer_ = Tensor::Empty({total}, summands.front().tensor.options(MemoryCategory::kCommunication));
  int64_t at = 0;
  std::vector<int64_t> done(summands.size());
  for (int s = 0; s < shards_; ++s) {
    counts_.push_back(-at);
    std::vector<int64_t>& offsets = offsets_.emplace_back();
    for (size_t i = 0; i < summands.size(); ++i) {
      const Tensor& whole = summands[i].tensor;
      const int64_t count = sizes_[i][static_cast<size_t>(s)];
      offsets.push_back(at);
      const Tensor flat = whole.Reshape({whole.NumElements()});
      buffer_.Rows(at, count).CopyFrom(flat.Rows(done[i], count));
      done[i] += count;
      at += count;
    }
    counts_.back() += at;
  }
}

Tensor Bucket::Mine() const {
  return buffer_.Rows(std::accumulate(counts_.begin(), counts_.begin() + shard_, int64_t{0}),
                      counts_[static_cast<size_t>(shard_)]);
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

Tensor Bucket::Piece(size_t tensor) const {
  int shard = shard_;
  if (shards_ > 1 && Injected(Fault::kNeighboursPieceSummed)) shard = (shard + 1) % shards_;
  return buffer_.Rows(offsets_[static_cast<size_t>(shard)][tensor],
                      sizes_[tensor][static_cast<size_t>(shard_)]);
}

}  // namespace choir
