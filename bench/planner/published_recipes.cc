#include <set>
#include <string>

#include "bench/planner/published_rules.h"

namespace choir::planner {
namespace {

bool IsGrace(const PublishedRun& run) { return run.machine.starts_with("gb"); }

// From container 26.06 on: MXFP8 expert models on rack-scale machines run as one graph.
bool FullGraph(const PublishedRun& run) {
  return run.system.ends_with("bridge-26.06") && run.method.format == MatmulFormat::kMxfp8 &&
         IsGrace(run);
}

void DeepSeek(PublishedRun& run) {
  PublishedMethod& method = run.method;
  method.recompute = {"up_proj"};
  if (run.machine == "h100") method.recompute = {"up_proj", "fc1", "act", "fc2"};
  if (FullGraph(run)) {
    method.full_graph = method.expert_overlap = true;
    if (run.machine == "gb300") {
      method.recompute.clear();
      method.fp8_attention = true;
    }
    return;
  }
  if (run.machine == "gb300" && method.format == MatmulFormat::kBF16) {
    method.recompute = {"moe_act"};
  }
  // Expert groups across nodes: exchanges hide behind the other microbatch.
  if (run.machine == "b200" && run.layout.expert > 8) {
    method.expert_overlap = true;
    method.recompute = {"up_proj", "fc1", "act", "fc2"};
  }
}

void GptOss(PublishedRun& run) {
  PublishedMethod& method = run.method;
  if (FullGraph(run)) {
    method.full_graph = method.expert_overlap = method.fp8_attention = true;
    return;
  }
  // Its softmax has a learned offset, which Transformer Engine fuses from cuDNN 9.18 on. That these
  // releases ran without is inferred from their times.
  method.unfused_attention = run.system.ends_with("bridge-26.02");
  method.dedupe = run.machine == "b300";  // others: plain all-to-all
  const bool narrow = run.machine == "gb200" || run.machine == "b200" || run.machine == "h100";
  if (narrow) method.recompute = {"norm", "moe_act"};
  method.expert_overlap = run.machine == "gb200" && run.batch == 1280;
}

void Qwen(PublishedRun& run) {
  PublishedMethod& method = run.method;
  method.full_graph = method.expert_overlap = FullGraph(run);
  if (run.model.name != "Qwen3-235B-A22B") return;
  if (run.machine == "h100") method.expert_overlap = true;
  if (!IsGrace(run)) method.dedupe = false;  // plain all-to-all
}

}  // namespace

void ApplyBridgeRecipe(PublishedRun& run) {
  if (run.model.name == "DeepSeek-V3") DeepSeek(run);
  if (run.model.name == "GPT-OSS-120B") GptOss(run);
  if (run.model.name.starts_with("Qwen3")) Qwen(run);
}

}  // namespace choir::planner
