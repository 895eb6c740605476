#include "parallel/comm/operation.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/strings.h"

namespace choir {
namespace {

// Bits of a tag (31 in all, the most that Open MPI takes): 2 of kind, then the number of the group
// among those that hold both ranks, then the user's tag or the low bits of the sequence number. Of
// one group at most 2^19 collectives can be outstanding.
constexpr int kKindShift = 29;
constexpr int kUserTagBits = 16, kSequenceBits = 19;

int MakeTag(MessageKind kind, int group, int64_t low) {
  const int bits = kind == MessageKind::kUser ? kUserTagBits : kSequenceBits;
  CHECK(group < (1 << (kKindShift - bits))) << "too many groups that hold the same two ranks";
  return (static_cast<int>(kind) << kKindShift) | (group << bits) |
         static_cast<int>(low & ((int64_t{1} << bits) - 1));
}

}  // namespace

Operation::Operation(Call call, const GroupView& group, OperationHost* host, CommCount* count)
    : call_(std::move(call)),
      group_(group),
      host_(host),
      count_(count),
      text_(choir::Describe(call_, group)) {}

void Operation::Start(Task body) {
  body_ = std::move(body);
  body_.Start();
  Advance();
}

bool Operation::Advance() {
  while (!done_) {
    if (body_.done()) {
      Finish();
      break;
    }
    if (!Ended(waiting_for_)) return false;
    std::exchange(resume_, nullptr).resume();
  }
  return true;
}

// The tensors belong to the caller again; what was staged, to the pool.
void Operation::Finish() {
  body_ = {};
  call_.out = {};
  call_.in = {};
  if (host_ != nullptr) host_->scratch().Return(std::move(block_));
  messages_ = {};
  done_ = true;
}

bool Operation::Poll() {
  if (!done_ && host_ != nullptr) host_->AdvanceAll();
  return done_;
}

void Operation::Overdue(double seconds) { host_->WaitedFor(*this, seconds); }

bool Operation::Ended(MessageRange& range) {
  for (; range.begin < range.end; ++range.begin) {
    Message& message = messages_[range.begin];
    if (message.ended) continue;
    if (!host_->transport().Test(message.handle)) return false;
    message.ended = true;
  }
  return true;
}

int Operation::TagTo(MessageKind kind, int member) const {
  const int64_t low = kind == MessageKind::kUser ? call_.tag : call_.sequence;
  return MakeTag(kind, group_.pair_index[static_cast<size_t>(member)], low);
}

void Operation::Begin(const Envelope& envelope, std::byte* data, int64_t bytes) {
  if (envelope.send && envelope.kind != MessageKind::kCheck) count_->bytes_sent += bytes;
  if (dry()) return;
  const int peer = group_.ranks[static_cast<size_t>(envelope.member)];
  const int tag = TagTo(envelope.kind, envelope.member);
  const Transport::Handle handle = envelope.send ? transport().ISend(peer, tag, data, bytes)
                                                 : transport().IRecv(peer, tag, data, bytes);
  messages_.push_back({handle, bytes, envelope.member, envelope.kind, envelope.send, false});
}

MessageRange Operation::BeginCut(const Envelope& envelope, std::byte* data, int64_t bytes) {
  MessageRange range{Begun(), Begun()};
  const int64_t most = dry() ? bytes : transport().max_message_bytes();
  for (int64_t begin = 0; begin < bytes; begin += most) {
    Begin(envelope, data == nullptr ? nullptr : data + begin, std::min(most, bytes - begin));
  }
  range.end = Begun();
  return range;
}

MessageRange Operation::SendAs(MessageKind kind, int member, const std::byte* data, int64_t bytes) {
  return BeginCut({kind, member, true}, const_cast<std::byte*>(data), bytes);
}

MessageRange Operation::ReceiveAs(MessageKind kind, int member, std::byte* data, int64_t bytes) {
  return BeginCut({kind, member, false}, data, bytes);
}

void Operation::Signal(int member) { Begin({MessageKind::kData, member, true}, nullptr, 0); }

MessageRange Operation::ReceiveSignal(int member) {
  const size_t begin = Begun();
  Begin({MessageKind::kData, member, false}, nullptr, 0);
  return {begin, Begun()};
}

std::byte* Operation::Scratch(int64_t bytes) {
  if (dry()) return nullptr;
  CHECK(block_.data == nullptr);
  block_ = host_->scratch().Take(bytes);
  return block_.data.get();
}

std::string Operation::Missing() {
  TestAll();
  std::string text;
  for (const Message& message : messages_) {
    if (message.ended) continue;
    const char* const what = message.kind == MessageKind::kCheck ? "description" : "data";
    text += StrCat(text.empty() ? "" : ", ", what, message.send ? " not yet taken by" : " from",
                   " world rank ", group_.ranks[static_cast<size_t>(message.member)], " (",
                   message.bytes, " bytes)");
  }
  return text;
}

std::vector<int> Operation::MissingRanks() {
  TestAll();
  std::vector<int> ranks;
  for (const Message& message : messages_) {
    const int rank = group_.ranks[static_cast<size_t>(message.member)];
    const bool known = std::find(ranks.begin(), ranks.end(), rank) != ranks.end();
    if (!message.ended && !known) ranks.push_back(rank);
  }
  return ranks;
}

void Operation::TestAll() {
  for (Message& message : messages_) {
    if (!message.ended) message.ended = host_->transport().Test(message.handle);
  }
}

}  // namespace choir
