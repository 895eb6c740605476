// Sums of gradients over ranks, started in the order in which the gradients become ready, while the
// thread goes on computing. They travel in buckets, which leave as soon as they are full.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "parallel/zero/bucket.h"

namespace choir {

// The ranks of every group that a sum goes over make the same calls, in the same order. A bucket's
// first collective starts with the call that fills it; its others start some time later, behind
// those of the buckets before it. So what is a later collective's group in one sum (shard behind
// inner, outer behind shard) is no first one's in another, nor used by anything else meanwhile.
class SumQueue {
 public:
  // Gets this rank's piece of the sum: flat, and the callee's until it returns.
  using Done = std::function<void(const Tensor& piece)>;

  // `place` outlives this.
  SumQueue(const Place& place, int64_t bucket_bytes, const Wire& wire = {})
      : place_(place), bucket_bytes_(bucket_bytes), wire_(wire) {}
  SumQueue(const SumQueue&) = delete;

  // Tensors of the same axes and dtype share buckets. The tensor is kept until its bucket leaves,
  // and not written to. `done` is called in the order of the buckets, inside Add, Flush or Wait: a
  // bucket is given up when the kMostUnderWay-th behind it leaves, however early its sums are done,
  // so that what memory holds is never a matter of time.
  void Add(const SumAxes& axes, Summand summand, Done done);
  // Of what is added from now on, by all ranks together; for stochastic rounding.
  void SetStep(uint64_t step) { wire_.step = step; }
  // Buckets that are not full leave too.
  void Flush();
  // Lets outstanding sums go on.
  void Poll();
  // Flushes; then waits until everything is done.
  void Wait();

 private:
  // More buckets than this are not under way: their memory is bounded.
  static constexpr size_t kMostUnderWay = 4;

  struct Item {
    Summand summand;
    Done done;
  };
  struct Filling {
    SumAxes axes;
    DType dtype;
    int64_t bytes = 0;
    std::vector<Item> items;
  };
  struct UnderWay {
    std::unique_ptr<Bucket> bucket;
    std::vector<Done> done;
  };
  void Launch(Filling filling);
  void FinishFirst();

  const Place& place_;
  int64_t bucket_bytes_;
  Wire wire_;
  std::vector<Filling> filling_;
  std::deque<UnderWay> under_way_;
};

}  // namespace choir
