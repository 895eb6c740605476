// The activation memory of Korthikanti et al. 2022 (arXiv 2205.05198, sections 4 and 5), formula
// against trace, to the byte, for the four models of its Table 3. Prints the tables of
// docs/planning-activations.md.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "parallel/pipeline/schedule.h"
#include "tests/plan/gpt_block.h"

namespace choir {
namespace {

struct Model {
  const char* name;
  int64_t layers, hidden, heads;
  int pipeline, chunks, microbatches;  // of a step
  int64_t microbatch;                  // sequences in one
  // GiB of the first stage, as published (Figure 7): tensor parallel alone, and with sequence
  // parallelism and selective recomputation.
  double published_tensor, published_both;

  GptShape Shape(int64_t tensor, bool sequence_parallel) const {
    return {.hidden = hidden,
            .heads = heads,
            .layers = layers,
            .microbatch = microbatch,
            .tensor = tensor,
            .sequence_parallel = sequence_parallel};
  }
};

constexpr Model kModels[] = {{"22B", 48, 6144, 64, 1, 1, 1, 4, 59.25, 9.5625},
                             {"175B", 96, 12288, 96, 8, 3, 64, 1, 66.84375, 12.3515625},
                             {"530B", 105, 20480, 128, 35, 3, 280, 1, 114.0234375, 23.076171875},
                             {"1T", 128, 25600, 160, 64, 1, 512, 1, 131.25, 26.5625}};
constexpr int64_t kTensor = 8;

struct Way {
  const char* name;
  int64_t tensor;
  bool sequence_parallel;
  GptRecompute recompute;
  const char* formula;
};
constexpr Way kWays[] = {
    {"none", 1, false, GptRecompute::kNone, "sbh (34 + 5as/h)"},
    {"tensor", kTensor, false, GptRecompute::kNone, "sbh (10 + 24/t + 5as/ht)"},
    {"tensor, sequence", kTensor, true, GptRecompute::kNone, "sbh/t (34 + 5as/h)"},
    {"tensor, selective", kTensor, false, GptRecompute::kSelective, "sbh (10 + 24/t)"},
    {"tensor, sequence, selective", kTensor, true, GptRecompute::kSelective, "34 sbh/t"},
    {"tensor, full", kTensor, false, GptRecompute::kFull, "2 sbh"}};

// The paper's equations 1 to 6, for one layer.
int64_t LayerFormula(const GptShape& g, GptRecompute recompute) {
  const int64_t sb = g.sequence * g.microbatch, sbh = sb * g.hidden, t = g.tensor;
  if (recompute == GptRecompute::kFull) return 2 * sbh;
  const int64_t quadratic =
      recompute == GptRecompute::kNone ? 5 * g.heads * g.sequence * sb / t : 0;
  const int64_t linear = g.sequence_parallel ? 34 * sbh / t : 10 * sbh + 24 * sbh / t;
  return linear + quadratic;
}

// The activations that a forward pass leaves on the tape, its results gone.
class Trace {
 public:
  explicit Trace(const Way& way) : way_(way) {}

  // Layers [first, first + count) of a stage; the embedding before and the loss behind them.
  struct Stage {
    int64_t layers = 0;
    bool embedding = false, loss = false;
  };

  // Runs it forward on a tape of its own.
  std::unique_ptr<Tape> Forward(const GptShape& shape, const Stage& stage, Var* last) {
    auto tape = std::make_unique<Tape>();
    tape->SetRecomputePolicy(PolicyOf(way_.recompute, way_.sequence_parallel));
    const int64_t tokens = shape.sequence * shape.microbatch;
    const int64_t here = shape.sequence_parallel ? tokens / shape.tensor : tokens;
    Var x;
    if (stage.embedding) {
      x = GptEmbedding(*tape, shape);
    } else {
      x = tape->Input(Tensor::Empty({here, shape.hidden}, {DType::kF16, Device::kMeta}), true);
    }
    for (int64_t i = 0; i < stage.layers; ++i) {
      tape->SetLayer(static_cast<int>(i));
      x = GptBlock(*tape, x, shape);
    }
    tape->SetLayer(-1);
    if (stage.loss) x = GptLoss(*tape, x, shape);
    if (last != nullptr) *last = x;
    return tape;
  }

  static int64_t Held() {
    return CurrentLedger(Device::kMeta).Current(MemoryCategory::kActivations);
  }

