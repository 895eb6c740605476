#include "bench/planner/published_run.h"

#include <algorithm>
#include <sstream>
#include <utility>

#include "absl/strings/str_format.h"
#include "base/file.h"
#include "base/status.h"
#include "base/strings.h"
#include "bench/planner/published_model.h"
#include "bench/planner/published_rules.h"
#include "nlohmann/json.hpp"

namespace choir::planner {
namespace {

using Json = nlohmann::json;

int Int(const Json& object, const char* key, int otherwise = 0) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number() ? found->get<int>() : otherwise;
}

double Number(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number() ? found->get<double>() : 0;
}

std::string Text(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

PublishedModel ReadModel(const Json& json) {
  PublishedModel m;
  m.name = Text(json, "name");
  m.layers = Int(json, "layers");
  m.hidden = Int(json, "hidden");
  m.heads = Int(json, "heads");
  m.kv_heads = Int(json, "kv_heads", m.heads);
  m.head_dim = Int(json, "head_dim", m.heads > 0 ? m.hidden / m.heads : 0);
  m.ffn = Int(json, "ffn");
  m.vocab = Int(json, "vocab");
  m.seq = Int(json, "seq");
  m.tied = json.value("tied", false);
  if (const auto moe = json.find("moe"); moe != json.end()) {
    m.experts = Int(*moe, "experts");
    m.topk = Int(*moe, "topk");
    m.shared = Int(*moe, "shared");
    m.moe_ffn = Int(*moe, "moe_ffn");
    m.dense_layers = Int(*moe, "dense_layers");
  }
  if (const auto mla = json.find("mla"); mla != json.end()) {
    m.q_lora = Int(*mla, "q_lora");
    m.kv_lora = Int(*mla, "kv_lora");
    m.qk_nope = Int(*mla, "qk_nope");
    m.qk_rope = Int(*mla, "qk_rope");
    m.v_dim = Int(*mla, "v");
  }
  return m;
}

PublishedLayout ReadLayout(const Json& row) {
  const Json& json = row["layout"];
  PublishedLayout l;
  l.ranks = Int(row["hardware"], "n");
  l.tensor = Int(json, "tp", 1);
  l.pipe = Int(json, "pp", 1);
  l.chunks = l.pipe > 1 ? Int(json, "vpp", 1) : 1;
  l.context = Int(json, "cp", 1);
  l.data = Int(json, "dp", std::max(1, l.ranks / (l.tensor * l.pipe * l.context)));
  l.expert = Int(json, "ep", 1);
  l.expert_tensor = Int(json, "etp", 1);
  const auto sp = json.find("sp");
  l.sequence = sp != json.end() && sp->is_boolean() && sp->get<bool>();
  return l;
}

// Seconds of a step: as published, or from the throughput or the FLOP/s that the row gives. The
// sources that give FLOP/s alone count as FlopsPerToken does; Narayanan et al. 2021 add a forward
// pass (96 for 72 in their equation 2).
double StepSeconds(const Json& row, const PublishedRun& run) {
  const Json& measured = row["measured"];
  const Json derived = row.value("derived", Json::object());
  if (const double t = Number(measured, "step_s"); t > 0) return t;
  if (const double t = Number(measured, "total_ms"); t > 0) return t * 1e-3;
  const double tokens = run.tokens(), ranks = run.layout.ranks;
  if (const double rate = Number(measured, "tokens_s_gpu"); rate > 0) return tokens / rate / ranks;
  if (const double rate = Number(measured, "tokens_s"); rate > 0) return tokens / rate;
  for (const char* key : {"step_s", "step_s_if_72_formula"}) {
    if (const double t = Number(derived, key); t > 0) return t;
  }
  if (run.model.layers == 0 || run.machine.empty()) return 0;
  const double flops = tokens * FlopsPerToken(run.model) / ranks;
  if (const double rate = Number(measured, "model_tflops_gpu"); rate > 0) {
    return flops / rate * 1e-12;
  }
  if (const double rate = Number(measured, "tflops_gpu"); rate > 0) {
    const double head = 6.0 * run.model.vocab * run.model.hidden * tokens / ranks;
    return ((flops - head) * 4 / 3 + head) / rate * 1e-12;
  }
  const double peak = run.machine.starts_with("a100") ? 312e12 : 989e12;
  const bool dense_peak = run.machine.starts_with("a100") || run.machine.starts_with("h");
  if (const double mfu = Number(measured, "mfu_pct"); mfu > 0 && dense_peak) {
    // Megatron's figures do not halve attention, whatever kernel ran it.
    PublishedModel counted = run.model;
    if (run.machine.starts_with("a100")) counted.fused_attention = false;
    return tokens * FlopsPerToken(counted) / ranks / (mfu / 100 * peak);
  }
  return 0;
}

void ReadMemory(const Json& measured, PublishedRun& run) {
  constexpr double kMiB = 1024.0 * 1024, kGiB = kMiB * 1024;
  const std::pair<const char*, double> keys[] = {
      {"mem_peak_gib", kGiB}, {"mem_peak_mib", kMiB}, {"mem_gb_peak", 1e9},
      {"mem_peak_gb", 1e9},   {"mem_gb", 1e9},        {"mem_gb_nvidia_smi", 1e9}};
  for (const auto& [key, unit] : keys) {
    if (run.peak_bytes == 0) run.peak_bytes = Number(measured, key) * unit;
  }
  run.reserved = measured.contains("mem_gb_nvidia_smi");
}

// DeepSeek-V3 is published with and without its prediction layer: 260.0 or 250.5 GFLOP per token.
bool HasPrediction(const Json& row, const PublishedModel& model) {
  if (model.name != "DeepSeek-V3") return false;
  const double rate = Number(row["measured"], "tokens_s_gpu");
  const double flops = Number(row["measured"], "model_tflops_gpu");
  return rate > 0 && flops > 0 && flops * 1e12 / rate > 255e9;
}

PublishedRun ReadRun(const Json& row) {
  PublishedRun run;
  run.id = Text(row, "id");
  run.source = Text(row, "src");
  run.split = Text(row, "split");
  run.gpu = Text(row["hardware"], "gpu");
  run.model = ReadModel(row["model"]);
  run.layout = ReadLayout(row);
  run.batch = Int(row["batch"], "gbs");
  ApplyRules(row, run);
  // Two sources leave the micro-batch out; one sequence is to be assumed, say their rows.
  const std::string note = Text(row, "note");
  const bool assume_one = note.find("mbs 1 and") != std::string::npos || run.source == "S021";
  run.microbatch = Int(row["batch"], "mbs", assume_one ? 1 : 0);
  if (run.source == "S044")
    run.layout = {.ranks = run.layout.ranks,
                  .tensor = 2,
                  .pipe = 8,
                  .data = 8,
                  .expert = 8,
                  .sequence = true};
  // torchtitan's batch of a rank is cut into single sequences where there is a pipeline, and its
  // interleaved schedule has two stages on a rank.
  if (run.source == "S058" && run.layout.pipe > 1) {
    run.microbatch = 1;
    run.layout.chunks = 2;
  }
  run.model.mtp = HasPrediction(row, run.model);
  run.family = choir::StrCat(run.system, " ", run.model.name);
  run.seconds = StepSeconds(row, run);
  ReadMemory(row["measured"], run);
  run.excluded = ReasonToExclude(row, run);
  return run;
}

}  // namespace

absl::StatusOr<ReferenceData> LoadReferenceData(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  std::istringstream lines(text);
  ReferenceData data;
  std::string line;
  for (int number = 1; std::getline(lines, line); ++number) {
    Json json = Json::parse(line, nullptr, false);
    if (!json.is_object()) {
      return absl::InvalidArgumentError(choir::StrCat(path, ":", number, ": not a JSON object"));
    }
    if (number > 1) {
      data.runs.push_back(ReadRun(json));
      continue;
    }
    for (const Json& check : json["flops_per_token_check"]) {
      data.flops.push_back(
          {Text(check, "model"), Int(check, "seq"), Number(check, "implied"), Text(check, "note")});
    }
  }
  return data;
}

std::string LayoutKey(const PublishedRun& run) {
  const PublishedLayout& l = run.layout;
  const PublishedMethod& method = run.method;
  std::string key = absl::StrFormat("%s %d %d %d %d %d %d %d %d %d %d %d", run.family, l.ranks,
                                    l.tensor, l.pipe, l.chunks, l.data, l.context, l.expert,
                                    l.expert_tensor, l.sequence, l.zero, run.batch);
  key +=
      absl::StrFormat(" %d %d %d %d %d %d %d %d %d", run.microbatch, run.model.seq, run.model.mtp,
                      static_cast<int>(method.format), method.tensor_overlap, method.expert_overlap,
                      method.split_handover, method.frozen, method.full_graph);
  for (const std::string& part : method.recompute) key += " " + part;
  return key;
}

PublishedModel KnownModel(const std::string& name) {
  if (name != "Kimi-K2") return {};
  // Moonshot AI, Kimi-K2-Base: config.json.
  return {.name = name,
          .layers = 61,
          .hidden = 7168,
          .heads = 64,
          .kv_heads = 64,
          .head_dim = 192,
          .ffn = 18432,
          .vocab = 163840,
          .seq = 4096,
          .experts = 384,
          .topk = 8,
          .shared = 1,
          .moe_ffn = 2048,
          .dense_layers = 1,
          .q_lora = 1536,
          .kv_lora = 512,
          .qk_nope = 128,
          .qk_rope = 64,
          .v_dim = 128};
}

}  // namespace choir::planner
