#include "plan/recompute_rules.h"

#include <map>

#include "base/check.h"
#include "base/strings.h"

namespace choir {
namespace {

const char* Name(RecomputeAction action) {
  switch (action) {
    case RecomputeAction::kKeep:
      return "keep";
    case RecomputeAction::kRecompute:
      return "recompute";
    case RecomputeAction::kOffload:
      return "offload";
  }
  return "";
}

// "0-3,5": runs of `all`'s layers, joined where all between them are `in`.
std::string Ranges(const std::map<int, RecomputeAction>& all, RecomputeAction in) {
  std::string text;
  for (auto at = all.begin(); at != all.end();) {
    if (at->second != in || at->first < 0) {
      ++at;
      continue;
    }
    const int first = at->first;
    int last = first;
    for (; at != all.end() && at->second == in; ++at) last = at->first;
    if (!text.empty()) text += ',';
    text += first == last ? StrCat(first) : StrCat(first, "-", last);
  }
  return text;
}

}  // namespace

std::vector<std::string> PolicyRules(const RecomputeModel& model, const ClassActions& actions) {
  CHECK(actions.size() == model.classes.size());
  std::map<std::string, std::map<int, RecomputeAction>> of_tags;
  for (size_t c = 0; c < actions.size(); ++c) {
    for (const auto& [tag, layer] : model.classes[c].names) of_tags[tag][layer] = actions[c];
  }
  std::vector<std::string> rules;
  for (const auto& [tag, layers] : of_tags) {
    RecomputeAction usual = RecomputeAction::kKeep;
    if (const auto outside = layers.find(-1); outside != layers.end()) {
      usual = outside->second;
      if (usual != RecomputeAction::kKeep) rules.push_back(StrCat(tag, "=", Name(usual)));
    }
    for (RecomputeAction action :
         {RecomputeAction::kKeep, RecomputeAction::kRecompute, RecomputeAction::kOffload}) {
      if (action == usual) continue;
      const std::string ranges = Ranges(layers, action);
      if (!ranges.empty()) rules.push_back(StrCat(tag, "@", ranges, "=", Name(action)));
    }
  }
  return rules;
}

}  // namespace choir
