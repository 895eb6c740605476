#include <algorithm>
#include <map>
#include <numeric>

#include "base/check.h"
#include "plan/recompute_cost.h"

namespace choir {
namespace {

using Name = std::pair<std::string, int>;

size_t Root(std::vector<size_t>& parent, size_t i) {
  while (parent[i] != i) i = parent[i] = parent[parent[i]];
  return i;
}

std::vector<int> Groups(const RecomputeModel& model, const std::vector<int>& tensors) {
  std::vector<int> groups;
  for (int t : tensors) {
    const int g = model.group_of[static_cast<size_t>(t)];
    if (std::find(groups.begin(), groups.end(), g) == groups.end()) groups.push_back(g);
  }
  return groups;
}

// Groups, and the names of each; none where it is always kept.
std::vector<std::vector<Name>> AddGroups(const RecomputeGraph& graph, RecomputeModel& model) {
  std::vector<std::vector<Name>> names;
  std::vector<bool> fixed;
  model.group_of.assign(graph.tensors.size(), -1);
  for (size_t i = 0; i < graph.tensors.size(); ++i) {
    const RecomputeTensor& t = graph.tensors[i];
    if (t.view_of >= 0) continue;
    model.group_of[i] = static_cast<int>(model.groups.size());
    model.groups.push_back({.tensor = static_cast<int>(i),
                            .bytes = t.bytes,
                            .copies = t.copies,
                            .kernel = t.kernel,
                            .offload_seconds = t.offload_seconds});
    fixed.push_back(t.kernel < 0 || t.tag.empty());
  }
  names.resize(model.groups.size());
  for (size_t i = 0; i < graph.tensors.size(); ++i) {
    const RecomputeTensor& t = graph.tensors[i];
    if (t.view_of >= 0) model.group_of[i] = model.group_of[static_cast<size_t>(t.view_of)];
    const auto g = static_cast<size_t>(model.group_of[i]);
    model.groups[g].released = std::max(model.groups[g].released, t.released);
    fixed[g] = fixed[g] || t.decision;
    if (!t.tag.empty()) names[g].emplace_back(t.tag, t.layer);
  }
  for (size_t g = 0; g < names.size(); ++g) {
    if (fixed[g]) names[g].clear();
  }
  return names;
}

// Groups that share a name share a class.
void AddClasses(const std::vector<std::vector<Name>>& names, RecomputeModel& model) {
  std::vector<size_t> parent(names.size());
  std::iota(parent.begin(), parent.end(), size_t{0});
  std::map<Name, size_t> first;
  for (size_t g = 0; g < names.size(); ++g) {
    for (const Name& name : names[g]) {
      parent[Root(parent, g)] = Root(parent, first.emplace(name, g).first->second);
    }
  }
  std::map<size_t, int> class_of;
  for (size_t g = 0; g < names.size(); ++g) {
    if (names[g].empty()) continue;
    const auto [at, added] =
        class_of.emplace(Root(parent, g), static_cast<int>(model.classes.size()));
    if (added) model.classes.push_back({.can_offload = true});
    RecomputeClass& c = model.classes[static_cast<size_t>(at->second)];
    c.groups.push_back(static_cast<int>(g));
    c.names.insert(c.names.end(), names[g].begin(), names[g].end());
    c.can_offload = c.can_offload && model.groups[g].offload_seconds >= 0;
    model.groups[g].group_class = at->second;
  }
  for (RecomputeClass& c : model.classes) {
    std::sort(c.names.begin(), c.names.end());
    c.names.erase(std::unique(c.names.begin(), c.names.end()), c.names.end());
  }
}

}  // namespace

RecomputeModel MakeRecomputeModel(const RecomputeGraph& graph) {
  CheckGraph(graph);
  RecomputeModel model;
  model.fixed_bytes = graph.fixed_bytes;
  model.offload_ahead = graph.offload_ahead;
  AddClasses(AddGroups(graph, model), model);
  for (size_t k = 0; k < graph.kernels.size(); ++k) {
    const RecomputeKernel& kernel = graph.kernels[k];
    RecomputeModel::Kernel& to = model.kernels.emplace_back();
    to = {kernel.seconds, Groups(model, kernel.inputs), {}, kernel.workspace};
    for (int t : kernel.outputs) {  // a view of something older is not made here
      if (graph.tensors[static_cast<size_t>(t)].view_of < 0) {
        to.outputs.push_back(model.group_of[static_cast<size_t>(t)]);
      }
    }
  }
  for (size_t j = 0; j < graph.backward.size(); ++j) {
    const RecomputeNode& node = graph.backward[j];
    model.backward.push_back({Groups(model, node.reads), node.read_bytes, node.peak_bytes});
    for (int g : model.backward.back().reads) {
      RecomputeGroup& group = model.groups[static_cast<size_t>(g)];
      if (group.first_read < 0) group.first_read = static_cast<int>(j);
      group.last_read = static_cast<int>(j);
    }
  }
  return model;
}

ClassActions ActionsOf(const RecomputeModel& model, const RecomputeChoice& choice) {
  CHECK(choice.size() == model.group_of.size());
  ClassActions actions;
  for (const RecomputeClass& c : model.classes) {
    auto of = [&](int group) {
      return choice[static_cast<size_t>(model.groups[static_cast<size_t>(group)].tensor)];
    };
    actions.push_back(of(c.groups.front()));
    for (int g : c.groups) CHECK(of(g) == actions.back()) << c.names.front().first << " disagrees";
    CHECK(actions.back() != RecomputeAction::kOffload || c.can_offload) << c.names.front().first;
  }
  return actions;
}

RecomputeChoice ChoiceOf(const RecomputeModel& model, const ClassActions& actions) {
  CHECK(actions.size() == model.classes.size());
  RecomputeChoice choice;
  for (int g : model.group_of) {
    const int c = model.groups[static_cast<size_t>(g)].group_class;
    choice.push_back(c < 0 ? RecomputeAction::kKeep : actions[static_cast<size_t>(c)]);
  }
  return choice;
}

}  // namespace choir
