// Messages between ranks that are threads of one process.
#pragma once

#include <atomic>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "parallel/comm/transport.h"

namespace choir {

// Thrown through a rank's body to end it; caught by RunLocal and by nothing else.
struct LocalJobEnded {};

// What the ranks of one job share.
class LocalJob {
 public:
  explicit LocalJob(int ranks) : boxes_(static_cast<size_t>(ranks)) {}

  bool ended() const { return ended_.load(std::memory_order_acquire); }
  // The first reason stays.
  void End(const std::string& reason, int code);
  std::string reason() const;
  int code() const;

 private:
  friend class LocalTransport;
  // Short messages travel in `owned`; of long ones the receiver copies the sender's memory and says
  // so in `taken`.
  struct Message {
    int from = 0, tag = 0;
    const std::byte* data = nullptr;
    int64_t bytes = 0;
    std::unique_ptr<std::byte[]> owned;
    std::shared_ptr<std::atomic<bool>> taken;
  };
  struct Box {
    std::mutex mutex;                 // guards the two vectors
    std::atomic<bool> filled{false};  // set with the mutex held; lets the owner look for free
    std::vector<Message> messages;
    std::vector<ControlMessage> control;
  };

  std::vector<Box> boxes_;
  std::atomic<bool> ended_{false};
  mutable std::mutex mutex_;  // guards the two below
  std::string reason_;
  int code_ = 0;
};

class LocalTransport : public Transport {
 public:
  LocalTransport(std::shared_ptr<LocalJob> job, int rank, int64_t max_message_bytes);

  Handle ISend(int to, int tag, const void* data, int64_t bytes) override;
  Handle IRecv(int from, int tag, void* data, int64_t bytes) override;
  bool Test(Handle handle) override;
  int64_t max_message_bytes() const override { return max_message_bytes_; }
  void SendControl(int to, const std::string& text) override;
  bool TakeControl(ControlMessage* message) override;
  // Throws LocalJobEnded if the job has ended.
  void CheckJob() override;
  [[noreturn]] void Abort(const std::string& reason, int code) override;

 private:
  using Message = LocalJob::Message;
  struct Slot {
    bool ended = false;
    std::shared_ptr<std::atomic<bool>> taken;  // of a send
    std::byte* data = nullptr;                 // of a receive
    int64_t bytes = 0;
  };
  // Of one sender and tag: what came before it was asked for, or was asked for before it came.
  struct Line {
    std::deque<Message> messages;
    std::deque<Handle> receives;
  };

  Handle NewSlot(Slot slot);
  LocalJob::Box& box(int rank) { return job_->boxes_[static_cast<size_t>(rank)]; }
  void TakeArrivals();
  void Receive(const Message& message, Handle receive);

  std::shared_ptr<LocalJob> job_;
  int rank_;
  int64_t max_message_bytes_;
  std::vector<Slot> slots_;
  std::vector<Handle> free_slots_;
  std::unordered_map<int64_t, Line> lines_;  // by sender and tag; never an empty one
  std::deque<ControlMessage> control_;
};

}  // namespace choir
