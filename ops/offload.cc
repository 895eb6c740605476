#include "ops/offload.h"

#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>

#include "base/check.h"
#include "base/fault.h"

namespace choir {

class BackgroundCopy {
 public:
  BackgroundCopy(void* to, const void* from, int64_t bytes) : to_(to), from_(from), bytes_(bytes) {}

  void Run() {
    std::memcpy(to_, from_, static_cast<size_t>(bytes_));
    const std::lock_guard<std::mutex> lock(mutex_);
    done_ = true;
    ended_.notify_all();
  }
  void Wait() {
    std::unique_lock<std::mutex> lock(mutex_);
    ended_.wait(lock, [this] { return done_; });
  }

 private:
  void* to_;
  const void* from_;
  int64_t bytes_;
  std::mutex mutex_;
  std::condition_variable ended_;
  bool done_ = false;
};

namespace {

// Copies one after another; lives as long as the process.
class CopyThread {
 public:
  static CopyThread& Global() {
    static auto& thread = *new CopyThread;
    return thread;
  }
  void Add(std::shared_ptr<BackgroundCopy> copy) {
    const std::lock_guard<std::mutex> lock(mutex_);
    copies_.push_back(std::move(copy));
    added_.notify_one();
  }

 private:
  CopyThread() {
    std::thread([this] { Run(); }).detach();
  }
  void Run() {
    for (;;) {
      std::unique_lock<std::mutex> lock(mutex_);
      added_.wait(lock, [this] { return !copies_.empty(); });
      const std::shared_ptr<BackgroundCopy> next = std::move(copies_.front());
      copies_.pop_front();
      lock.unlock();
      next->Run();
    }
  }

  std::mutex mutex_;
  std::condition_variable added_;
  std::deque<std::shared_ptr<BackgroundCopy>> copies_;
};

}  // namespace

void OffloadedTensor::Start(const Tensor& to, const Tensor& from) {
  if (from.bytes() == 0 || from.device() == Device::kMeta) return;
  copy_ = std::make_shared<BackgroundCopy>(to.raw(), from.raw(), from.bytes());
  CopyThread::Global().Add(copy_);
}

void OffloadedTensor::Wait() {
  if (copy_ != nullptr) copy_->Wait();
  copy_ = nullptr;
}

OffloadedTensor::~OffloadedTensor() { Wait(); }

std::shared_ptr<OffloadedTensor> OffloadQueue::Leave(Tensor tensor) {
  CHECK(tensor.device() != Device::kCuda)
      << "train.recompute: offload is not supported on cuda yet; keep or recompute instead";
  auto leaving = std::make_shared<OffloadedTensor>();
  leaving->index_ = tensors_.size();
  leaving->host_ = Tensor::Empty(tensor.shape(), tensor.options(MemoryCategory::kHost));
  leaving->device_ = std::move(tensor);
  leaving->Start(leaving->host_, leaving->device_);
  tensors_.push_back(leaving);
  while (tensors_.size() - departed_ > kLeaving) {
    if (const auto oldest = tensors_[departed_].lock()) Depart(*oldest);
    ++departed_;
  }
  return leaving;
}

void OffloadQueue::Depart(OffloadedTensor& tensor) {
  if (tensor.place_ != OffloadedTensor::Place::kLeaving) return;
  tensor.Wait();
  tensor.device_ = Tensor();
  tensor.place_ = OffloadedTensor::Place::kAway;
}

void OffloadQueue::EndForward() {
  for (; departed_ < tensors_.size(); ++departed_) {
    if (const auto tensor = tensors_[departed_].lock()) Depart(*tensor);
  }
}

void OffloadQueue::BeginBackward() {
  EndForward();
  FetchBefore(tensors_.size());
}

// The last kComing before `index` that somebody will ask for are on their way, or here.
void OffloadQueue::FetchBefore(size_t index) {
  size_t coming = 0;
  while (index-- > 0 && coming < kComing) {
    const auto tensor = tensors_[index].lock();
    if (tensor == nullptr || tensor->place_ == OffloadedTensor::Place::kBack) continue;
    ++coming;
    if (tensor->place_ != OffloadedTensor::Place::kAway) continue;
    tensor->device_ =
        Tensor::Empty(tensor->host_.shape(), tensor->host_.options(MemoryCategory::kActivations));
    Tensor from = tensor->host_;
    const auto before = index > 0 ? tensors_[index - 1].lock() : nullptr;
    if (before != nullptr && before->host_.defined() && before->host_.bytes() == from.bytes() &&
        Injected(Fault::kOffloadOfNeighbour)) {
      from = before->host_;
    }
    tensor->Start(tensor->device_, from);
    tensor->place_ = OffloadedTensor::Place::kComing;
  }
}

Tensor OffloadQueue::Return(OffloadedTensor& tensor) {
  // Out of order, or before the forward pass has ended.
  if (tensor.place_ == OffloadedTensor::Place::kAway) FetchBefore(tensor.index_ + 1);
  tensor.Wait();
  tensor.place_ = OffloadedTensor::Place::kBack;
  tensor.host_ = Tensor();
  FetchBefore(tensor.index_);
  return std::exchange(tensor.device_, {});
}

}  // namespace choir
