// What the kernels of a whole training step tell, on every rank of a layout: the meta device tells
// the same, and over all ranks it is what the model's config counts.
#include <gtest/gtest.h>

#include <map>
#include <mutex>

#include "base/strings.h"
#include "model/counts.h"
#include "ops/work.h"
#include "parallel/comm/local_world.h"
#include "tests/train/run_fixture.h"
#include "train/step_trace.h"
#include "train/verify.h"

namespace choir::train_test {
namespace {

// Rows are documents: the meta device does not know others.
RunConfig Config(const std::string& name, const std::string& layout) {
  auto config = LoadConfigFile<RunConfig>(
      ConfigPath(name),
      std::vector<std::string>{"--run.dir=" + FreshPath("work"), "--data.path=" + TinyData(),
                               "--data.packing.document_masks=false",
                               "--train.microbatch_sequences=1"});
  EXPECT_TRUE(config.ok()) << config.status();
  const auto parsed = ParseLayout(layout);
  EXPECT_TRUE(parsed.ok()) << parsed.status();
  config->parallel = parsed->parallel;
  return *config;
}

// By kernel: how often, FLOPs, bytes. Kernels that move bytes alone are left out: a few of them are
// on one device only (counts of what was routed), or at its start.
struct Told {
  std::map<std::string, std::array<double, 3>> kernels;
  double flops = 0;

  void Add(const Work& work) {
    if (work.kind == WorkKind::kMemory) return;
    auto& [count, flops_of_kernel, bytes] = kernels[work.name];
    count += 1;
    flops_of_kernel += work.flops;
    bytes += work.bytes;
    flops += work.flops;
  }
};

template <class Run>
Told Listen(const Run& run) {
  Told told;
  const WorkListener listener = [&](const Work& work) { told.Add(work); };
  const ScopedWorkListener listening(listener);
  run();
  return told;
}

double ModelFlops(const RunConfig& config) {
  const auto rows = static_cast<double>(config.data.batch_sequences);
  const auto length = static_cast<double>(config.data.sequence_length);
  return CountFlops(config.model, *config.model.vocab_size)
      .Training(rows * length, rows * length * (length + 1) / 2);
}

void Compare(int ranks, const RunConfig& given) {
  std::mutex mutex;
  double all = 0, counted = 0;
  const absl::Status status = RunLocal(ranks, WorldOptionsOf(given), [&](World& world) {
    const auto recorded = std::make_unique<RecordedRouting>();  // outlives the trainer
    auto trainer = Trainer::Make(given, ranks > 1 ? &world : nullptr);
    ASSERT_TRUE(trainer.ok()) << trainer.status();
    (*trainer)->microbatches().routing = recorded.get();
    const Told real = Listen([&] { ASSERT_TRUE((*trainer)->Step().ok()); });
    TraceRequest request;
    request.place = {world.rank(), world.size(), world.node_size()};
    request.data.languages = static_cast<int64_t>((*trainer)->loader().languages().size());
    request.data.step = 0;
    request.routing = recorded.get();
    const Told planned = Listen([&] {
      const auto trace = TraceStep((*trainer)->config(), request);
      ASSERT_TRUE(trace.ok()) << trace.status();
    });
    const std::lock_guard lock(mutex);
    EXPECT_EQ(real.kernels, planned.kernels) << "rank " << world.rank();
    all += real.flops;
    counted = ModelFlops((*trainer)->config());
  });
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_DOUBLE_EQ(all, counted);
}

struct Cell {
  const char* config;
  int ranks;
  const char* layout;
};

TEST(StepWorkTest, RanksTellTheModelsFlops) {
  for (const Cell& cell : {Cell{"tiny", 1, "data=1"}, Cell{"moe-tiny", 1, "data=1"},
                           Cell{"tiny", 4, "data=2,tensor=2"}, Cell{"moe-tiny", 2, "tensor=2"},
                           Cell{"tiny", 2, "context=2"}, Cell{"moe-tiny", 2, "pipeline=2"},
                           Cell{"moe-tiny", 4, "data=4,shard=4,zero=3"},
                           Cell{"moe-tiny", 4, "data=4,expert=2,expert_tensor=2"}}) {
    SCOPED_TRACE(StrCat(cell.config, " ", cell.layout));
    Compare(cell.ranks, Config(cell.config, cell.layout));
  }
}

}  // namespace
}  // namespace choir::train_test
