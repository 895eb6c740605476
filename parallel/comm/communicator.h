// Groups of ranks that exchange tensors. Three kinds stand behind this interface: `local` (ranks
// are threads of one process), `mpi` (ranks are processes, tensors on the CPU), and later `nccl`.
//
// Every call returns at once; the Event it returns ends when this rank's part is done, and until
// then the tensors handed in must be neither written nor (outputs) read. Progress is made inside
// Event::Wait, Event::Done and World::Progress, which the tape calls between kernels. All members
// of a group call the same collectives of it in the same order, which never depends on data.
//
// Staging memory of sums is bounded by a constant for each outstanding call and kept by the world;
// like the buffers inside MPI it is in no MemoryLedger.
//
// Sums have one order, which depends on the group's size alone: see SumOrder. Elements: f64, f32
// (bf16 and f16 for calls that do not sum; i32 for all). Counts may exceed 2^31. On meta tensors
// nothing is sent, only counted.
#pragma once

#include <cstdint>
#include <memory>
#include <source_location>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "tensor/tensor.h"

namespace choir {

enum class ReduceOp { kSum, kMax };

enum class SumOrder {
  kRing,  // fewest bytes: a ring per segment, each segment starting at another rank
  kTree   // a balanced binary tree over the members in the order of the group: canonical
          // (ops/numerics.h)
};

// The end of an operation. Copies share it. A default one has ended.
class Event {
 public:
  class State {
   public:
    virtual ~State() = default;
    // Makes progress if it can; true once ended.
    virtual bool Poll() = 0;
    // What is waited for, for reports of hangs.
    virtual std::string Describe() const = 0;
    // Called now and then with the seconds spent in Wait; ends the job when they are too many.
    virtual void Overdue(double /*seconds*/) {}
  };

  Event() = default;
  explicit Event(std::shared_ptr<State> state) : state_(std::move(state)) {}
  bool Done() const { return state_ == nullptr || state_->Poll(); }
  // Blocks. Past the world's deadline: ends the job with a report of who waits for what.
  void Wait() const;
  // Spent in Wait by this thread so far, copies made there included.
  static double SecondsWaited();

 private:
  std::shared_ptr<State> state_;
};

class Communicator {
 public:
  using Site = std::source_location;

  virtual ~Communicator() = default;

  int rank() const { return rank_; }  // in the group
  int size() const { return static_cast<int>(ranks_.size()); }
  std::span<const int> ranks() const { return ranks_; }  // in the world, by rank in the group
  const std::string& name() const { return name_; }      // "tensor", "replica+shard", ...

  // x = sum or maximum over the members, in place.
  virtual Event AllReduce(const Tensor& x, ReduceOp op, Site site = Site::current()) = 0;
  // out = the members' `in`, one after another; counts[i] elements from member i (`in` has
  // counts[rank()]). `in` may be the part of `out` where it belongs.
  virtual Event AllGather(const Tensor& out, const Tensor& in, std::span<const int64_t> counts,
                          Site site = Site::current()) = 0;
  // out = segment rank() of the sum of the members' `in`; segment i has counts[i] elements. `in` is
  // used as scratch and is undefined afterwards; `out` may be its segment.
  virtual Event ReduceScatter(const Tensor& out, const Tensor& in, std::span<const int64_t> counts,
                              Site site = Site::current()) = 0;
  // Segment i of `in` (send_counts[i] elements) goes to member i; `out` receives one segment of
  // recv_counts[i] elements from each member, in their order. Zero counts send nothing.
  virtual Event AllToAll(const Tensor& out, std::span<const int64_t> recv_counts, const Tensor& in,
                         std::span<const int64_t> send_counts, Site site = Site::current()) = 0;
  virtual Event Broadcast(const Tensor& x, int root, Site site = Site::current()) = 0;
  virtual Event Barrier(Site site = Site::current()) = 0;
  // Messages to and from one member are matched by `tag` (0 <= tag < 2^16), in order for equal
  // tags. `x` may be reused when the event has ended; Send ends without waiting for Recv where it
  // can.
  virtual Event Send(const Tensor& x, int to, int tag, Site site = Site::current()) = 0;
  virtual Event Recv(const Tensor& x, int from, int tag, Site site = Site::current()) = 0;

 protected:
  Communicator(std::string name, std::vector<int> ranks, int rank)
      : name_(std::move(name)), ranks_(std::move(ranks)), rank_(rank) {}

 private:
  std::string name_;
  std::vector<int> ranks_;
  int rank_;
};

// Bytes and calls of one kind of collective of one group on this rank.
struct CommCount {
  std::string group, operation;
  int64_t calls = 0;
  int64_t bytes_sent = 0;  // by this rank, to other ranks
};

struct WorldOptions {
  SumOrder sum_order = SumOrder::kRing;
  // Before each collective its description (sequence number, operation, bytes, group, call site) is
  // compared with all members': a mismatch ends the job with both, before anything can block.
  bool check = false;
  // Seconds that Wait allows; then the job ends with a report.
  double timeout_s = 600;
  // Longer messages are cut. MPI counts bytes with an int.
  int64_t max_message_bytes = int64_t{1} << 30;
  // Of ranks that are threads (RunLocal): ranks of one emulated node; 0: all. Under MPI the size
  // is found out.
  int local_node_size = 0;
};

// All ranks of a job, as one of them sees it. One thread per World.
class World {
 public:
  virtual ~World() = default;

  int rank() const { return rank_; }
  int size() const { return size_; }
  // Ranks that share this rank's host memory come in runs of this many ("a node").
  int node_size() const { return node_size_; }
  // True for one rank of a job that does not run: calls are counted only, and of meta tensors.
  virtual bool dry() const { return false; }
  // Of small tensors that ranks tell each other numbers with.
  Device host() const { return dry() ? Device::kMeta : Device::kCpu; }
  const WorldOptions& options() const { return options_; }
  // For calls made from now on. All ranks set the same, at the same point of their work.
  void set_options(const WorldOptions& options) { options_ = options; }

  // The group of `ranks` (this one among them; in the order of the group). Any two ranks ask for
  // the groups that hold both in the same order; nothing is sent. Owned by the world; the same
  // ranks and name give the same object.
  virtual Communicator& Group(std::span<const int> ranks, const std::string& name) = 0;
  // Advances everything outstanding without blocking.
  virtual void Progress() = 0;
  // Since the start, by group and operation.
  virtual std::vector<CommCount> Counts() const = 0;
  // Ends the whole job: every rank prints nothing more than `reason` once, exit status `code`.
  [[noreturn]] virtual void Abort(const std::string& reason, int code) = 0;

 protected:
  World(int rank, int size, int node_size, const WorldOptions& options)
      : rank_(rank), size_(size), node_size_(node_size), options_(options) {}

 private:
  int rank_, size_, node_size_;
  WorldOptions options_;
};

}  // namespace choir
