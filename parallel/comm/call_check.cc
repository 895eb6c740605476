#include "parallel/comm/call_check.h"

#include <algorithm>
#include <cstring>

#include "base/hash.h"
#include "base/strings.h"

namespace choir {
namespace {

// What one member tells another. The first part must be equal on both.
struct Description {
  struct Common {
    int64_t sequence;
    int32_t kind, reduce, dtype, root;
    int64_t layout;  // digest of group and counts, where all members give the same counts
  } common;
  int64_t to_you, from_you;  // bytes of an all-to-all
  char text[464];            // for people
};

int64_t Digest(const Operation& op) {
  const Call& call = op.call();
  std::string key = StrCat(op.group().name, "\n", JoinRanks(op.group().ranks));
  if (call.kind != CallKind::kAllToAll) {
    for (int64_t offset : call.offsets) key += StrCat(" ", offset);
    if (call.kind == CallKind::kBroadcast) key += StrCat(" ", call.out.bytes());
  }
  return static_cast<int64_t>(HashOf64(key));
}

Description DescribeTo(const Operation& op, int member) {
  const Call& call = op.call();
  Description d{};
  d.common = {call.sequence,
              static_cast<int32_t>(call.kind),
              Sums(call.kind) ? static_cast<int32_t>(call.reduce) : 0,
              call.out.defined() ? static_cast<int32_t>(call.dtype) : 0,
              call.kind == CallKind::kBroadcast ? call.peer : 0,
              Digest(op)};
  if (call.kind == CallKind::kAllToAll) {
    const size_t m = static_cast<size_t>(member);
    d.to_you = call.in_offsets[m + 1] - call.in_offsets[m];
    d.from_you = call.offsets[m + 1] - call.offsets[m];
  }
  const std::string text = op.Describe();
  std::memcpy(d.text, text.data(), std::min(text.size(), sizeof(d.text) - 1));
  return d;
}

bool Match(const Description& mine, const Description& theirs) {
  return std::memcmp(&mine.common, &theirs.common, sizeof(mine.common)) == 0 &&
         mine.to_you == theirs.from_you && mine.from_you == theirs.to_you;
}

std::string SideText(const Operation& op, int member, const Description& d, int64_t to_other) {
  std::string text = StrCat("\n  world rank ", op.group().ranks[static_cast<size_t>(member)],
                            " calls ", static_cast<const char*>(d.text));
  if (static_cast<CallKind>(d.common.kind) == CallKind::kAllToAll) {
    text += StrCat(", sending ", to_other, " bytes to the other and expecting ", d.from_you);
  } else {
    text += StrCat(", layout of counts ", absl::Hex(d.common.layout));
  }
  return text;
}

}  // namespace

Task CheckCall(Operation& op) {
  const size_t n = static_cast<size_t>(op.size());
  std::vector<Description> mine(n), theirs(n);
  std::vector<MessageRange> arriving(n);
  const auto bytes = [](Description& d) { return reinterpret_cast<std::byte*>(&d); };
  for (int i = 0; i < op.size(); ++i) {
    if (i == op.rank()) continue;
    const size_t m = static_cast<size_t>(i);
    mine[m] = DescribeTo(op, i);
    arriving[m] = op.ReceiveAs(MessageKind::kCheck, i, bytes(theirs[m]), sizeof(Description));
    op.SendAs(MessageKind::kCheck, i, bytes(mine[m]), sizeof(Description));
  }
  for (int i = 0; i < op.size(); ++i) {
    const size_t m = static_cast<size_t>(i);
    if (i == op.rank()) continue;
    co_await op.Completed(arriving[m]);
    if (Match(mine[m], theirs[m])) continue;
    op.transport().Abort(StrCat("members of a group call different collectives:",
                                SideText(op, op.rank(), mine[m], mine[m].to_you),
                                SideText(op, i, theirs[m], theirs[m].to_you)),
                         kAbortStatus);
  }
  co_await op.AllCompleted();
}

}  // namespace choir
