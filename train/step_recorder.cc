#include "train/step_recorder.h"

#include <algorithm>

#include "base/check.h"
#include "base/strings.h"

namespace choir {
namespace {

constexpr int kForwardPass = 0, kInputPass = 1, kWeightPass = 2;

int PassOf(ActionKind kind) {
  if (kind == ActionKind::kForward) return kForwardPass;
  return kind == ActionKind::kBackwardWeight ? kWeightPass : kInputPass;
}

ExchangeKind KindOf(CallKind kind) {
  switch (kind) {
    case CallKind::kAllReduce:
    case CallKind::kBarrier:
      return ExchangeKind::kAllReduce;
    case CallKind::kAllGather:
    case CallKind::kBroadcast:
      return ExchangeKind::kAllGather;
    case CallKind::kReduceScatter:
      return ExchangeKind::kReduceScatter;
    case CallKind::kAllToAll:
      return ExchangeKind::kAllToAll;
    case CallKind::kSend:
    case CallKind::kRecv:
      break;
  }
  return ExchangeKind::kSend;
}

// Gradients and weights, whose exchanges run beside the passes (parallel/zero).
bool OverCopies(const std::string& axis) {
  return axis.find("replica") != std::string::npos || axis.find("shard") != std::string::npos ||
         axis.find("expert_data") != std::string::npos;
}

bool OfExperts(const std::string& axis) {
  return axis.starts_with("expert") && axis.find("expert_data") == std::string::npos;
}

}  // namespace

StepRecorder::StepRecorder(const RunLayout& layout, const MemoryLedger& ledger, int rank,
                           int node_size)
    : layout_(layout), ledger_(ledger), rank_(rank), node_size_(std::max(1, node_size)) {}

void StepRecorder::EnterPass(ActionKind kind, int stage, int microbatch) {
  in_pass_ = true;
  kind_ = kind;
  stage_ = stage;
  microbatch_ = microbatch;
}

void StepRecorder::LeavePass() { in_pass_ = false; }

StepRecorder::Tally& StepRecorder::Current() {
  return in_pass_ ? passes_[{stage_, PassOf(kind_)}] : update_;
}

void StepRecorder::AddWork(const Work& work) {
  if (ledger_.PeakTotal() > peak_) {
    peak_ = ledger_.PeakTotal();
    peak_moment_ = StrCat(in_pass_ ? ToString(Action{kind_, stage_, microbatch_}) : "the update",
                          ", ", work.name);
  }
  Current().Add(work);
}

void StepRecorder::AddCall(const Call& call, const GroupView& group) {
  // Of a message between stages the schedule knows; a receive is the other end of one.
  if (call.kind == CallKind::kRecv || (call.kind == CallKind::kSend && group.name == "pipe")) {
    return;
  }
  const ExchangeItem item = ItemOf(call, group);
  // Sums of gradients that are made once, with the last microbatch, hide behind its pass.
  const bool once =
      in_pass_ && layout_.zero < 2 && item.overlap == Overlap::kPass && OverCopies(item.axis);
  (once ? update_ : Current()).Add(item);
}

ExchangeItem StepRecorder::ItemOf(const Call& call, const GroupView& group) const {
  ExchangeItem item{.kind = KindOf(call.kind), .axis = group.name, .ranks = group.size()};
  const int node = rank_ / node_size_;
  item.ranks_per_node = static_cast<int>(std::count_if(
      group.ranks.begin(), group.ranks.end(), [&](int r) { return r / node_size_ == node; }));
  item.bytes =
      static_cast<double>(call.kind == CallKind::kAllToAll ? call.in.bytes() : call.bytes());
  const bool in_chunks = OfExperts(item.axis) && layout_.exchange.pieces > 1;
  if (in_pass_ && (OverCopies(item.axis) || in_chunks)) item.overlap = Overlap::kPass;
  return item;
}

std::vector<StageWorkload> StepRecorder::Stages(int64_t microbatches) const {
  std::vector<StageWorkload> stages(static_cast<size_t>(layout_.schedule.stages()));
  const auto times = static_cast<double>(microbatches);
  for (const auto& [key, tally] : passes_) {
    StageWorkload& stage = stages[static_cast<size_t>(key.first)];
    PassWork& pass = key.second == kForwardPass ? stage.forward
                     : key.second == kInputPass ? stage.backward_input
                                                : stage.backward_weight;
    pass = tally.Divided(times);
  }
  return stages;
}

PassWork StepRecorder::Update() const { return update_.Divided(1); }

void StepRecorder::Tally::Add(const Work& work) {
  const WorkKey key{static_cast<int>(work.kind) * 8 + static_cast<int>(work.operands),
                    work.name,
                    work.flops,
                    work.bytes,
                    work.m,
                    work.n,
                    work.k,
                    work.groups};
  const auto [at, made] = work_.try_emplace(key, WorkItem{work, 0});
  at->second.count += 1;
}

void StepRecorder::Tally::Add(const ExchangeItem& item) {
  const ExchangeKey key{static_cast<int>(item.kind), item.axis,  item.ranks,
                        item.ranks_per_node,         item.bytes, static_cast<int>(item.overlap)};
  const auto [at, made] = exchanges_.try_emplace(key, item);
  if (!made) at->second.count += 1;
}

PassWork StepRecorder::Tally::Divided(double times) const {
  PassWork pass;
  for (const auto& [key, item] : work_) {
    pass.work.push_back({item.work, item.count / times});
  }
  for (const auto& [key, item] : exchanges_) {
    pass.exchanges.push_back(item);
    pass.exchanges.back().count /= times;
  }
  return pass;
}

}  // namespace choir
