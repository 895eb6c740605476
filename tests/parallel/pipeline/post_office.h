// Messages between threads, for tests of one rank's side: a group that can only send and receive.
// A send ends when it was received and not before, from the sender's own memory, as MPI does with
// large messages.
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
  struct Letter {
    Tensor tensor;
    bool received = false;
    bool dropped = false;  // the sender let go of its tensor too early
  };

  std::shared_ptr<Letter> Post(int from, int to, int tag, const Tensor& tensor) {
    const std::lock_guard lock(mutex_);
    auto letter = std::make_shared<Letter>(Letter{tensor});
    boxes_[{from, to, tag}].push_back(letter);
    return letter;
  }
  bool Received(const Letter& letter) {
    const std::lock_guard lock(mutex_);
    return letter.received;
  }
  // False if nothing is there.
  bool Receive(int from, int to, int tag, const Tensor& tensor) {
    const std::lock_guard lock(mutex_);
    auto& box = boxes_[{from, to, tag}];
    if (box.empty()) return false;
    Letter& letter = *box.front();
    if (letter.tensor.Unique()) ++dropped_;
    CHECK(letter.tensor.bytes() == tensor.bytes());
    std::memcpy(tensor.raw(), letter.tensor.raw(), static_cast<size_t>(tensor.bytes()));
    letter.tensor = {};
    letter.received = true;
    box.pop_front();
    return true;
  }
  // Messages that nobody received, and those whose sender let go of them before they were.
  size_t left() const {
    size_t count = 0;
    for (const auto& [key, box] : boxes_) count += box.size();
    return count;
  }
  int dropped() const { return dropped_; }

 private:
  std::mutex mutex_;
  std::map<std::tuple<int, int, int>, std::deque<std::shared_ptr<Letter>>> boxes_;
  int dropped_ = 0;
};

class PostCommunicator : public Communicator {
 public:
  PostCommunicator(PostOffice& office, int rank, int size, std::vector<std::string>& log)
      : Communicator("pipe", Ranks(size), rank), office_(office), log_(log) {}

  Event Send(const Tensor& x, int to, int tag, Site) override {
    log_.push_back(StrCat("send to ", to));
    auto letter = office_.Post(rank(), to, tag, x);
    return Event(std::make_shared<Polled>([this, letter] { return office_.Received(*letter); },
                                          StrCat("send to ", to)));
  }
  Event Recv(const Tensor& x, int from, int tag, Site) override {
    log_.push_back(StrCat("receive from ", from));
    auto there = std::make_shared<bool>(false);
    return Event(std::make_shared<Polled>(
        [this, x, from, tag, there] {
          return *there = *there || office_.Receive(from, rank(), tag, x);
        },
        StrCat("receive from ", from)));
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
