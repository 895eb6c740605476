#include "parallel/zero/weight_store.h"

#include <algorithm>
#include <utility>

#include "base/fault.h"

namespace choir {
namespace {

bool Uses(const WeightStore::Weight& weight, int unit) {
  return std::find(weight.units.begin(), weight.units.end(), unit) != weight.units.end();
}

}  // namespace

WeightStore::WeightStore(const Place& place, std::vector<Weight> weights, int forward_only)
    : place_(place), forward_only_(forward_only) {
  for (Weight& weight : weights) held_.push_back({std::move(weight), {}, {}});
  for (Held& held : held_) held.weight.value->gather = [this, &held] { Read(held); };
}

WeightStore::~WeightStore() {
  for (Held& held : held_) held.weight.value->gather = nullptr;
}

void WeightStore::Serve(Tape& tape, int first, int last) {
  if (held_.empty()) return;
  tape.SetUnitHook([this, first, last](int unit, bool backward) {
    if (backward && unit == forward_only_) return;
    int next = unit + (backward ? -1 : 1);
    if (next < first || next > last || (backward && next == forward_only_)) next = kNone;
    Enter(unit, next);
  });
}

void WeightStore::Enter(int unit, int next) {
  unit_ = unit;
  next_ = next;
  guest_ = kNone;
  DropOthers();
  for (Held& held : held_) {
    if (Uses(held.weight, unit)) Start(held, /*ahead=*/false);
  }
  for (Held& held : held_) {
    if (Uses(held.weight, unit)) Wait(held);
  }
  for (Held& held : held_) {
    if (next != kNone && Uses(held.weight, next)) Start(held, /*ahead=*/true);
  }
}

void WeightStore::Read(Held& held) {
  if (!Needed(held)) {
    guest_ = held.weight.units.front();
    DropOthers();
  }
  Start(held, /*ahead=*/false);
  Wait(held);
}

bool WeightStore::Needed(const Held& held) const {
  return std::any_of(held.weight.units.begin(), held.weight.units.end(),
                     [this](int unit) { return unit == unit_ || unit == next_ || unit == guest_; });
}

void WeightStore::DropOthers() {
  for (Held& held : held_) {
    if (!Needed(held)) Drop(held);
  }
}

void WeightStore::Release() {
  const bool any = std::any_of(held_.begin(), held_.end(),
                               [](const Held& h) { return h.weight.value->whole.defined(); });
  if (any && Injected(Fault::kStaleGather)) return;
  unit_ = next_ = guest_ = kNone;
  DropOthers();
}

// Nothing, where the value is here or on its way.
void WeightStore::Start(Held& held, bool ahead) {
  ShardedValue& value = *held.weight.value;
  if (value.whole.defined() || held.arriving.defined()) return;
  Tensor shard = held.weight.shard;
  for (const Held& other : held_) {
    const bool alike = &other != &held && other.weight.value->shape == value.shape;
    if (ahead && alike && Injected(Fault::kGatheredForAnotherUnit)) shard = other.weight.shard;
  }
  held.arriving = Tensor::Empty(value.shape, value.options);
  const auto counts = ShardCounts(value.shape, held.weight.cut, place_.Size(held.weight.axes));
  held.event = place_.Group(held.weight.axes)
                   .AllGather(held.arriving.Reshape({value.shape.NumElements()}), shard, counts);
}

void WeightStore::Wait(Held& held) {
  if (!held.arriving.defined()) return;
  held.event.Wait();
  held.event = Event();
  held.weight.value->whole = std::exchange(held.arriving, Tensor());
}

void WeightStore::Drop(Held& held) {
  Wait(held);
  held.weight.value->whole = Tensor();
}

}  // namespace choir
