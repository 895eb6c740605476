#include "parallel/comm/local_transport.h"

#include <algorithm>
#include <cstring>

#include "base/strings.h"

namespace choir {
namespace {

// Up to this size a copy costs less than the sender's wait for the receiver.
constexpr int64_t kShortMessage = 16 << 10;
// Receivers copy a whole message at once: short ones let a rank get back to its own work.
constexpr int64_t kLongest = 1 << 20;

int64_t LineKey(int from, int tag) { return (static_cast<int64_t>(from) << 32) | tag; }

}  // namespace

void LocalJob::End(const std::string& reason, int code) {
  std::lock_guard lock(mutex_);
  if (ended_.load(std::memory_order_relaxed)) return;
  reason_ = reason;
  code_ = code;
  ended_.store(true, std::memory_order_release);
}

std::string LocalJob::reason() const {
  std::lock_guard lock(mutex_);
  return reason_;
}

int LocalJob::code() const {
  std::lock_guard lock(mutex_);
  return code_;
}

LocalTransport::LocalTransport(std::shared_ptr<LocalJob> job, int rank, int64_t max_message_bytes)
    : job_(std::move(job)),
      rank_(rank),
      max_message_bytes_(std::min(max_message_bytes, kLongest)) {}

Transport::Handle LocalTransport::NewSlot(Slot slot) {
  if (free_slots_.empty()) {
    slots_.push_back(std::move(slot));
    return static_cast<Handle>(slots_.size()) - 1;
  }
  const Handle handle = free_slots_.back();
  free_slots_.pop_back();
  slots_[static_cast<size_t>(handle)] = std::move(slot);
  return handle;
}

Transport::Handle LocalTransport::ISend(int to, int tag, const void* data, int64_t bytes) {
  Message message{rank_, tag, static_cast<const std::byte*>(data), bytes, nullptr, nullptr};
  Slot slot;
  if (bytes <= kShortMessage) {
    if (bytes > 0) {
      message.owned = std::make_unique<std::byte[]>(static_cast<size_t>(bytes));
      std::memcpy(message.owned.get(), data, static_cast<size_t>(bytes));
      message.data = message.owned.get();
    }
    slot.ended = true;
  } else {
    slot.taken = message.taken = std::make_shared<std::atomic<bool>>(false);
  }
  LocalJob::Box& there = box(to);
  {
    std::lock_guard lock(there.mutex);
    there.messages.push_back(std::move(message));
    there.filled.store(true, std::memory_order_release);
  }
  return NewSlot(std::move(slot));
}

Transport::Handle LocalTransport::IRecv(int from, int tag, void* data, int64_t bytes) {
  const Handle handle = NewSlot({false, nullptr, static_cast<std::byte*>(data), bytes});
  TakeArrivals();
  const int64_t key = LineKey(from, tag);
  Line& line = lines_[key];
  if (line.messages.empty()) {
    line.receives.push_back(handle);
    return handle;
  }
  Receive(line.messages.front(), handle);
  line.messages.pop_front();
  if (line.messages.empty()) lines_.erase(key);
  return handle;
}

bool LocalTransport::Test(Handle handle) {
  TakeArrivals();
  Slot& slot = slots_[static_cast<size_t>(handle)];
  if (slot.taken != nullptr) slot.ended = slot.taken->load(std::memory_order_acquire);
  if (!slot.ended) return false;
  slot = {};
  free_slots_.push_back(handle);
  return true;
}

void LocalTransport::TakeArrivals() {
  LocalJob::Box& own = box(rank_);
  if (!own.filled.load(std::memory_order_acquire)) return;
  std::vector<Message> messages;
  {
    std::lock_guard lock(own.mutex);
    messages.swap(own.messages);
    std::move(own.control.begin(), own.control.end(), std::back_inserter(control_));
    own.control.clear();
    own.filled.store(false, std::memory_order_relaxed);
  }
  for (Message& message : messages) {
    const int64_t key = LineKey(message.from, message.tag);
    Line& line = lines_[key];
    if (line.receives.empty()) {
      line.messages.push_back(std::move(message));
      continue;
    }
    Receive(message, line.receives.front());
    line.receives.pop_front();
    if (line.receives.empty()) lines_.erase(key);
  }
}

void LocalTransport::Receive(const Message& message, Handle receive) {
  Slot& slot = slots_[static_cast<size_t>(receive)];
  if (message.bytes != slot.bytes) {
    Abort(StrCat("world rank ", rank_, " expects ", slot.bytes, " bytes from world rank ",
                 message.from, ", which sent ", message.bytes,
                 ": their calls differ (parallel.check_collectives names them)"),
          kAbortStatus);
  }
  if (message.bytes > 0) {
    std::memcpy(slot.data, message.data, static_cast<size_t>(message.bytes));
  }
  if (message.taken != nullptr) message.taken->store(true, std::memory_order_release);
  slot.ended = true;
}

void LocalTransport::SendControl(int to, const std::string& text) {
  LocalJob::Box& there = box(to);
  std::lock_guard lock(there.mutex);
  there.control.push_back({rank_, text});
  there.filled.store(true, std::memory_order_release);
}

bool LocalTransport::TakeControl(ControlMessage* message) {
  TakeArrivals();
  if (control_.empty()) return false;
  *message = std::move(control_.front());
  control_.pop_front();
  return true;
}

void LocalTransport::CheckJob() {
  if (job_->ended()) throw LocalJobEnded();
}

void LocalTransport::Abort(const std::string& reason, int code) {
  job_->End(reason, code);
  throw LocalJobEnded();
}

}  // namespace choir
