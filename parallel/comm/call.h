// One call of a collective as its rank sees it: what was asked, and its description for reports.
#pragma once

#include <cstdint>
#include <source_location>
#include <string>
#include <string_view>
#include <vector>

#include "parallel/comm/communicator.h"
#include "tensor/tensor.h"

namespace choir {

enum class CallKind : uint8_t {
  kAllReduce,
  kAllGather,
  kReduceScatter,
  kAllToAll,
  kBroadcast,
  kBarrier,
  kSend,
  kRecv
};
inline constexpr int kNumCallKinds = 8;
std::string_view Name(CallKind kind);
inline bool Sums(CallKind kind) {
  return kind == CallKind::kAllReduce || kind == CallKind::kReduceScatter;
}

struct Call {
  CallKind kind = CallKind::kBarrier;
  ReduceOp reduce = ReduceOp::kSum;
  DType dtype = DType::kF32;
  // What is written and what is read; the same for calls in place, undefined for a barrier.
  Tensor out, in;
  // In bytes, one more than there are members: segment i is [offsets[i], offsets[i + 1]). Those of
  // `out` where a call has both.
  std::vector<int64_t> offsets, in_offsets;
  int peer = 0;  // of broadcast: the root; of send and recv: the other member
  int tag = 0;   // of send and recv
  Communicator::Site site;
  int64_t sequence = 0;  // of the collectives of the group; of send and recv among themselves

  int64_t bytes() const;  // of the larger side
};

// A member of a group, as an operation needs to know it.
struct GroupView {
  std::string name;
  std::vector<int> ranks;  // in the world
  int rank = 0;            // in the group
  // By member: how many groups that hold both were made before this one. The two ranks agree on
  // this number without a message, so that it can be part of the tag of theirs.
  std::vector<int> pair_index;

  int size() const { return static_cast<int>(ranks.size()); }
};

// "all_reduce sum f32 4096 bytes #17 of group 'tensor' (world ranks 0 1) at zero/zero.cc:80".
std::string Describe(const Call& call, const GroupView& group);
// "zero/zero.cc:80": the folder and the file, so that no report depends on where Choir was built.
std::string SiteText(const Communicator::Site& site);
// "0 2 4".
std::string JoinRanks(const std::vector<int>& ranks);

}  // namespace choir