 private:
  Way way_;
};

// Of `layers` layers without anything around them.
int64_t TracedLayers(const Model& model, const Way& way, int64_t layers) {
  MemoryLedger ledger;
  const ScopedLedger scoped(Device::kMeta, ledger);
  const auto tape = Trace(way).Forward(model.Shape(way.tensor, way.sequence_parallel),
                                       {.layers = layers}, nullptr);
  return Trace::Held();
}

TEST(ActivationFormulasTest, ALayerHoldsWhatThePaperSays) {
  std::printf("\nBytes of a layer (s = 2048, t = %ld), trace = formula:\n\n| kept |",
              static_cast<long>(kTensor));
  for (const Model& model : kModels) std::printf(" %s |", model.name);
  std::printf(" formula |\n|---|---:|---:|---:|---:|---|\n");
  for (const Way& way : kWays) {
    std::printf("| %s |", way.name);
    for (const Model& model : kModels) {
      SCOPED_TRACE(std::string(model.name) + ", " + way.name);
      const int64_t one = TracedLayers(model, way, 1);
      EXPECT_EQ(one, LayerFormula(model.Shape(way.tensor, way.sequence_parallel), way.recompute));
      EXPECT_EQ(TracedLayers(model, way, 3), 3 * one);
      std::printf(" %ld |", static_cast<long>(one));
    }
    std::printf(" %s |\n", way.formula);
  }
}

// The backward pass finds all it needs, makes again what was dropped, and leaves nothing behind.
TEST(ActivationFormulasTest, BackwardFreesEverything) {
  for (const Way& way : kWays) {
    SCOPED_TRACE(way.name);
    const Model& model = kModels[0];
    MemoryLedger ledger;
    const ScopedLedger scoped(Device::kMeta, ledger);
    Var loss;
    const auto tape = Trace(way).Forward(model.Shape(way.tensor, way.sequence_parallel),
                                         {.layers = 2, .embedding = true, .loss = true}, &loss);
    tape->RunBackward(loss, Tensor::Empty({1}, {DType::kF32, Device::kMeta}));
    EXPECT_EQ(tape->recomputed() > 0,
              way.recompute != GptRecompute::kNone || way.sequence_parallel);
    loss = Var();
    EXPECT_EQ(Trace::Held(), 0);
  }
}

struct StageBytes {
  int64_t held = 0;      // most between two actions
  int64_t embedded = 0;  // microbatches of the first stage among it
};

// Rank 0 of the pipeline, by the real schedule: a tape for each microbatch of each stage.
StageBytes TraceFirstRank(const Model& model, const Way& way) {
  MemoryLedger ledger;
  const ScopedLedger scoped(Device::kMeta, ledger);
  const GptShape shape = model.Shape(way.tensor, way.sequence_parallel);
  const ScheduleSpec spec{model.chunks > 1 ? PipelineKind::kInterleaved : PipelineKind::k1f1b,
                          model.pipeline, model.chunks, model.microbatches};
  const int64_t layers = model.layers / spec.stages();
  Trace trace(way);
  std::map<std::pair<int, int>, std::unique_ptr<Tape>> tapes;  // by stage, microbatch
  StageBytes most;
  for (const Action& action : RankActions(spec, 0)) {
    const std::pair key(action.stage, action.microbatch);
    if (action.kind != ActionKind::kForward) {
      tapes.erase(key);
      continue;
    }
    tapes[key] = trace.Forward(shape,
                               {.layers = layers,
                                .embedding = action.stage == 0,
                                .loss = action.stage == spec.stages() - 1},
                               nullptr);
    if (Trace::Held() <= most.held) continue;
    most.held = Trace::Held();
    most.embedded = std::count_if(tapes.begin(), tapes.end(),
                                  [](const auto& entry) { return entry.first.first == 0; });
  }
  EXPECT_TRUE(tapes.empty());
  return most;
}

double Gib(int64_t bytes) { return static_cast<double>(bytes) / (1 << 30); }

// Section 4.2.3: the first stage holds L layers' worth, times 1 + (p-1)/(pm) if interleaved; beside
// them the mask of the embedding's dropout and, without pipeline, what norm, head and loss hold.
TEST(ActivationFormulasTest, TheFirstStageHoldsWhatThePaperSays) {
  std::printf(
      "\nGiB of the first stage:\n\n| model | kept | layers, trace | formula | published | "
      "with extras, trace | extras by formula |\n|---|---|---:|---:|---:|---:|---:|\n");
  for (const Model& model : kModels) {
    for (const Way* way : {&kWays[1], &kWays[2], &kWays[3], &kWays[4]}) {
      SCOPED_TRACE(std::string(model.name) + ", " + way->name);
      const GptShape shape = model.Shape(way->tensor, way->sequence_parallel);
      const StageBytes traced = TraceFirstRank(model, *way);
      const int64_t p = model.pipeline, v = model.chunks, t = kTensor;
      const int64_t sb = shape.sequence * shape.microbatch, sbh = sb * shape.hidden;
      // L (1 + (p-1)/(pv)) layers.
      const int64_t layers = model.layers * (p * v + (v > 1 ? p - 1 : 0)) / (p * v);
      const int64_t formula = layers * LayerFormula(shape, way->recompute);
      const int64_t split = way->sequence_parallel ? t : 1;
      const int64_t mask = sbh / split;
      const int64_t behind = p > 1 ? 0 : 4 * sbh / split + 4 * sb * shape.vocab / t;
      EXPECT_EQ(traced.held, formula + traced.embedded * mask + behind);
      // The paper counts p microbatches of embeddings; interleaved, twice as many are under way.
      EXPECT_EQ(traced.embedded, v > 1 ? 2 * p : p);
      const double published = way == &kWays[1]   ? model.published_tensor
                               : way == &kWays[4] ? model.published_both
                                                  : 0;
      if (published > 0) {
        EXPECT_EQ(Gib(formula), published);
      }
      char text[32] = "";
      if (published > 0) std::snprintf(text, sizeof text, "%.4f", published);
      std::printf("| %s | %s | %.4f | %.4f | %s | %.4f | %.4f |\n", model.name, way->name,
                  Gib(traced.held - traced.embedded * mask - behind), Gib(formula), text,
                  Gib(traced.held), Gib(p * mask + behind));
    }
  }
}

}  // namespace
}  // namespace choir
