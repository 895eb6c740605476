// Listens to a step on the meta device: its kernels and exchanges by pass, for the time model, and
// the moment when memory is fullest.
#pragma once

#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "parallel/comm/call.h"
#include "plan/workload.h"
#include "tensor/memory.h"
#include "train/layout.h"

namespace choir {

class StepRecorder {
 public:
  // `ledger` is the one that the step allocates in; `node_size`: ranks that share a node.
  StepRecorder(const RunLayout& layout, const MemoryLedger& ledger, int rank, int node_size);

  // What comes from now on belongs to a pass of a microbatch, or to the step's end.
  void EnterPass(ActionKind kind, int stage, int microbatch);
  void LeavePass();
  void AddWork(const Work& work);
  void AddCall(const Call& call, const GroupView& group);

  // By stage of this rank (others are empty), averaged over its microbatches; what each sends to
  // the next is left open.
  std::vector<StageWorkload> Stages(int64_t microbatches) const;
  // What is done once a step.
  PassWork Update() const;
  // "backward of stage 0, microbatch 3, swiglu_backward": the kernel before whose run the peak was
  // reached. Kernels allocate their results first.
  const std::string& peak_moment() const { return peak_moment_; }

 private:
  // Equal ones are counted together.
  class Tally {
   public:
    void Add(const Work& work);
    void Add(const ExchangeItem& exchange);
    // Counts are divided by `times`.
    PassWork Divided(double times) const;

   private:
    using WorkKey =
        std::tuple<int, std::string, double, double, int64_t, int64_t, int64_t, int64_t>;
    using ExchangeKey = std::tuple<int, std::string, int, int, double, int>;
    std::map<WorkKey, WorkItem> work_;
    std::map<ExchangeKey, ExchangeItem> exchanges_;
  };
  Tally& Current();
  ExchangeItem ItemOf(const Call& call, const GroupView& group) const;

  const RunLayout& layout_;
  const MemoryLedger& ledger_;
  int rank_, node_size_;
  bool in_pass_ = false;
  ActionKind kind_ = ActionKind::kForward;
  int stage_ = 0, microbatch_ = 0;
  std::map<std::pair<int, int>, Tally> passes_;  // by stage and pass: forward, input, weight
  Tally update_;
  int64_t peak_ = 0;
  std::string peak_moment_ = "between steps";
};

}  // namespace choir
