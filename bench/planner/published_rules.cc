#include "bench/planner/published_rules.h"

#include <algorithm>
#include <map>
#include <string_view>
#include <utility>
#include <vector>

#include "bench/planner/published_model.h"

namespace choir::planner {
namespace {

using Json = nlohmann::json;

std::string Text(const Json& row, const char* key) {
  const auto found = row.find(key);
  return found != row.end() && found->is_string() ? found->get<std::string>() : "";
}

bool Has(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

// Sources S001 .. S093, by the software that they ran.
int SourceNumber(const PublishedRun& run) { return std::stoi(run.source.substr(1)); }
bool InSources(const PublishedRun& run, int first, int last) {
  const int number = SourceNumber(run);
  return number >= first && number <= last;
}

// Megatron-Bridge changed much between releases: one system for each group of them.
std::string BridgeEra(const PublishedRun& run) {
  if (InSources(run, 36, 37)) return "bridge-25";
  if (InSources(run, 32, 35)) return "bridge-26.02";
  return "bridge-26.06";
}

std::string Software(const PublishedRun& run, const std::string& precision) {
  if (InSources(run, 2, 2) && run.layout.zero == 3) return "deepspeed-2021";
  if (InSources(run, 1, 14)) return "megatron-2021";
  if (InSources(run, 15, 16)) return "mcore-0.8";
  if (InSources(run, 19, 21)) return "megatron-2023";
  if (InSources(run, 27, 37)) return BridgeEra(run);
  if (InSources(run, 40, 41)) return "ladder";
  if (InSources(run, 42, 47)) return "mcore-moe";
  if (InSources(run, 50, 50)) return "bridge-26.02";
  if (InSources(run, 52, 52)) return "gke";
  if (InSources(run, 54, 57)) return "llm-foundry";
  if (InSources(run, 58, 60)) return Has(precision, "rowwise") ? "titan-rowwise" : "titan";
  if (InSources(run, 61, 71)) return "llmq";
  if (InSources(run, 72, 74)) return "llm.c";
  if (InSources(run, 78, 78)) return "nanotron";
  return "other";
}

std::string Kin(const PublishedRun& run) {
  if (InSources(run, 1, 21)) return "megatron";
  if (InSources(run, 27, 52)) return "mcore";
  if (InSources(run, 54, 57)) return "llm-foundry";
  if (InSources(run, 58, 60)) return "titan";
  if (InSources(run, 61, 71)) return "llmq";
  return run.system;
}

// The hardware file of a device's name; empty: there is none.
std::string Machine(const std::string& gpu) {
  static const std::vector<std::pair<const char*, const char*>> kFiles = {
      {"A100-40GB", "a100-40gb"}, {"A100", "a100"},
      {"H100-SXM 96GB", "h100"},  {"H100", "h100"},
      {"H800", "h800"},           {"H200", "h200"},
      {"GB300", "gb300"},         {"GB200", "gb200"},
      {"B300", "b300"},           {"B200", "b200"},
      {"RTX4090", "rtx4090"},     {"RTX5090", "rtx5090"},
      {"L40S", "l40s"},           {"RTX-PRO-6000", "rtx-pro-6000"}};
  for (const auto& [name, file] : kFiles) {
    if (Has(gpu, name)) return file;
  }
  return "";
}

MatmulFormat Format(const std::string& precision) {
  std::string text = precision;
  std::transform(text.begin(), text.end(), text.begin(), ::tolower);
  if (text.starts_with("mxfp8") || text.starts_with("fp8-mx")) return MatmulFormat::kMxfp8;
  if (text.starts_with("fp8")) return MatmulFormat::kFp8Block;
  if (text.starts_with("fp16")) return MatmulFormat::kF16;
  if (text.starts_with("fp32")) return MatmulFormat::kFull;
  return MatmulFormat::kBF16;
}

int ZeroStage(const std::string& shard) {
  for (const char* name : {"FSDP", "fsdp", "ZeRO-3", "zero3", "HSDP"}) {
    if (Has(shard, name)) return 3;
  }
  if (shard.empty() || shard.starts_with("none") || shard.starts_with("DDP/") || shard == "DDP") {
    return 0;
  }
  return 1;
}

void ApplyExchangeRules(const Json& row, PublishedRun& run) {
  const std::string note = Text(row, "note");
  PublishedMethod& method = run.method;
  const bool bridge = InSources(run, 27, 37) || InSources(run, 50, 50);
  const bool modern = bridge || InSources(run, 40, 52);
  // Recipes hide the exchanges of dense blocks behind products; those of expert models do not.
  method.tensor_overlap = (bridge && !run.moe()) || InSources(run, 15, 16) ||
                          Has(note, "async TP") || Has(run.id, "asynctp");
  method.data_overlap =
      !InSources(run, 1, 14) && !InSources(run, 19, 21) && !InSources(run, 78, 78);
  if (Has(Text(row["layout"], "shard"), "torch")) method.data_overlap = true;
  method.expert_overlap = Has(note, "1f1b overlap");
  method.dedupe = modern && note != "tokendrop";
  method.frozen = Has(run.id, "-lora-");
  const bool reduces_f32 =
      InSources(run, 15, 16) || InSources(run, 58, 60) || InSources(run, 78, 78);
  method.gradient_bytes = reduces_f32 ? 4 : 2;
  if (modern && run.layout.tensor > 1) run.layout.sequence = true;
  const auto cut = row["layout"].find("scatter_gather");
  if (cut != row["layout"].end()) method.split_handover = cut->get<bool>();
}

// The rows of the GB200 ladder and of MegaScale's ablation add one change after another.
void ApplyLadder(PublishedRun& run) {
  if (SourceNumber(run) == 21) {
    const int step = run.id.back() - '0';
    run.method.tensor_overlap = step >= 3;
    run.method.data_overlap = step >= 5;
  }
  if (SourceNumber(run) != 41) return;
  const int step = std::stoi(run.id.substr(run.id.size() - 2));
  run.method.dedupe = step >= 3;
  run.method.graphs = step >= 5;
}

}  // namespace

std::set<std::string> RecomputedParts(const std::string& text) {
  static const std::vector<std::pair<const char*, std::vector<const char*>>> kParts = {
      {"core_attn", {"core_attn"}},
      {"core attention", {"core_attn"}},
      {"selective recompute", {"core_attn"}},
      {"selective + sequence", {"core_attn"}},
      {"selective op", {"norm", "residual", "act", "qkv"}},
      {"mlp", {"fc1", "act", "fc2"}},
      {"up_proj", {"up_proj"}},
      {"moe_act", {"moe_act"}},
      {"norm, act", {"norm", "act", "moe_act"}},
      {"recompute-norm", {"norm"}},
      {"recompute-swiglu", {"act"}},
      {"GELU", {"act"}},
      {"recompute-ffn", {"fc1", "act"}},
      {"recompute-qkv", {"qkv"}},
      {"recompute-att", {"core_attn"}}};
  std::set<std::string> parts;
  if (text.starts_with("full") || text == "baseline full recompute" || text == "recompute-block") {
    return {"full"};
  }
  for (const auto& [name, names] : kParts) {
    if (Has(text, name)) parts.insert(names.begin(), names.end());
  }
  return parts;
}

void ApplyRules(const Json& row, PublishedRun& run) {
  const std::string precision = Text(row, "precision");
  run.layout.zero = ZeroStage(Text(row["layout"], "shard"));
  run.machine = Machine(run.gpu);
  run.system = run.machine + " " + Software(run, precision);
  if (Has(run.gpu, "HBM2e 500W")) run.system += " 500W";
  run.kin = Kin(run);
  PublishedModel& m = run.model;
  m.gated = m.ffn != 4 * m.hidden;
  m.fused_attention = !InSources(run, 1, 14);
  m.dropout = InSources(run, 1, 14);
  if (m.name == "GPT-OSS-120B") m.window = 128;
  run.method.format = Format(precision);
  run.method.recompute = RecomputedParts(Text(row, "recompute"));
  run.method.layer_only = InSources(run, 14, 14);
  ApplyExchangeRules(row, run);
  ApplyLadder(run);
  if (InSources(run, 27, 37)) ApplyBridgeRecipe(run);
}

std::string ReasonToExclude(const Json& row, const PublishedRun& run) {
  const std::string note = Text(row, "note"), precision = Text(row, "precision");
  const PublishedModel& m = run.model;
  if (run.machine.empty()) return "no hardware file for the device";
  if (m.layers == 0 || m.hidden == 0 || m.heads == 0 || m.seq == 0) return "shape not published";
  if (m.ffn == 0 && m.experts == 0) return "shape not published";
  if (Has(precision, "NVFP4")) return "NVFP4: a format that Choir has not";
  if (Has(note, "offload") || Has(Text(row, "recompute"), "offload")) return "host offload";
  if (Has(note, "time unusable") || Has(note, "time noisy")) return "time unusable, says the row";
  if (Has(run.id, "MegaScale") || InSources(run, 21, 21)) {
    return "the model was changed (parallel block, window, LAMB)";
  }
  if (InSources(run, 41, 41)) return "one layout, eleven versions of its software: toggles only";
  if (InSources(run, 69, 70) || InSources(run, 82, 83)) return "micro-batch or state not published";
  // llmq keeps weights, gradients, master weights and both moments in BF16.
  const double memory = std::map<std::string, double>{
      {"l40s", 48e9}, {"rtx5090", 32e9}, {"rtx4090", 24e9}}[run.machine];
  const double shards = run.layout.zero == 1 ? run.layout.ranks : 1;
  if (memory > 0 && Parameters(m) * (4 + 6 / shards) > memory) {
    return "host offload: its state is larger than the device";
  }
  if (run.batch == 0 || run.microbatch == 0) return "batch not published";
  const bool stated = row["layout"].contains("pp") || InSources(run, 44, 44);
  if (run.layout.ranks == 0 || !stated) return "layout not published";
  if (run.batch % (run.layout.data * run.microbatch) != 0) return "batch does not divide";
  if (run.seconds <= 0) return "no time published";
  return "";
}

}  // namespace choir::planner
