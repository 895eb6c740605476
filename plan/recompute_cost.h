// What a choice of kept, recomputed and offloaded tensors costs, in bytes and seconds.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "plan/recompute_graph.h"

namespace choir {

// A storage, with its views: what is held, made again or moved as one.
struct RecomputeGroup {
  int tensor = -1;  // of the graph: the one that is no view
  int64_t bytes = 0;
  int copies = 1;
  int kernel = -1;
  int released = -1;                    // of the tensor and its views, the latest
  int group_class = -1;                 // index of classes; -1: always kept
  double offload_seconds = -1;          // negative: cannot be
  int first_read = -1, last_read = -1;  // backward nodes that read it; -1: none does
};

// Groups that share an action, because their tags and layers do.
struct RecomputeClass {
  std::vector<std::pair<std::string, int>> names;  // tag and layer, sorted
  std::vector<int> groups;
  bool can_offload = false;  // all of its groups can be
};

// A graph with views resolved and tensors in classes.
struct RecomputeModel {
  struct Kernel {
    double seconds = 0;
    std::vector<int> inputs, outputs;  // groups
    int64_t workspace = 0;
  };
  struct Node {
    std::vector<int> reads;  // groups
    int64_t read_bytes = 0, peak_bytes = 0;
  };
  std::vector<RecomputeGroup> groups;
  std::vector<RecomputeClass> classes;
  std::vector<Kernel> kernels;
  std::vector<Node> backward;
  std::vector<int> group_of;  // of each tensor of the graph
  int64_t fixed_bytes = 0;
  int offload_ahead = 1;
};

// CHECKs the graph.
RecomputeModel MakeRecomputeModel(const RecomputeGraph& graph);

// One action for each class of a model.
using ClassActions = std::vector<RecomputeAction>;

// The classes' actions in a choice. CHECKs that the tensors of a class agree, and that what is
// offloaded can be.
ClassActions ActionsOf(const RecomputeModel& model, const RecomputeChoice& choice);
RecomputeChoice ChoiceOf(const RecomputeModel& model, const ClassActions& actions);

// Proportional to the size of the graph: microseconds for a few layers. Thread-safe.
RecomputeCost Evaluate(const RecomputeModel& model, const ClassActions& actions);
RecomputeCost Evaluate(const RecomputeGraph& graph, const RecomputeChoice& choice);

}  // namespace choir
