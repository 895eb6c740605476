#include "bench/planner/published_model.h"

#include <gtest/gtest.h>

#include <numeric>

#include "bench/planner/published_layer.h"
#include "bench/planner/published_memory.h"
#include "bench/planner/published_rules.h"
#include "plan/step_time.h"

namespace choir::planner {
namespace {

const ReferenceData& Data() {
  static const ReferenceData* const data = [] {
    auto loaded = LoadReferenceData(CHOIR_SOURCE_DIR "/bench/planner/reference_runs.jsonl");
    CHECK(loaded.ok()) << loaded.status().ToString();
    return new ReferenceData(*std::move(loaded));
  }();
  return *data;
}

const PublishedRun& Row(const std::string& id) {
  for (const PublishedRun& run : Data().runs) {
    if (run.id == id) return run;
  }
  CHECK(false) << "no row " << id;
  return Data().runs.front();
}

// Within 1 % of what NVIDIA's tables imply.
TEST(PublishedModelTest, FlopsPerTokenAreThePublishedOnes) {
  int checked = 0;
  for (const FlopsCheck& check : Data().flops) {
    PublishedModel shape = KnownModel(check.model);
    const bool mtp = check.model.starts_with("DeepSeek-V3 ");
    for (const PublishedRun& run : Data().runs) {
      if (run.model.name == (mtp ? "DeepSeek-V3" : check.model)) shape = run.model;
    }
    // Counted anew from release 26.06 on.
    if (check.note.starts_with("until container") || shape.layers == 0) continue;
    shape.seq = check.seq;
    shape.mtp = mtp;
    EXPECT_NEAR(FlopsPerToken(shape) * 1e-9, check.implied, 0.01 * check.implied) << check.model;
    ++checked;
  }
  EXPECT_EQ(checked, 8);
}

TEST(PublishedModelTest, ParametersAreThePublishedOnes) {
  for (const char* id : {"sc21-t1-530B", "mpt-30b-A100-8-s2048-m3-bf16-ck", "llmq-H100x1-3B-bf16",
                         "titan-8b-8-compile", "hy3-gb300-B2", "zoo-qwen235-h100-a"}) {
    const PublishedModel& model = Row(id).model;
    // Names are rounded; norms, biases and positions are left out.
    const double published = model.name == "530B"            ? 529.6e9
                             : model.name == "MPT-30b"       ? 29.975e9
                             : model.name == "Qwen2.5-3B"    ? 3.086e9
                             : model.name == "Llama-3.1-8B"  ? 8.03e9
                             : model.name == "Hy3-295B-A21B" ? 294.97e9
                                                             : 235.1e9;
    EXPECT_NEAR(Parameters(model) / published, 1, 0.015) << model.name;
  }
}

TEST(PublishedModelTest, EmbeddingAndHeadMakeStagesEven) {
  PublishedModel model = Row("titan-405b-512-4d-cp1-s32768").model;  // 126 layers
  std::vector<int> layers = LayersOfStages(model, 32);
  EXPECT_EQ(layers.front(), 3);
  EXPECT_EQ(layers[1], 4);
  EXPECT_EQ(layers.back(), 3);
  EXPECT_EQ(LayersOfStages(model, 128).front(), 0);
  model = Row("dsv3-gb200-ladder-00").model;  // 61 layers
  model.mtp = true;
  layers = LayersOfStages(model, 16);
  EXPECT_EQ(layers.front(), 3);
  EXPECT_EQ(layers.back(), 2);
  for (const int stages : {1, 2, 7, 16, 32, 61}) {
    layers = LayersOfStages(model, stages);
    EXPECT_EQ(std::accumulate(layers.begin(), layers.end(), 0), 61) << stages;
  }
}

// The kernels of all ranks hold the model's FLOPs, and of a recomputed forward pass again.
TEST(PublishedModelTest, KernelsHoldTheModelsFlops) {
  for (const char* id : {"kor22-t5-22B-sel+sp", "mpt-30b-A100-8-s2048-m3-bf16-ck",
                         "llmq-H100x1-3B-bf16", "zoo-qwen235-h100-e"}) {
    PublishedRun run = Row(id);
    run.method.recompute.clear();
    const StepWorkload step = BuildStep(run, 8);
    double flops = 0;
    for (const StageWorkload& stage : step.stages) {
      flops += Flops(stage.forward) + Flops(stage.backward_input);
    }
    flops *= step.schedule.microbatches * run.layout.data * run.layout.context * run.layout.tensor;
    // Backward passes of fused attention compute the scores again: 3.5 for 3 times forward. Routers
    // run on every tensor rank.
    EXPECT_GT(flops / step.model_flops, 0.995) << id;
    EXPECT_LT(flops / step.model_flops, 1.03) << id;
    run.method.recompute = {"full"};
    const StepWorkload again = BuildStep(run, 8);
    EXPECT_GT(Flops(again.stages[0].backward_input), 1.3 * Flops(step.stages[0].backward_input))
        << id;
  }
}

TEST(PublishedMemoryTest, ActivationsAreKorthikantis) {
  constexpr double kGiB = 1024.0 * 1024 * 1024;
  PublishedRun run = Row("kor22-f1f7-22B");
  run.method.recompute.clear();
  EXPECT_NEAR(ActivationBytes(run) * run.model.layers / kGiB, 59.25, 0.01);
  run.layout.sequence = true;
  run.method.recompute = {"core_attn"};
  EXPECT_NEAR(ActivationBytes(run) * run.model.layers / kGiB, 9.5625, 0.01);
}

TEST(PublishedRulesTest, ReadsWhatIsRecomputed) {
  EXPECT_EQ(RecomputedParts("full (uniform, per layer)"), std::set<std::string>{"full"});
  EXPECT_EQ(RecomputedParts("mlp moe_act"),
            (std::set<std::string>{"fc1", "act", "fc2", "moe_act"}));
  EXPECT_TRUE(RecomputedParts("none").empty());
}

TEST(PublishedRulesTest, EveryRowIsComparedOrSaysWhyNot) {
  size_t compared = 0;
  for (const PublishedRun& run : Data().runs) {
    if (!run.excluded.empty()) continue;
    ++compared;
    EXPECT_GT(run.seconds, 0) << run.id;
    EXPECT_TRUE(CheckSchedule(BuildStep(run, 8).schedule).ok()) << run.id;
  }
  EXPECT_EQ(Data().runs.size(), 703u);
  EXPECT_GT(compared, 450u);
}

TEST(PublishedLayerTest, RanksOnANode) {
  EXPECT_EQ(RanksOnNode(16, 1, 8), 8);
  EXPECT_EQ(RanksOnNode(4, 8, 8), 1);
  EXPECT_EQ(RanksOnNode(2, 2, 8), 2);
}

}  // namespace
}  // namespace choir::planner
