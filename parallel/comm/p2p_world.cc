#include "parallel/comm/p2p_world.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <thread>

#include "base/check.h"
#include "base/log.h"
#include "base/strings.h"
#include "parallel/comm/algorithms.h"
#include "parallel/comm/p2p_communicator.h"

namespace choir {
namespace {

constexpr char kQuestion[] = "?";
// How often Progress looks for questions of other ranks, in calls.
constexpr int64_t kControlEvery = 64;
// How long a report waits for the answers of ranks that may never answer.
constexpr std::chrono::milliseconds kAnswerTime{1500};

}  // namespace

P2pWorld::P2pWorld(const WorldPlace& place, const WorldOptions& options,
                   std::unique_ptr<Transport> transport)
    : World(place.rank, place.size, place.node_size, options),
      transport_(std::move(transport)),
      shared_groups_(static_cast<size_t>(place.size)) {}

P2pWorld::~P2pWorld() = default;

Communicator& P2pWorld::Group(std::span<const int> ranks, const std::string& name) {
  std::vector<int> members(ranks.begin(), ranks.end());
  std::unique_ptr<P2pCommunicator>& group = groups_[{members, name}];
  if (group != nullptr) return *group;
  GroupView view{name, members, -1, {}};
  for (size_t i = 0; i < members.size(); ++i) {
    const int member = members[i];
    CHECK(member >= 0 && member < size()) << "group " << name << ": world rank " << member;
    CHECK(std::count(members.begin(), members.end(), member) == 1)
        << "group " << name << ": world rank " << member << " twice";
    if (member == rank()) view.rank = static_cast<int>(i);
    view.pair_index.push_back(shared_groups_[static_cast<size_t>(member)]++);
  }
  CHECK(view.rank >= 0) << "world rank " << rank() << " is not of group " << name;
  group = std::make_unique<P2pCommunicator>(*this, std::move(view));
  return *group;
}

Event P2pWorld::Begin(Call call, const GroupView& group) {
  CommCount& count = counts_[{group.name, call.kind}];
  count.calls += 1;
  if (group.size() == 1) return {};  // the communicator has copied in to out
  if (listener_) listener_(call, group);
  const Tensor& x = call.out.defined() ? call.out : call.in;
  const bool meta = x.defined() && x.device() == Device::kMeta;
  const bool dry = meta || transport_ == nullptr;
  CHECK(!dry || meta || call.kind == CallKind::kBarrier)
      << "a world without other ranks only counts calls on meta tensors";
  CHECK(meta || !x.defined() || x.device() == Device::kCpu)
      << "tensors of this communicator are on the CPU";
  auto operation =
      std::make_shared<Operation>(std::move(call), group, dry ? nullptr : this, &count);
  if (!dry) {
    history_.push_back(operation);
    if (history_.size() > kHistory) history_.pop_front();
  }
  operation->Start(RunCall(*operation, {options().sum_order, options().check}));
  if (operation->done()) return {};
  outstanding_.push_back(operation);
  return Event(operation);
}

void P2pWorld::Progress() {
  if (transport_ == nullptr) return;
  transport_->CheckJob();
  if (++ticks_ % kControlEvery == 0) ServeControl();
  std::erase_if(outstanding_, [](const auto& operation) { return operation->Advance(); });
}

std::vector<CommCount> P2pWorld::Counts() const {
  std::vector<CommCount> all;
  for (const auto& [key, count] : counts_) {
    all.push_back(count);
    all.back().group = key.first;
    all.back().operation = Name(key.second);
  }
  return all;
}

void P2pWorld::Abort(const std::string& reason, int code) {
  if (transport_ != nullptr) transport_->Abort(reason, code);
  LogError(reason);
  std::exit(code);
}

std::string P2pWorld::State() {
  std::string text = finishing_ ? "has done its work and waits for the others to end" : "works";
  for (const auto& operation : outstanding_) {
    text +=
        StrCat("\n    outstanding: ", operation->Describe(), "; waits for ", operation->Missing());
  }
  text += StrCat("\n    last calls, newest first:", history_.empty() ? " none" : "");
  for (auto i = history_.rbegin(); i != history_.rend(); ++i) {
    text += StrCat("\n      ", (*i)->done() ? "done: " : "      ", (*i)->Describe());
  }
  return text;
}

void P2pWorld::ServeControl() {
  ControlMessage message;
  while (transport_->TakeControl(&message)) {
    if (message.text == kQuestion) {
      transport_->SendControl(message.from, State());
    } else {
      answers_[message.from] = message.text;
    }
  }
}

void P2pWorld::WaitedFor(Operation& operation, double seconds) {
  if (seconds > options().timeout_s) ReportHang(operation, seconds);
}

void P2pWorld::CollectAnswers(const std::vector<int>& ranks) {
  for (int rank : ranks) transport_->SendControl(rank, kQuestion);
  const auto end = std::chrono::steady_clock::now() + kAnswerTime;
  const auto answered = [&](int rank) { return answers_.count(rank) > 0; };
  while (!std::all_of(ranks.begin(), ranks.end(), answered) &&
         std::chrono::steady_clock::now() < end) {
    transport_->CheckJob();
    ServeControl();
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
}

void P2pWorld::ReportHang(Operation& operation, double seconds) {
  std::string report =
      StrCat("world rank ", rank(), " waited ", seconds, " s in ", operation.Describe(),
             "\n  nothing came of: ", operation.Missing(), "\n  world rank ", rank(), " ", State());
  // Whoever is waited for may itself wait for a third: all members are asked.
  std::vector<int> others = operation.group().ranks;
  std::erase(others, rank());
  CollectAnswers(others);
  const std::vector<int> missing = operation.MissingRanks();
  for (int other : others) {
    const bool awaited = std::find(missing.begin(), missing.end(), other) != missing.end();
    report += StrCat("\n  ", awaited ? "missing " : "", "world rank ", other, " ");
    const auto answer = answers_.find(other);
    report += answer == answers_.end() ? "does not answer: it computes, hangs or has ended"
                                       : answer->second;
  }
  P2pWorld::Abort(report, kAbortStatus);  // by name: the compiler then sees that it ends
}

void P2pWorld::Finish() {
  if (transport_ == nullptr) return;
  finishing_ = true;
  while (!outstanding_.empty()) Progress();
  std::vector<int> all(static_cast<size_t>(size()));
  for (int i = 0; i < size(); ++i) all[static_cast<size_t>(i)] = i;
  const Event end = Group(all, "end of job").Barrier();
  for (int64_t polls = 0; !end.Done(); ++polls) {
    if (polls > 1000) std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
}

std::unique_ptr<World> SingleWorld(const WorldOptions& options) {
  return std::make_unique<P2pWorld>(WorldPlace{}, options, nullptr);
}

std::unique_ptr<World> DryWorld(const WorldPlace& place, const WorldOptions& options) {
  return std::make_unique<P2pWorld>(place, options, nullptr);
}

}  // namespace choir
