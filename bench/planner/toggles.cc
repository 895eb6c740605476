#include "bench/planner/toggles.h"

#include "base/check.h"
#include "base/strings.h"

namespace choir::planner {
namespace {

struct Toggle {
  std::string what, from, to;
};

std::vector<Toggle> AllToggles() {
  std::vector<Toggle> toggles = {
      {"recompute: none to full", "kor22-t4-baseline-no-recompute",
       "kor22-t4-baseline-full-recompute"},
      {"recompute: none to attention", "kor22-t4-baseline-no-recompute",
       "kor22-t4-selective-recompute"},
      {"recompute: full to attention, + sequence", "kor22-t5-22B-full", "kor22-t5-22B-sel+sp"},
      {"recompute: full to attention, + sequence", "kor22-t5-530B-full", "kor22-t5-530B-sel+sp"},
      {"recompute: attention to MLP", "bridge-mem-llama70b-sft-base",
       "bridge-mem-llama70b-sft-mlp-recompute"},
      {"recompute: latent projections kept", "dsv3-gb200-ladder-03", "dsv3-gb200-ladder-04"},
      {"sequence parallelism", "kor22-t4-baseline-no-recompute", "kor22-t4-sequence-parallelism"},
      {"overlap: experts", "zoo-qwen235-h100-a", "zoo-qwen235-h100-b"},
      {"overlap: tensor", "megascale-ablation-2", "megascale-ablation-3"},
      {"overlap: data", "megascale-ablation-4", "megascale-ablation-5"},
      {"graphs", "dsv3-gb200-ladder-04", "dsv3-gb200-ladder-05"},
      {"experts: EP 8, TP 4 to EP 32, TP 2", "zoo-qwen235-h100-e", "zoo-qwen235-h100-a"},
      {"experts: dispatcher", "dsv3-gb200-ladder-02", "dsv3-gb200-ladder-03"},
      {"format: BF16 to FP8", "titan-8b-8-compile", "titan-8b-8-compile-fp8"}};
  for (const char* batch : {"12", "24", "36", "48", "60"}) {
    toggles.push_back({"interleaving", choir::StrCat("sc21-f12-nonint-b", batch),
                       choir::StrCat("sc21-f12-int-b", batch)});
  }
  for (const char* batch : {"12", "24", "36", "48", "60"}) {
    toggles.push_back({"handover cut by tensor ranks", choir::StrCat("sc21-f18-nosg-b", batch),
                       choir::StrCat("sc21-f12-int-b", batch)});
  }
  for (const char* model : {"70b-256", "8b-64"}) {
    for (const char* scaling : {"tensorwise", "rowwise"}) {
      const std::string name = choir::StrCat("titan-", model, "-fp8-", scaling);
      toggles.push_back({"overlap: tensor", name + "-tp", name + "-asynctp"});
    }
  }
  for (const char* model : {"0.5B", "1.5B", "3B"}) {
    const std::string name = choir::StrCat("llmq-H100x1-", model);
    toggles.push_back({"format: BF16 to FP8", name + "-bf16", name + "-fp8"});
  }
  return toggles;
}

const PublishedRun& RunOf(const Bench& bench, const std::string& id) {
  for (const PublishedRun& run : bench.data.runs) {
    if (run.id == id) return run;
  }
  CHECK(false) << "no row " << id;
  return bench.data.runs.front();
}

// Sources that are only used for toggles have no constants of their own.
std::string ConstantsOf(const PublishedRun& run) {
  if (run.source == "S041") return "gb200 bridge-25";
  return run.system;
}

}  // namespace

std::vector<ToggleResult> RunToggles(const Bench& bench, const FrozenConstants& frozen) {
  std::vector<ToggleResult> results;
  for (const Toggle& toggle : AllToggles()) {
    const PublishedRun& a = RunOf(bench, toggle.from);
    const PublishedRun& b = RunOf(bench, toggle.to);
    const Values values = frozen.Of(ConstantsOf(a));
    const auto seconds = [&](const PublishedRun& run) {
      return PredictSecondsInFull(MakeSample(run, bench.machines.at(run.machine)), values);
    };
    const double size = b.tokens() / a.tokens();
    results.push_back({toggle.what, toggle.from, toggle.to, b.seconds / a.seconds / size - 1,
                       seconds(b) / seconds(a) / size - 1});
  }
  return results;
}

}  // namespace choir::planner
