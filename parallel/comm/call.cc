#include "parallel/comm/call.h"

#include <algorithm>

#include "base/strings.h"

namespace choir {

std::string_view Name(CallKind kind) {
  switch (kind) {
    case CallKind::kAllReduce:
      return "all_reduce";
    case CallKind::kAllGather:
      return "all_gather";
    case CallKind::kReduceScatter:
      return "reduce_scatter";
    case CallKind::kAllToAll:
      return "all_to_all";
    case CallKind::kBroadcast:
      return "broadcast";
    case CallKind::kBarrier:
      return "barrier";
    case CallKind::kSend:
      return "send";
    case CallKind::kRecv:
      return "recv";
  }
  return "";
}

int64_t Call::bytes() const {
  return std::max(out.defined() ? out.bytes() : 0, in.defined() ? in.bytes() : 0);
}

std::string Describe(const Call& call, const GroupView& group) {
  std::string text(Name(call.kind));
  if (Sums(call.kind)) text += call.reduce == ReduceOp::kSum ? " sum" : " max";
  if (call.out.defined() || call.in.defined()) {
    text += StrCat(" ", Name(call.dtype), " ", call.bytes(), " bytes");
  }
  text += StrCat(" #", call.sequence, " of group '", group.name, "' (world ranks ",
                 JoinRanks(group.ranks), ")");
  if (call.kind == CallKind::kBroadcast || call.kind == CallKind::kRecv) {
    text += StrCat(" from world rank ", group.ranks[static_cast<size_t>(call.peer)]);
  }
  if (call.kind == CallKind::kSend) {
    text += StrCat(" to world rank ", group.ranks[static_cast<size_t>(call.peer)]);
  }
  return StrCat(text, " at ", SiteText(call.site));
}

std::string SiteText(const Communicator::Site& site) {
  std::string_view file = site.file_name();
  const size_t slash = file.rfind('/');
  if (slash != std::string_view::npos && slash > 0) {
    const size_t folder = file.rfind('/', slash - 1);
    if (folder != std::string_view::npos) file = file.substr(folder + 1);
  }
  return StrCat(file, ":", site.line());
}

std::string JoinRanks(const std::vector<int>& ranks) {
  std::string text;
  for (int rank : ranks) text += StrCat(text.empty() ? "" : " ", rank);
  return text;
}

}  // namespace choir
