// Results that wait in host memory between forward and backward.
//
// A background thread of the process copies. When device bytes are taken and given back is a matter
// of program order alone, never of how fast a copy is: a tensor's device copy is freed when the
// kLeaving-th next one sets out, or when the forward pass ends; tensors come back in the reverse of
// the order in which they left, kComing ahead of the one that is read. So a run on the meta device,
// where nothing is copied, has the same bytes at every moment.
//
// The host's bytes are counted in MemoryCategory::kHost. Not on CUDA yet (CHECKed).
#pragma once

#include <memory>
#include <vector>

#include "tensor/tensor.h"

namespace choir {

// A copy between two blocks, made by the background thread.
class BackgroundCopy;

// A tensor that left. Owned by who will ask for it; both copies go with it.
class OffloadedTensor {
 public:
  ~OffloadedTensor();  // waits for a copy that is under way

 private:
  friend class OffloadQueue;
  enum class Place { kLeaving, kAway, kComing, kBack };
  void Start(const Tensor& to, const Tensor& from);
  void Wait();

  Place place_ = Place::kLeaving;
  size_t index_ = 0;  // in the queue
  Tensor device_, host_;
  std::shared_ptr<BackgroundCopy> copy_;
};

// The tensors of one tape. One thread.
class OffloadQueue {
 public:
  static constexpr size_t kLeaving = 2, kComing = 2;

  std::shared_ptr<OffloadedTensor> Leave(Tensor tensor);
  // Nothing is on the device any more.
  void EndForward();
  // The last ones set out for the device.
  void BeginBackward();
  // Waits for it; the ones before it set out.
  Tensor Return(OffloadedTensor& tensor);

 private:
  void Depart(OffloadedTensor& tensor);
  void FetchBefore(size_t index);

  std::vector<std::weak_ptr<OffloadedTensor>> tensors_;  // as they left
  size_t departed_ = 0;                                  // those before it are not on the device
};

}  // namespace choir
