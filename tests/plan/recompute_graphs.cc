#include "tests/plan/recompute_graphs.h"

#include <algorithm>
#include <string>

#include "base/random.h"

namespace choir {
namespace {

class Draw {
 public:
  explicit Draw(uint64_t seed) : random_(seed, "test/recompute_graph") {}
  int Below(int n) { return static_cast<int>(random_.Below(next_++, static_cast<uint64_t>(n))); }
  bool Chance(int percent) { return Below(100) < percent; }

 private:
  CounterRandom random_;
  uint64_t next_ = 0;
};

RecomputeTensor RandomTensor(Draw& draw, int kernel, const RandomGraphOptions& options) {
  return {.tag = std::string(1, static_cast<char>('a' + draw.Below(6))),
          .layer = draw.Below(options.layers + 1) - 1,
          .bytes = 64 * (1 + draw.Below(20)),
          .kernel = kernel,
          .decision = draw.Chance(8),
          .copies = 1,
          .offload_seconds = options.offload && draw.Chance(60) ? 0.1 * draw.Below(60) : -1};
}

// What a kernel or node reads: mostly what is recent.
std::vector<int> RandomReads(Draw& draw, RecomputeGraph& graph, int before, int most) {
  std::vector<int> reads;
  for (int n = draw.Below(most) + 1; n > 0; --n) {
    const int back = draw.Chance(70) ? draw.Below(std::min(before, 4)) : draw.Below(before);
    reads.push_back(before - 1 - back);
  }
  std::sort(reads.begin(), reads.end());
  reads.erase(std::unique(reads.begin(), reads.end()), reads.end());
  for (int t : reads) {
    RecomputeTensor& tensor = graph.tensors[static_cast<size_t>(t)];
    tensor.released = std::max(tensor.released, static_cast<int>(graph.kernels.size()));
  }
  return reads;
}

// Builds a stack's kernels one after another.
class Stack {
 public:
  explicit Stack(const StackOptions& options) : options_(options) {}

  int Input(int64_t bytes) { return Add({.tag = "", .bytes = bytes, .kernel = -1}); }
  int layer = -1;

  std::vector<int> Kernel(double seconds, const std::vector<int>& inputs,
                          const std::vector<std::pair<const char*, double>>& outputs,
                          bool decision = false) {
    const auto k = static_cast<int>(graph.kernels.size());
    for (int i : inputs) graph.tensors[static_cast<size_t>(i)].released = k;
    std::vector<int> made;
    for (const auto& [tag, size] : outputs) {
      const auto bytes = static_cast<int64_t>(size * kUnit);
      made.push_back(Add({.tag = tag,
                          .layer = layer,
                          .bytes = bytes,
                          .kernel = k,
                          .decision = decision,
                          .released = k,
                          .offload_seconds = options_.offload ? 1.5 * size : -1}));
    }
    graph.kernels.push_back({seconds, inputs, made, kUnit / 8});
    return made;
  }
  // To be read by the backward pass, which runs in reverse.
  void Backward(const std::vector<int>& reads, double gradients) {
    const auto bytes = static_cast<int64_t>(gradients * kUnit);
    graph.backward.push_back({reads, bytes / 2, bytes});
  }

  static constexpr int64_t kUnit = 1 << 20;
  RecomputeGraph graph;

