#include "parallel/context/ring_attention.h"

#include <utility>
#include <vector>

#include "base/fault.h"
#include "ops/attention_blocks.h"
#include "ops/elementwise.h"
#include "ops/launch.h"
#include "parallel/context/ring_plan.h"

namespace choir {
namespace {

// Tags of messages: keys to the next rank, their gradients to the next rank and to the owner.
enum RingTag { kKeys = 0, kGradients = 1, kReturned = 2 };

struct Ring {
  RingPlan plan;
  Communicator* group;
  double scale;
  std::function<void()> poll;

  int size() const { return group->size(); }
  int Member(int distance) const { return (group->rank() + distance + size()) % size(); }
  // Whose keys are here after `step` hops.
  int Owner(int step) const { return Member(-step); }
  const TravellingParts& Of(int member) const {
    return plan.travelling[static_cast<size_t>(member)];
  }
  const std::vector<SeenBlock>& Seen(int owner) const {
    return plan.seen[static_cast<size_t>(owner)];
  }
  // Whether keys arrive with hop `step`.
  bool Comes(int step) const { return step < size() && Of(Owner(step)).hops >= step; }

  BlockAttention Blocks(const Tensor& qkv, const Tensor& keys, int owner) const {
    return {qkv, keys, Seen(owner), scale, poll};
  }
};

// [rows of `owner` that travel, G, 2, D].
Tensor EmptyKeys(const Ring& ring, const Tensor& qkv, int owner) {
  return Tensor::Empty({ring.Of(owner).rows(), qkv.dim(1), 2, qkv.dim(3)},
                       qkv.options(MemoryCategory::kCommunication));
}

// Calls body(pointer into qkv, pointer into keys, elements) for every key and its value that
// travel.
template <class T, class Body>
void ForEachKey(const RowRuns& parts, const Tensor& qkv, const Tensor& keys, Body&& body) {
  const int64_t groups = qkv.dim(1), n = 2 * qkv.dim(3), stride = qkv.dim(2) * qkv.dim(3);
  for (const RowRun& part : parts) {
    T* from = qkv.data<T>() + part.begin * groups * stride + stride - n;
    T* way = keys.data<T>() + part.here * groups * n;
    for (int64_t i = 0; i < part.count * groups; ++i) body(from + i * stride, way + i * n, n);
  }
}

// The own keys and values that others see.
Tensor PackKeys(const Ring& ring, const Tensor& qkv) {
  const int me = ring.group->rank();
  Tensor keys = EmptyKeys(ring, qkv, me);
  Launch(qkv.device(), MemoryWork("ring_pack", keys, keys), [&] {
    DispatchFloat(qkv.dtype(), [&]<class T>() {
      ForEachKey<T>(ring.Of(me).parts, qkv, keys,
                    [](const T* from, T* way, int64_t n) { std::copy_n(from, n, way); });
    });
  });
  return keys;
}

void AddKeyGradients(const Ring& ring, const Tensor& dqkv, const Tensor& gradients) {
  const Work work = MemoryWork("ring_unpack", gradients, gradients, gradients);
  Launch(dqkv.device(), work, [&] {
    DispatchFloat(dqkv.dtype(), [&]<class T>() {
      ForEachKey<T>(ring.Of(ring.group->rank()).parts, dqkv, gradients,
                    [](T* to, const T* way, int64_t n) {
                      for (int64_t i = 0; i < n; ++i) to[i] += way[i];
                    });
    });
  });
}

// The keys of the other ranks as they come by. What is sent and received next travels while the
// caller computes.
class PassingKeys {
 public:
  PassingKeys(const Ring& ring, const Tensor& qkv) : ring_(ring), qkv_(qkv) {
    if (ring.Of(ring.group->rank()).hops > 0) Send(PackKeys(ring, qkv));
    Receive(1);
  }

  // The keys after `step` hops, from 1 on, one step after another; undefined if none come. They are
  // valid until the next call.
  Tensor Arrive(int step) {
    received_.Wait();
    sent_.Wait();
    const Tensor here = std::exchange(next_, Tensor());
    if (here.defined() && ring_.Of(ring_.Owner(step)).hops > step) Send(here);
    Receive(step + 1);
    return here;
  }
  void Finish() { sent_.Wait(); }

 private:
  void Send(const Tensor& keys) { sent_ = ring_.group->Send(keys, ring_.Member(1), kKeys); }
  void Receive(int step) {
    if (!ring_.Comes(step)) return;
    next_ = EmptyKeys(ring_, qkv_, ring_.Owner(step));
    received_ = ring_.group->Recv(next_, ring_.Member(-1), kKeys);
  }

