// Published training runs (reference_runs.jsonl): what was trained, how it was cut, and how long a
// step took. One row is one run; units and conventions of the file: docs/planning-time.md.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "ops/matmul_format.h"

namespace choir::planner {

struct PublishedModel {
  std::string name;
  int layers = 0, hidden = 0, heads = 0, kv_heads = 0, head_dim = 0;
  int ffn = 0;  // of dense layers
  int vocab = 0, seq = 0;
  bool gated = true;  // SwiGLU; else a GELU of the same width
  bool tied = false;  // the head is the embedding
  bool fused_attention = true;
  bool dropout = false;
  int window = 0;  // of every other layer; 0: none
  // Mixture of experts; 0 experts: dense.
  int experts = 0, topk = 0, shared = 0, moe_ffn = 0, dense_layers = 0;
  // Latent attention; 0: none.
  int q_lora = 0, kv_lora = 0, qk_nope = 0, qk_rope = 0, v_dim = 0;
  bool mtp = false;  // one more expert layer, its projection and its own pass through the head
};

struct PublishedLayout {
  int ranks = 1;
  int tensor = 1, pipe = 1, chunks = 1, data = 1, context = 1, expert = 1, expert_tensor = 1;
  bool sequence = false;  // activations between the blocks are cut along the sequence
  int zero = 1;           // 0: replicated; 1: optimizer state; 3: weights too
};

// What a row says about its software, or what its source is known to do.
struct PublishedMethod {
  MatmulFormat format = MatmulFormat::kBF16;
  std::set<std::string> recompute;  // names of parts (published_layer.h), or "full"
  bool tensor_overlap = false;
  bool data_overlap = true;
  bool expert_overlap = false;
  bool dedupe = false;  // the dispatcher sends a token once to each node or rank, not once a choice
  bool graphs = false;  // the host launches graphs, not kernels
  bool full_graph = false;  // one for the whole step: no counts of tokens are waited for
  bool fp8_attention = false;
  bool unfused_attention = false;  // for want of a kernel, though the model is counted as causal
  bool frozen = false;             // only adapters train: no gradients of weights
  bool layer_only = false;         // one layer without embedding, head and update
  bool split_handover = true;      // tensor ranks send a part each to the next stage
  double gradient_bytes = 4;
};

struct PublishedRun {
  std::string id, source, split, gpu;
  std::string machine;  // hardware file of configs/hardware, without suffix
  std::string system;   // machine and software: constants are fitted for each
  std::string family;   // system and model
  std::string kin;      // software of one kind, on any machine
  PublishedModel model;
  PublishedLayout layout;
  PublishedMethod method;
  int batch = 0, microbatch = 0;  // sequences
  double seconds = 0;             // of a step, as measured
  double peak_bytes = 0;          // as measured; 0: not published
  bool reserved = false;          // the peak counts what the allocator holds, or the whole process
  std::string excluded;           // why the step time is not compared; empty: it is
  bool moe() const { return model.experts > 0; }
  double tokens() const { return static_cast<double>(batch) * model.seq; }
};

// Equal for runs that differ in nothing but the release of their software.
std::string LayoutKey(const PublishedRun& run);

struct FlopsCheck {
  std::string model;
  int seq = 0;
  double implied = 0;  // GFLOP per token
  std::string note;
};

struct ReferenceData {
  std::vector<FlopsCheck> flops;
  std::vector<PublishedRun> runs;
};

// Reads every row; one that cannot be compared carries the reason.
absl::StatusOr<ReferenceData> LoadReferenceData(const std::string& path);

// Shapes that the rows leave out, from public model cards: "Kimi-K2".
PublishedModel KnownModel(const std::string& name);

}  // namespace choir::planner