 private:
  int Add(RecomputeTensor tensor) {
    tensor.copies = options_.copies;
    graph.tensors.push_back(std::move(tensor));
    return static_cast<int>(graph.tensors.size()) - 1;
  }
  const StackOptions& options_;
};

int Attention(Stack& s, int stream, int& added) {
  const int norm = s.Kernel(0.1, {stream}, {{"norm", 1}})[0];
  s.Backward({stream}, 3);
  const int qkv = s.Kernel(3, {norm}, {{"attention.qkv", 3}})[0];
  s.Backward({norm}, 4);
  const int rotary = s.Kernel(0.3, {qkv}, {{"qkv.rotary", 3}})[0];
  s.Backward({}, 6);
  const auto mixed = s.Kernel(1.4, {rotary}, {{"attention", 1}, {"attention.lse", 1.0 / 64}});
  s.Backward({rotary, mixed[0], mixed[1]}, 7);
  added = s.Kernel(1, {mixed[0]}, {{"attention.output", 1}})[0];
  s.Backward({mixed[0]}, 2);
  return s.Kernel(0.1, {stream, added}, {{"residual", 1}})[0];
}

int Dense(Stack& s, int x, const char* up_tag, const char* act_tag, const char* down_tag,
          double width) {
  const int up = s.Kernel(2 * width, {x}, {{up_tag, 2 * width}})[0];
  s.Backward({x}, 1 + 2 * width);
  const int inner = s.Kernel(0.1 * width, {up}, {{act_tag, width}})[0];
  s.Backward({up}, 3 * width);
  const int down = s.Kernel(width, {inner}, {{down_tag, 1}})[0];
  s.Backward({inner}, 1 + width);
  return down;
}

int Experts(Stack& s, int x) {
  const int logits = s.Kernel(0.1, {x}, {{"moe.router", 0.2}})[0];
  s.Backward({x}, 1.2);
  const int scores = s.Kernel(0.02, {logits}, {{"router.scores", 0.2}})[0];
  s.Backward({scores}, 0.4);
  const int chosen = s.Kernel(0.05, {scores}, {{"router.indices", 0.02}}, true)[0];
  const int weights = s.Kernel(0.02, {scores, chosen}, {{"router.weights", 0.02}})[0];
  s.Backward({scores, chosen}, 0.4);
  const int plan = s.Kernel(0.05, {chosen}, {{"dispatch.source", 0.03}}, true)[0];
  const int rows = s.Kernel(0.3, {x, plan}, {{"permute", 6}})[0];
  s.Backward({plan}, 7);
  const int up = s.Kernel(4, {rows}, {{"moe.gate_up", 4}})[0];
  s.Backward({rows}, 10);
  const int inner = s.Kernel(0.2, {up}, {{"moe.swiglu", 2}})[0];
  s.Backward({up}, 6);
  const int down = s.Kernel(2, {inner}, {{"moe.down", 6}})[0];
  s.Backward({inner}, 8);
  const int y = s.Kernel(0.3, {down, weights, plan}, {{"unpermute", 1}})[0];
  s.Backward({down, weights, plan}, 7);
  const int shared = Dense(s, x, "ffn.gate_up", "swiglu", "ffn.down", 1.0 / 3);
  return s.Kernel(0.1, {y, shared}, {{"add", 1}})[0];
}

}  // namespace

RecomputeGraph RandomGraph(uint64_t seed, const RandomGraphOptions& options) {
  Draw draw(seed);
  RecomputeGraph graph;
  graph.fixed_bytes = 64 * draw.Below(10);
  graph.offload_ahead = draw.Below(3);
  graph.tensors.push_back({.tag = "", .bytes = 640, .kernel = -1});
  for (int k = 0; k < options.kernels; ++k) {
    RecomputeKernel kernel;
    kernel.seconds = 0.1 * draw.Below(40);
    kernel.workspace = 64 * draw.Below(8);
    kernel.inputs = RandomReads(draw, graph, static_cast<int>(graph.tensors.size()), 3);
    for (int n = draw.Chance(70) ? 1 : 2; n > 0; --n) {
      kernel.outputs.push_back(static_cast<int>(graph.tensors.size()));
      graph.tensors.push_back(RandomTensor(draw, k, options));
      graph.tensors.back().copies = 1 + draw.Below(3);
      graph.tensors.back().released = k;
    }
    if (draw.Chance(30)) {  // a view, of this kernel or only of the tape
      RecomputeTensor view = graph.tensors.back();
      view.view_of = static_cast<int>(graph.tensors.size()) - 1;
      view.bytes = 0;
      view.decision = draw.Chance(5);
      view.tag = draw.Chance(50) ? "" : "v";
      if (!view.tag.empty()) kernel.outputs.push_back(static_cast<int>(graph.tensors.size()));
      graph.tensors.push_back(std::move(view));
    }
    graph.kernels.push_back(std::move(kernel));
  }
  for (int j = 0; j < options.kernels; ++j) {
    const int before = std::max(
        1, static_cast<int>(graph.tensors.size()) * (options.kernels - j) / options.kernels);
    graph.backward.push_back({RandomReads(draw, graph, before, 3), 64 * draw.Below(12), 0});
    graph.backward.back().peak_bytes = graph.backward.back().read_bytes + 64 * draw.Below(12);
  }
  for (RecomputeTensor& t : graph.tensors) {
    t.released = std::min(t.released, options.kernels);
  }
  return graph;
}

RecomputeGraph StackGraph(const StackOptions& options) {
  Stack s(options);
  int stream = s.Input(Stack::kUnit), delta = -1;
  for (int layer = 0; layer < options.layers; ++layer) {
    s.layer = layer;
    if (delta >= 0) stream = s.Kernel(0.1, {stream, delta}, {{"residual.in", 1}})[0];
    stream = Attention(s, stream, delta);
    const int norm = s.Kernel(0.1, {stream}, {{"norm", 1}})[0];
    s.Backward({stream}, 3);
    delta = layer >= options.experts_from
                ? Experts(s, norm)
                : Dense(s, norm, "ffn.gate_up", "swiglu", "ffn.down", 8.0 / 3);
  }
  s.layer = -1;
  s.Kernel(0.1, {stream, delta}, {{"residual", 1}});
  std::reverse(s.graph.backward.begin(), s.graph.backward.end());
  s.graph.fixed_bytes = 20 * Stack::kUnit;
  return std::move(s.graph);
}

bool Next(const RecomputeModel& model, ClassActions& actions) {
  for (size_t c = 0; c < actions.size(); ++c) {
    const int last = model.classes[c].can_offload ? 2 : 1;
    const int next = static_cast<int>(actions[c]) + 1;
    actions[c] = static_cast<RecomputeAction>(next <= last ? next : 0);
    if (next <= last) return true;
  }
  return false;
}

}  // namespace choir
