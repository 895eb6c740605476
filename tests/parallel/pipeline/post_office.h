// Messages between threads, for tests of one rank's side: a group that can only send and receive.
// A send ends when a receive for it was posted and not before, and is copied from the sender's own
// memory, as MPI does with large messages.
#pragma once

#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "base/strings.h"
#include "parallel/comm/communicator.h"

namespace choir::pipeline_test {

class PostOffice {
 public:
  // A message, as either end knows it.
  struct Letter {
    Tensor tensor;
    bool delivered = false;
  };
  using LetterRef = std::shared_ptr<Letter>;

  LetterRef Send(int from, int to, int tag, const Tensor& tensor) {
    return Meet({from, to, tag}, tensor, /*sends=*/true);
  }
  LetterRef Receive(int from, int to, int tag, const Tensor& tensor) {
    return Meet({from, to, tag}, tensor, /*sends=*/false);
  }
  bool Delivered(const Letter& letter) {
    const std::lock_guard lock(mutex_);
    return letter.delivered;
  }
  // Messages that nobody received, and those whose sender let go of them before they were.
  size_t left() const {
    size_t count = 0;
    for (const auto& [key, box] : boxes_) count += box.sent.size();
    return count;
  }
  int dropped() const { return dropped_; }

 private:
  // Of one channel, what waits for the other end.
  struct Box {
    std::deque<LetterRef> sent, awaited;
  };

  using Channel = std::tuple<int, int, int>;  // from, to, tag

  LetterRef Meet(const Channel& channel, const Tensor& tensor, bool sends) {
    auto mine = std::make_shared<Letter>(Letter{tensor});
    const std::lock_guard lock(mutex_);
    Box& box = boxes_[channel];
    std::deque<LetterRef>& others = sends ? box.awaited : box.sent;
    if (others.empty()) {
      (sends ? box.sent : box.awaited).push_back(mine);
      return mine;
    }
    const LetterRef other = others.front();
    others.pop_front();
    Letter &from = sends ? *mine : *other, &to = sends ? *other : *mine;
    if (!sends && from.tensor.Unique()) ++dropped_;
    CHECK(from.tensor.bytes() == to.tensor.bytes());
    std::memcpy(to.tensor.raw(), from.tensor.raw(), static_cast<size_t>(from.tensor.bytes()));
    for (Letter* letter : {&from, &to}) {
      letter->tensor = {};
      letter->delivered = true;
    }
    return mine;
  }

  std::mutex mutex_;
  std::map<Channel, Box> boxes_;
  int dropped_ = 0;
};

class PostCommunicator : public Communicator {
 public:
  PostCommunicator(PostOffice& office, int rank, int size, std::vector<std::string>& log)
      : Communicator("pipe", Ranks(size), rank), office_(office), log_(log) {}

  Event Send(const Tensor& x, int to, int tag, Site) override {
    log_.push_back(StrCat("send to ", to));
    return EndOf(office_.Send(rank(), to, tag, x), StrCat("send to ", to));
  }
  Event Recv(const Tensor& x, int from, int tag, Site) override {
    log_.push_back(StrCat("receive from ", from));
    return EndOf(office_.Receive(from, rank(), tag, x), StrCat("receive from ", from));
  }

  Event AllReduce(const Tensor&, ReduceOp, Site) override { return Unexpected(); }
  Event AllGather(const Tensor&, const Tensor&, std::span<const int64_t>, Site) override {
    return Unexpected();
  }
  Event ReduceScatter(const Tensor&, const Tensor&, std::span<const int64_t>, Site) override {
    return Unexpected();
  }
  Event AllToAll(const Tensor&, std::span<const int64_t>, const Tensor&, std::span<const int64_t>,
                 Site) override {
    return Unexpected();
  }
  Event Broadcast(const Tensor&, int, Site) override { return Unexpected(); }
  Event Barrier(Site) override { return Unexpected(); }

 private:
  class Polled : public Event::State {
   public:
    Polled(std::function<bool()> done, std::string what)
        : done_(std::move(done)), what_(std::move(what)) {}
    bool Poll() override {
      if (done_()) return true;
      std::this_thread::yield();
      return false;
    }
    std::string Describe() const override { return what_; }

   private:
    std::function<bool()> done_;
    std::string what_;
  };

  Event EndOf(PostOffice::LetterRef letter, std::string what) {
    return Event(std::make_shared<Polled>(
        [this, letter = std::move(letter)] { return office_.Delivered(*letter); },
        std::move(what)));
  }
  static std::vector<int> Ranks(int size) {
    std::vector<int> ranks(static_cast<size_t>(size));
    std::iota(ranks.begin(), ranks.end(), 0);
    return ranks;
  }
  static Event Unexpected() {
    CHECK(false) << "a pipeline only sends and receives";
    return {};
  }

  PostOffice& office_;
  std::vector<std::string>& log_;
};

}  // namespace choir::pipeline_test
