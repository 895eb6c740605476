#include "parallel/zero/gradient_sum.h"

#include <bit>
#include <utility>

#include "base/fault.h"
#include "ops/elementwise.h"
#include "parallel/zero/tree_gather.h"

namespace choir {
namespace {

AxisSet Used(const Place& place, AxisSet axes) {
  return axes.empty() || place.Size(axes) == 1 ? AxisSet() : axes;
}

}  // namespace

ParameterStorage StorageOf(const Place& place, const Placement& placement, int stage) {
  const bool cut = place.Size(placement.ZeroAxes()) > 1;
  if (stage < 2 || !cut || (placement.over_heads && place.invariant())) {
    return ParameterStorage::kWhole;
  }
  const bool vector = placement.shape.rank() < 2;
  return stage < 3 || vector ? ParameterStorage::kNoGradient : ParameterStorage::kShardsOnly;
}

GradientSum::GradientSum(const Place& place, std::vector<Entry> entries, const ZeroOptions& options)
    : place_(place),
      entries_(std::move(entries)),
      options_(options),
      sums_(entries_.size()),
      queue_(place, options.bucket_bytes, options.wire) {
  CHECK(options.wire.format == DType::kF32 || !place.invariant());
  MakeShards();
  for (size_t i = 0; i < entries_.size(); ++i) {
    const ParameterStorage storage = StorageOf(place, entries_[i].placement, options.stage);
    sums_[i].leaves = storage != ParameterStorage::kWhole;
    entries_[i].parameter->on_ready = [this, i](Parameter&) { OneReady(i); };
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
  if (options_.stage == 0 && options_.wire.format == DType::kF32) {
    return {Used(place_, left), {}, {}};
  }
  if (options_.stage == 0) {
    const AxisSet tokens = left & placement.TokenGradAxes();
    return {Used(place_, tokens), {}, Used(place_, left - tokens)};
  }
  const AxisSet shard = placement.ZeroAxes();
  return {Used(place_, left & placement.TokenGradAxes()), Used(place_, shard),
          Used(place_, (placement.DataGradAxes() & summed) - shard)};
}

// An alias of a parameter that is kept in shards has the same ones.
Tensor GradientSum::ShardValue(const Entry& entry, int64_t begin, int64_t count) const {
  const Parameter& p = *entry.parameter;
  if (p.sharded == nullptr) return p.value.Reshape({p.value.NumElements()}).Rows(begin, count);
  for (const Shard& shard : shards_) {
    if (shard.parameter->sharded == p.sharded) return shard.value;
  }
  return Tensor::Empty({count}, p.sharded->options);
}

void GradientSum::MakeShards() {
  for (const Entry& entry : entries_) {
    const SumAxes axes = AxesOf(entry.placement);
    const Shape& shape = entry.parameter->shape();
    const int64_t n = shape.NumElements();
    int64_t begin = 0, end = n;
    if (!axes.shard.empty()) {
      const int64_t pieces = place_.Size(axes.shard);
      int64_t i = place_.Coord(axes.shard);
      if (Injected(Fault::kShardOfNeighbour)) i = (i + 1) % pieces;
      begin = ShardBegin(shape, entry.placement.cut, pieces, i);
      end = ShardBegin(shape, entry.placement.cut, pieces, i + 1);
    }
    Shard shard{entry.parameter, entry.placement, begin, {}, {}, true};
    shard.value = ShardValue(entry, begin, end - begin);
    shard.grad =
        axes.shard.empty()
            ? entry.parameter->grad.Reshape({n})
            : Tensor::Zeros({end - begin}, entry.parameter->options(MemoryCategory::kGradients));
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

void GradientSum::Begin(std::shared_ptr<const LeafTree> tree, int64_t microbatches, int64_t step) {
  queue_.SetStep(static_cast<uint64_t>(step));
  for (size_t i = 0; i < entries_.size(); ++i) {
    Sum& sum = sums_[i];
    sum.left = microbatches;
    sum.sent = sum.received = 0;
    if (sum.leaves) ZeroInPlace(shards_[i].grad);
    if (place_.invariant()) {
      PlantTree(entries_[i], tree);
      sum.rounds =
          std::make_unique<GradTree>(std::make_shared<LeafTree>(microbatches, /*chunks=*/1));
    } else if (!sum.leaves) {
      ZeroInPlace(entries_[i].parameter->grad);
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
  if (nodes.empty()) return Tensor::Zeros(p.shape(), p.options(MemoryCategory::kGradients));
  // More than one node: degrees that cut the tree between its nodes, which have only a bound.
  for (size_t n = 1; n < nodes.size(); ++n) AddInto(nodes[0].sum, nodes[n].sum);
  return std::move(nodes[0].sum);
}

Summand GradientSum::SummandOf(size_t i, Tensor tensor) {
  const Entry& entry = entries_[i];
  return {std::move(tensor), entry.placement.cut, entry.parameter->name, 0, sums_[i].sent++};
}

bool GradientSum::OverHeadsLater(const Entry& entry) const {
  return entry.placement.over_heads && place_.invariant();
}

// A microbatch has added all that it has to entry `i`.
void GradientSum::OneReady(size_t i) {
  Sum& sum = sums_[i];
  CHECK(sum.left > 0) << entries_[i].parameter->name;
  --sum.left;
  if (sum.leaves) {
    SumMicrobatch(i);
  } else if (sum.left == 0) {
    SumOnce(i);
  }
}

void GradientSum::SumOnce(size_t i) {
  const Entry& entry = entries_[i];
  if (OverHeadsLater(entry)) return;  // in Finish
  Tensor sum = Collect(i);
  const SumAxes axes = AxesOf(entry.placement);
  const auto done = [grad = shards_[i].grad](const Tensor& piece) { CopyInto(grad, piece); };
  if (axes != SumAxes{}) {
    return queue_.Add(axes, SummandOf(i, std::move(sum)), done);
  }
  if (entry.parameter->tree != nullptr) done(sum.Reshape({sum.NumElements()}));
}

void GradientSum::SumMicrobatch(size_t i) {
  Parameter& p = *entries_[i].parameter;
  SumAxes axes = AxesOf(entries_[i].placement);
  int64_t round = 0;
  Tensor whole;
  if (p.tree == nullptr) {
    axes.inner = axes.outer = {};  // in Finish
    whole = std::exchange(p.grad, Tensor());
  } else {
    std::vector<GradTree::Node> nodes = p.tree->Take();
    const LeafTree& tree = p.tree->shape();
    CHECK(nodes.size() == 1 && nodes[0].level <= tree.levels()) << p.name << " " << nodes.size();
    const int64_t leaf = nodes[0].index << (tree.levels() - nodes[0].level);
    round = leaf / tree.chunks() / place_.Size(kDataAxes);
    whole = std::move(nodes[0].sum);
  }
  CHECK(axes.inner.empty()) << "weights travel over the shard axis too: it comes first";
  Summand summand = SummandOf(i, std::move(whole));
  // Ranks with other tokens have not added up yet: they draw other numbers too.
  const AxisSet tokens = Used(place_, entries_[i].placement.TokenGradAxes());
  if (!tokens.empty()) summand.round = summand.round * place_.Size(tokens) + place_.Coord(tokens);
  queue_.Add(axes, std::move(summand),
             [this, i, round](const Tensor& piece) { AddRound(i, round, piece); });
}

void GradientSum::AddRound(size_t i, int64_t round, const Tensor& piece) {
  Sum& sum = sums_[i];
  const bool replaces = sum.received++ > 0 && Injected(Fault::kGradientShardOverwritten);
  if (place_.invariant()) {
    if (replaces) sum.rounds->Take();
    return sum.rounds->Add(round, CopyOf(piece, MemoryCategory::kGradients));
  }
  if (replaces) shards_[i].grad.Zero();
  AddInto(shards_[i].grad, piece);
}

// The sum over time, or over what other axes have added; for all gradients that have left.
void GradientSum::FinishShard(size_t i) {
  const Tensor& grad = shards_[i].grad;
  if (place_.invariant()) {
    const std::vector<GradTree::Node> roots = sums_[i].rounds->Take();
    CHECK(roots.size() <= 1) << entries_[i].parameter->name << " lacks microbatches";
    if (!roots.empty()) CopyInto(grad, roots[0].sum);
    return;
  }
  SumAxes axes = AxesOf(entries_[i].placement);
  axes.shard = {};
  if (axes == SumAxes{}) return;
  Summand summand = SummandOf(i, grad);
  summand.first = shards_[i].begin;
  queue_.Add(axes, std::move(summand), [grad](const Tensor& sum) { CopyInto(grad, sum); });
}

void GradientSum::SumOverHeads(size_t i) {
  Parameter& p = *entries_[i].parameter;
  const Tensor sum = FinishTree(p, place_, SummedAxes(entries_[i].placement));
  Shard& shard = shards_[i];
  const Tensor flat = sum.Reshape({sum.NumElements()});
  CopyInto(shard.grad, flat.Rows(shard.begin, shard.grad.dim(0)));
}

void GradientSum::EndPass() {
  if (options_.stage >= 2) queue_.Flush();
}

void GradientSum::Finish() {
  // Without a use in this step: zeros.
  for (size_t i = entries_.size(); i-- > 0;) {
    if (!sums_[i].leaves && std::exchange(sums_[i].left, 0) > 0) SumOnce(i);
  }
  queue_.Wait();
  for (size_t i = entries_.size(); i-- > 0;) {
    if (sums_[i].leaves) FinishShard(i);
    if (OverHeadsLater(entries_[i])) SumOverHeads(i);
  }
  queue_.Wait();
  const int data = place_.Size(kDataAxes);
  if (data > 1 && Injected(Fault::kGradientAveraged)) {
    for (const Shard& shard : shards_) ScaleInPlace(shard.grad, 1.0 / data);
  }
}

void GradientSum::GatherValues() {
  std::vector<Event> events;
  for (const Shard& shard : shards_) {
    const AxisSet axes = AxesOf(shard.placement).shard;
    if (axes.empty() || shard.parameter->sharded != nullptr) continue;
    // (The first may be gathered twice: a tied head shares its value.)
    if (&shard == shards_.data() + 1 && Injected(Fault::kValuesNotGathered)) continue;
    const Tensor& value = shard.parameter->value;
    const auto counts = ShardCounts(value.shape(), shard.placement.cut, place_.Size(axes));
    events.push_back(
        place_.Group(axes).AllGather(value.Reshape({value.NumElements()}), shard.value, counts));
  }
  for (const Event& event : events) event.Wait();
}

}  // namespace choir
