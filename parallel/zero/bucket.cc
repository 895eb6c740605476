#include "parallel/zero/bucket.h"

#include <algorithm>
#include <numeric>

#include "base/fault.h"
#include "base/random.h"
#include "base/strings.h"
#include "ops/elementwise.h"
#include "tensor/cast.h"

namespace choir {

Bucket::Bucket(const Place& place, const SumAxes& axes, std::span<const Summand> summands,
               const Wire& wire)
    : place_(place), axes_(axes), wire_(wire) {
  if (!axes.shard.empty()) {
    shards_ = place.Size(axes.shard);
    shard_ = place.Coord(axes.shard);
  }
  Pack(summands);
  if (rounds()) ReserveRounded();
}

// For both exchanges, so that memory is taken when the bucket is made and not when they happen to
// start.
void Bucket::ReserveRounded() {
  const int64_t mine = Mine().NumElements();
  int64_t received = axes_.shard.empty() ? 0 : mine * shards_;
  if (!axes_.outer.empty()) {
    Communicator& group = place_.Group(axes_.outer);
    const auto counts = ShardCounts({mine}, {}, group.size());
    received = std::max(received, counts[static_cast<size_t>(group.rank())] * group.size());
  }
  exchange_.Reserve(buffer_.NumElements(), received, buffer_.device());
}

void Bucket::Pack(std::span<const Summand> summands) {
  int64_t total = 0;
  for (const Summand& summand : summands) {
    CHECK(!rounds() || summand.tensor.dtype() == DType::kF32) << summand.tensor.dtype();
    sizes_.push_back(ShardCounts(summand.tensor.shape(), summand.cut, shards_));
    total += summand.tensor.NumElements();
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
      if (rounds() && count > 0) {
        extents_.push_back(
            {at, count, summands[i].name, summands[i].first + done[i], summands[i].round});
      }
      const Tensor flat = whole.Reshape({whole.NumElements()});
      CopyInto(buffer_.Rows(at, count), flat.Rows(done[i], count));
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

// Rounds elements of the buffer from `begin` on. Senders of one sum, and steps, draw different
// numbers; ranks with copies of the same (`inner`) draw the same and stay copies.
RoundedExchange::Encode Bucket::Rounding(int64_t begin, Step step) const {
  const int sender = place_.Coord(axes_.shard | axes_.outer);
  return [this, begin, step, sender](int64_t from, int64_t n, BFloat16* codes) {
    from += begin;
    auto extent = std::upper_bound(extents_.begin(), extents_.end(), from,
                                   [](int64_t at, const Extent& e) { return at < e.at + e.count; });
    for (const int64_t end = from + n; from < end; ++extent) {
      const int64_t count = std::min(end, extent->at + extent->count) - from;
      const auto draw = static_cast<uint64_t>(2 * extent->round + (step == kOuter ? 1 : 0));
      const CounterRandom random(wire_.seed, StrCat("wire/", extent->name, "/", sender),
                                 (wire_.step << 24) + draw);
      StochasticToBFloat16(buffer_.data<float>() + from, codes, count, random,
                           static_cast<uint64_t>(extent->first + from - extent->at));
      codes += count;
      from += count;
    }
  };
}

bool Bucket::gathers() const {
  return rounds() && !axes_.outer.empty() && place_.Size(axes_.outer) > 1;
}

// Nothing, where there is nothing to do.
void Bucket::Start(int step) {
  const AxisSet axes = step == kInner ? axes_.inner : step == kShard ? axes_.shard : axes_.outer;
  if (axes.empty() || place_.Size(axes) == 1) return;
  Communicator& group = place_.Group(axes);
  if (step == kInner) {
    event_ = group.AllReduce(buffer_, ReduceOp::kSum);
  } else if (step == kShard && rounds()) {
    event_ = exchange_.Start(group, buffer_, counts_, Rounding(0, kShard));
  } else if (step == kShard) {
    event_ = group.ReduceScatter(Mine(), buffer_, counts_);
  } else if (step == kOuter && rounds()) {
    StartOuter(group);
  } else if (step == kOuter) {
    event_ = group.AllReduce(Mine(), ReduceOp::kSum);
  } else if (rounds()) {
    const int64_t begin =
        std::accumulate(outer_counts_.begin(), outer_counts_.begin() + group.rank(), int64_t{0});
    const int64_t count = outer_counts_[static_cast<size_t>(group.rank())];
    event_ = group.AllGather(Mine(), Mine().Rows(begin, count), outer_counts_);
  }
}

void Bucket::StartOuter(Communicator& group) {
  outer_counts_ = ShardCounts({Mine().NumElements()}, {}, group.size());
  const int64_t begin = std::accumulate(counts_.begin(), counts_.begin() + shard_, int64_t{0});
  event_ = exchange_.Start(group, Mine(), outer_counts_, Rounding(begin, kOuter));
}

// The last collective has ended.
void Bucket::EndStep() {
  event_ = Event();
  if (exchange_.pending()) exchange_.Finish();
}

bool Bucket::Advance(int turn) {
  while (step_ < kSteps && step_ < turn) {
    if (!event_.Done()) return false;
    EndStep();
    Start(step_++);
  }
  if (step_ < kSteps || !event_.Done()) return false;
  EndStep();
  return true;
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