  const Ring& ring_;
  const Tensor qkv_;
  Tensor next_;
  Event sent_, received_;
};

// Injected: the keys that come last are not looked at.
bool Skipped(const Ring& ring, int step) {
  return step == ring.size() - 1 && Injected(Fault::kRingBlockSkipped);
}

AttentionResult Forward(const Ring& ring, const Tensor& qkv) {
  PassingKeys passing(ring, qkv);
  const AttentionResult result = AttendCausal(qkv, ring.plan.boundaries, ring.scale, ring.poll);
  AttendBlocks(ring.Blocks(qkv, qkv, ring.group->rank()), result);
  AttentionResult whole = result;
  if (Injected(Fault::kRingPartialLse)) whole.lse = result.lse.Clone();
  for (int step = 1; step < ring.size(); ++step) {
    const Tensor keys = passing.Arrive(step);
    if (!keys.defined() || Skipped(ring, step)) continue;
    AttendBlocks(ring.Blocks(qkv, keys, ring.Owner(step)), whole);
  }
  passing.Finish();
  return result;
}

// The gradients of the keys that come by: received from the rank before, with the part of this rank
// sent on.
class PassingGradients {
 public:
  PassingGradients(const Ring& ring, const Tensor& qkv) : ring_(ring), qkv_(qkv) {
    const int me = ring.group->rank(), hops = ring.Of(me).hops;
    if (hops == 0) return;
    own_ = EmptyKeys(ring, qkv, me);
    returned_ = ring.group->Recv(own_, ring.Member(hops), kReturned);
  }

  // Before this rank's part is computed.
  void Expect(int step) {
    if (step == 1) return;
    before_ = EmptyKeys(ring_, qkv_, ring_.Owner(step));
    received_ = ring_.group->Recv(before_, ring_.Member(-1), kGradients);
  }
  void PassOn(int step, Tensor part) {
    sent_.Wait();
    const bool last = ring_.Of(ring_.Owner(step)).hops == step;
    if (step > 1) {
      received_.Wait();
      AddInto(before_, part);
      part = std::exchange(before_, Tensor());
    }
    if (last && Injected(Fault::kRingGradientLost)) part.Zero();
    sent_ = ring_.group->Send(part, last ? ring_.Owner(step) : ring_.Member(1),
                              last ? kReturned : kGradients);
  }
  // Adds what has come back to the own keys.
  void Finish(const Tensor& dqkv) {
    returned_.Wait();
    if (own_.defined()) AddKeyGradients(ring_, dqkv, own_);
    sent_.Wait();
  }

 private:
  const Ring& ring_;
  const Tensor qkv_;
  Tensor own_, before_;
  Event returned_, received_, sent_;
};

Tensor Backward(const Ring& ring, const AttentionGradient& in) {
  PassingKeys passing(ring, in.qkv);
  PassingGradients gradients(ring, in.qkv);
  Tensor dqkv = AttendCausalBackward(in, ring.plan.boundaries, ring.scale, ring.poll);
  AttendBlocksBackward(ring.Blocks(in.qkv, in.qkv, ring.group->rank()), in, dqkv, dqkv);
  for (int step = 1; step < ring.size(); ++step) {
    const Tensor keys = passing.Arrive(step);
    if (!keys.defined()) continue;
    gradients.Expect(step);
    const Tensor dkeys = Tensor::Zeros(keys.shape(), keys.options());
    AttendBlocksBackward(ring.Blocks(in.qkv, keys, ring.Owner(step)), in, dqkv, dkeys);
    gradients.PassOn(step, dkeys);
  }
  passing.Finish();
  gradients.Finish(dqkv);
  return dqkv;
}

}  // namespace

Var RingAttention(Tape& tape, const Var& qkv, const ContextAttentionInput& input,
                  const Place& place) {
  Communicator& group = place.Group(Axis::kContext);
  const auto ring = std::make_shared<const Ring>(
      Ring{PlanRing(input.tokens->context_runs, *input.boundaries, group.rank()), &group,
           input.scale, [&place] { place.Poll(); }});
  Saved xs = qkv.Save();
  std::vector<Var> results = tape.Compute({"attention", "attention.lse"}, [xs, ring] {
    AttentionResult r = Forward(*ring, xs.Get());
    return std::vector<Tensor>{std::move(r.out), std::move(r.lse)};
  });
  Var out = std::move(results[0]);
  Saved outs = out.Save(), lses = results[1].Save();
  tape.Record({&out}, [xs, outs, lses, ring, gx = qkv.grad()](Sink& sink) {
    if (gx == nullptr) return;
    sink.Add(gx, Backward(*ring, {xs.Get(), outs.Get(), lses.Get(), sink.OutputGrad(0)}));
  });
  return out;
}

}  // namespace choir
