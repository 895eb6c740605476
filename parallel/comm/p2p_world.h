// The world over a Transport: all collectives, written once for threads and processes.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "parallel/comm/communicator.h"
#include "parallel/comm/operation.h"
#include "parallel/comm/transport.h"

namespace choir {

struct WorldPlace {
  int rank = 0;
  int size = 1;
  int node_size = 1;
};

class P2pCommunicator;

class P2pWorld : public World, public OperationHost {
 public:
  // `transport` null: a world where nothing is sent. With one rank that is all there is to do; with
  // more, every call is only counted and must be of meta tensors.
  P2pWorld(const WorldPlace& place, const WorldOptions& options,
           std::unique_ptr<Transport> transport);
  ~P2pWorld() override;

  Communicator& Group(std::span<const int> ranks, const std::string& name) override;
  void Progress() override;
  bool dry() const override { return transport_ == nullptr && size() > 1; }
  std::vector<CommCount> Counts() const override;
  [[noreturn]] void Abort(const std::string& reason, int code) override;

  // Called when this rank's work is done: waits, without a deadline, until every rank is here, and
  // meanwhile tells ranks that hang that this one has ended.
  void Finish();
  // What this rank does: its outstanding calls, then its last ones.
  std::string State();

  // Begins a call of `group`; what it sends is added to the count of (group, operation).
  Event Begin(Call call, const GroupView& group);

  // Told of every call that is sent to others, before it begins. May be empty.
  using CallListener = std::function<void(const Call& call, const GroupView& group)>;
  void set_listener(CallListener listener) { listener_ = std::move(listener); }

  Transport& transport() override { return *transport_; }
  ScratchPool& scratch() override { return scratch_; }
  void AdvanceAll() override { Progress(); }
  void WaitedFor(Operation& operation, double seconds) override;

 private:
  static constexpr size_t kHistory = 16;

  void ServeControl();
  [[noreturn]] void ReportHang(Operation& operation, double seconds);
  void CollectAnswers(const std::vector<int>& ranks);

  std::unique_ptr<Transport> transport_;  // before whatever has messages in it
  ScratchPool scratch_;
  std::map<std::pair<std::vector<int>, std::string>, std::unique_ptr<P2pCommunicator>> groups_;
  std::vector<int> shared_groups_;  // by world rank: groups that hold both it and this one
  std::map<std::pair<std::string, CallKind>, CommCount> counts_;
  std::vector<std::shared_ptr<Operation>> outstanding_;
  std::deque<std::shared_ptr<Operation>> history_;  // the last kHistory that sent something
  std::map<int, std::string> answers_;              // by world rank, to our question
  CallListener listener_;
  int64_t ticks_ = 0;
  bool finishing_ = false;
};

// A world of one rank, for runs without MPI.
std::unique_ptr<World> SingleWorld(const WorldOptions& options = {});
// One rank of a job that does not run: calls on meta tensors are counted, nothing is sent.
std::unique_ptr<World> DryWorld(const WorldPlace& place, const WorldOptions& options = {});

}  // namespace choir
