// A call under way on this rank: its messages, and the coroutine that advances it.
#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "parallel/comm/call.h"
#include "parallel/comm/communicator.h"
#include "parallel/comm/scratch_pool.h"
#include "parallel/comm/task.h"
#include "parallel/comm/transport.h"

namespace choir {

class Operation;

// What an operation needs of its world.
class OperationHost {
 public:
  virtual ~OperationHost() = default;
  virtual Transport& transport() = 0;
  virtual ScratchPool& scratch() = 0;
  virtual void AdvanceAll() = 0;
  // Ends the job if `seconds` is more than the world allows.
  virtual void WaitedFor(Operation& operation, double seconds) = 0;
};

// What else than data is sent between the members of a group.
enum class MessageKind : uint8_t { kUser, kData, kCheck };

// Messages [begin, end) of one operation, in the order in which they were begun.
struct MessageRange {
  size_t begin = 0, end = 0;
};

class Operation : public Event::State {
 public:
  // `host` null: nothing is sent, and every message has ended at once (to count them).
  Operation(Call call, const GroupView& group, OperationHost* host, CommCount* count);

  // Starts `body`, which may refer to this object.
  void Start(Task body);
  // Resumes the coroutine while what it waits for has ended. True once all is done.
  bool Advance();
  bool done() const { return done_; }

  bool Poll() override;
  std::string Describe() const override { return text_; }
  void Overdue(double seconds) override;
  // What has not ended: "data from world rank 3 (4 bytes), ...", and the world ranks alone.
  std::string Missing();
  std::vector<int> MissingRanks();

  // For the coroutines. Members are ranks of the group.
  const Call& call() const { return call_; }
  const GroupView& group() const { return group_; }
  int rank() const { return group_.rank; }
  int size() const { return group_.size(); }
  bool dry() const { return host_ == nullptr; }
  Transport& transport() { return host_->transport(); }
  MessageRange Send(int member, const std::byte* data, int64_t bytes) {
    return SendAs(MessageKind::kData, member, data, bytes);
  }
  MessageRange Receive(int member, std::byte* data, int64_t bytes) {
    return ReceiveAs(MessageKind::kData, member, data, bytes);
  }
  // Cut at max_message_bytes; no bytes: no message.
  MessageRange SendAs(MessageKind kind, int member, const std::byte* data, int64_t bytes);
  MessageRange ReceiveAs(MessageKind kind, int member, std::byte* data, int64_t bytes);
  // An empty message.
  void Signal(int member);
  MessageRange ReceiveSignal(int member);
  // Number of messages begun so far; [Begun(), Begun()) later is what was begun between.
  size_t Begun() const { return messages_.size(); }
  // Staging memory of this operation; null when dry. At most one block at a time.
  std::byte* Scratch(int64_t bytes);

  struct Completion {
    Operation& operation;
    MessageRange range;
    bool await_ready() const { return operation.Ended(range); }
    void await_suspend(std::coroutine_handle<> handle) const {
      operation.waiting_for_ = range;
      operation.resume_ = handle;
    }
    void await_resume() const {}
  };
  // co_await operation.Completed(range): until these messages have ended.
  Completion Completed(MessageRange range) { return {*this, range}; }
  Completion AllCompleted() { return {*this, {0, messages_.size()}}; }

 private:
  struct Message {
    Transport::Handle handle;
    int64_t bytes;
    int member;
    MessageKind kind;
    bool send;
    bool ended;
  };
  struct Envelope {
    MessageKind kind;
    int member;
    bool send;
  };
  void Begin(const Envelope& envelope, std::byte* data, int64_t bytes);
  MessageRange BeginCut(const Envelope& envelope, std::byte* data, int64_t bytes);
  int TagTo(MessageKind kind, int member) const;
  // Tests the messages of `range` in order and drops those that have ended from its front.
  bool Ended(MessageRange& range);
  bool Ended(const MessageRange& range) {
    MessageRange rest = range;
    return Ended(rest);
  }
  void TestAll();
  void Finish();

  Call call_;
  const GroupView& group_;
  OperationHost* host_;
  CommCount* count_;
  std::string text_;
  std::vector<Message> messages_;
  ScratchPool::Block block_;
  MessageRange waiting_for_;
  std::coroutine_handle<> resume_;
  bool done_ = false;
  Task body_;  // last: destroyed first
};

}  // namespace choir
