#include "parallel/zero/gradient_sum.h"

#include <algorithm>
#include <bit>

#include "base/fault.h"
#include "ops/elementwise.h"
#include "parallel/zero/tree_gather.h"

namespace choir {
namespace {

constexpr size_t kNoBucket = static_cast<size_t>(-1);
constexpr int kAllSteps = 3;

AxisSet Used(const Place& place, AxisSet axes) {
  return axes.empty() || place.Size(axes) == 1 ? AxisSet() : axes;
}

}  // namespace

GradientSum::GradientSum(const Place& place, std::vector<Entry> entries, const ZeroOptions& options)
    : place_(place), entries_(std::move(entries)), options_(options) {
  MakeShards();
  MakeBuckets();
  for (size_t i = 0; i < entries_.size(); ++i) {
    entries_[i].parameter->on_ready = [this, i](Parameter&) {
      if (forwards_done_) Ready(i);
    };
  }
}

GradientSum::~GradientSum() {
  for (const Entry& entry : entries_) {
    entry.parameter->on_ready = nullptr;
    entry.parameter->tree = nullptr;
  }
}

// Placement::GradAxes, but for injected faults.
AxisSet GradientSum::SummedAxes(const Placement& placement) const {
  AxisSet axes = placement.GradAxes();
  const auto leave_out = [&](AxisSet axis, Fault fault) {
    const bool many = !(axes & axis).empty() && place_.Size(axis) > 1;
    if (many && Injected(fault)) axes = axes - axis;
  };
  leave_out(Axis::kTensor,
            placement.over_heads ? Fault::kHeadSumMissing : Fault::kTensorSumMissing);
  leave_out(Axis::kContext, Fault::kContextSumMissing);
  leave_out(Axis::kReplica, Fault::kReplicaSumMissing);
  leave_out(Axis::kExpertData, Fault::kExpertDataSumMissing);
  return axes;
}

// In invariant mode the ranks that share a microbatch's tokens have added up as soon as it ended.
bool GradientSum::SumsEachMicrobatch(const Placement& placement) const {
  const AxisSet tokens = Used(place_, placement.TokenGradAxes() & SummedAxes(placement));
  return place_.invariant() && !placement.over_heads && !tokens.empty() &&
         std::has_single_bit(static_cast<unsigned>(place_.Size(tokens)));
}

SumAxes GradientSum::AxesOf(const Placement& placement) const {
  const AxisSet done = SumsEachMicrobatch(placement) ? placement.TokenGradAxes() : AxisSet();
  const AxisSet summed = SummedAxes(placement), left = summed - done;
  if (options_.stage == 0) return {Used(place_, left), {}, {}};
  const AxisSet shard = placement.ZeroAxes();
  return {Used(place_, left & placement.TokenGradAxes()), Used(place_, shard),
          Used(place_, (placement.DataGradAxes() & summed) - shard)};
}

void GradientSum::MakeShards() {
  for (const Entry& entry : entries_) {
    const SumAxes axes = AxesOf(entry.placement);
    const int64_t n = entry.parameter->value.NumElements();
    int64_t begin = 0, end = n;
    if (!axes.shard.empty()) {
      const int64_t pieces = place_.Size(axes.shard);
      int64_t i = place_.Coord(axes.shard);
      if (Injected(Fault::kShardOfNeighbour)) i = (i + 1) % pieces;
      begin = PieceBegin(n, pieces, i);
      end = PieceBegin(n, pieces, i + 1);
    }
    Shard shard{entry.parameter, entry.placement, begin, {}, {}, true};
    shard.value = entry.parameter->value.Reshape({n}).Rows(begin, end - begin);
    shard.grad = axes.shard.empty() ? entry.parameter->grad.Reshape({n})
                                    : Tensor::Zeros({end - begin}, entry.parameter->grad.options());
    const AxisSet copies = entry.placement.GradAxes() - axes.shard;
    shard.counts = copies.empty() || place_.Coord(copies) == 0;
    if (!shard.counts && Injected(Fault::kNormCountsReplicas)) shard.counts = true;
    const bool other_data = place_.Coord(kDataAxes | kTokenAxes) > 0;
    if (other_data && entry.placement.OfExperts() && Injected(Fault::kNormMissesExperts)) {
      shard.counts = false;
    }
    shards_.push_back(std::move(shard));
  }
}

// In the reverse order of the entries: about the order in which gradients become ready.
void GradientSum::MakeBuckets() {
  bucket_of_.assign(entries_.size(), kNoBucket);
  item_of_.assign(entries_.size(), 0);
  struct Kind {
    SumAxes axes;
    DType dtype;
    size_t bucket;
  };
  std::vector<Kind> open;
  for (size_t i = entries_.size(); i-- > 0;) {
    const Entry& entry = entries_[i];
    const SumAxes axes = AxesOf(entry.placement);
    if (axes == SumAxes{} || (entry.placement.over_heads && place_.invariant())) continue;
    const DType dtype = entry.parameter->value.dtype();
    auto kind = std::find_if(open.begin(), open.end(),
                             [&](const Kind& k) { return k.axes == axes && k.dtype == dtype; });
    if (kind == open.end()) kind = open.insert(open.end(), {axes, dtype, kNoBucket});
    if (kind->bucket == kNoBucket || buckets_[kind->bucket]->bytes() >= options_.bucket_bytes) {
      kind->bucket = buckets_.size();
      buckets_.push_back(std::make_unique<Bucket>(place_, axes, entry.parameter->value.options()));
    }
    bucket_of_[i] = kind->bucket;
    item_of_[i] = buckets_[kind->bucket]->Add(entry.parameter->value.NumElements());
  }
}

void GradientSum::Begin(std::shared_ptr<const LeafTree> tree) {
  forwards_done_ = false;
  launched_.clear();
  ready_.assign(entries_.size(), false);
  for (const auto& bucket : buckets_) bucket->Reset();
  for (const Entry& entry : entries_) {
    if (place_.invariant()) {
      PlantTree(entry, tree);
    } else {
      entry.parameter->grad.Zero();
    }
  }
}

void GradientSum::PlantTree(const Entry& entry, const std::shared_ptr<const LeafTree>& tree) {
  const Placement& placement = entry.placement;
  auto& planted = entry.parameter->tree;
  planted = std::make_shared<GradTree>(placement.over_heads ? OverHeads(*tree) : tree);
  if (!SumsEachMicrobatch(placement)) return;
  Communicator& group = place_.Group(placement.TokenGradAxes() & SummedAxes(placement));
  const auto ranks = static_cast<unsigned>(group.size());
  planted->SumOverRanks(std::bit_width(ranks) - 1, [&group](const Tensor& part) {
    group.AllReduce(part, ReduceOp::kSum).Wait();
  });
}

// What this rank's tokens give.
Tensor GradientSum::Collect(size_t i) {
  Parameter& p = *entries_[i].parameter;
  if (p.tree == nullptr) return p.grad;
  std::vector<GradTree::Node> nodes = p.tree->Take();
  if (nodes.empty()) return Tensor::Zeros(p.value.shape(), p.grad.options());
  // More than one node: degrees that cut the tree between its nodes, which have only a bound.
  for (size_t n = 1; n < nodes.size(); ++n) AddInto(nodes[0].sum, nodes[n].sum);
  return std::move(nodes[0].sum);
}

void GradientSum::Ready(size_t i) {
  if (ready_[i]) return;
  ready_[i] = true;
  const Entry& entry = entries_[i];
  if (entry.placement.over_heads && entry.parameter->tree != nullptr) return;  // in Finish
  const Tensor sum = Collect(i);
  if (bucket_of_[i] == kNoBucket) {
    if (entry.parameter->tree != nullptr) entry.parameter->grad.CopyFrom(sum);
    return;
  }
  Bucket& bucket = *buckets_[bucket_of_[i]];
  if (bucket.Put(item_of_[i], sum)) launched_.push_back(&bucket);
  Poll();
}

void GradientSum::Poll() {
  int turn = kAllSteps;
  for (Bucket* bucket : launched_) {
    bucket->Advance(turn);
    turn = bucket->step();
  }
}

void GradientSum::SumOverHeads(size_t i) {
  Parameter& p = *entries_[i].parameter;
  const Tensor sum = FinishTree(p, place_, SummedAxes(entries_[i].placement));
  Shard& shard = shards_[i];
  shard.grad.CopyFrom(sum.Reshape({sum.NumElements()}).Rows(shard.begin, shard.grad.dim(0)));
}

void GradientSum::Finish() {
  forwards_done_ = true;
  // Without a use in this step: zeros.
  for (size_t i = entries_.size(); i-- > 0;) Ready(i);
  for (Bucket* bucket : launched_) bucket->Wait();
  for (size_t i = 0; i < entries_.size(); ++i) {
    if (bucket_of_[i] != kNoBucket) {
      buckets_[bucket_of_[i]]->Take(item_of_[i], shards_[i].grad);
    } else if (entries_[i].placement.over_heads && place_.invariant()) {
      SumOverHeads(i);
    }
  }
  for (const auto& bucket : buckets_) bucket->Reset();
  const int data = place_.Size(kDataAxes);
  if (data > 1 && Injected(Fault::kGradientAveraged)) {
    for (const Shard& shard : shards_) ScaleInPlace(shard.grad, 1.0 / data);
  }
}

void GradientSum::GatherValues() {
  std::vector<Event> events;
  for (const Shard& shard : shards_) {
    const AxisSet axes = AxesOf(shard.placement).shard;
    if (axes.empty()) continue;
    // (The first may be gathered twice: a tied head shares its value.)
    if (&shard == shards_.data() + 1 && Injected(Fault::kValuesNotGathered)) continue;
    const int64_t n = shard.parameter->value.NumElements(), pieces = place_.Size(axes);
    std::vector<int64_t> counts;
    for (int64_t s = 0; s < pieces; ++s) {
      counts.push_back(PieceBegin(n, pieces, s + 1) - PieceBegin(n, pieces, s));
    }
    events.push_back(
        place_.Group(axes).AllGather(shard.parameter->value.Reshape({n}), shard.value, counts));
  }
  for (const Event& event : events) event.Wait();
}

}  // namespace choir
