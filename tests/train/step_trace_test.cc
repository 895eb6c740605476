// The meta device tells the memory of a real step, to the byte.
#include "train/step_trace.h"

#include <gtest/gtest.h>

#include <mutex>

#include "base/strings.h"
#include "parallel/comm/local_world.h"
#include "tests/train/run_fixture.h"
#include "train/verify.h"

namespace choir::train_test {
namespace {

RunConfig Config(const std::string& name, const std::string& layout,
                 const std::vector<std::string>& more = {}) {
  std::vector<std::string> overrides = {"--run.dir=" + FreshPath("trace"),
                                        "--data.path=" + TinyData()};
  overrides.insert(overrides.end(), more.begin(), more.end());
  auto config = LoadConfigFile<RunConfig>(ConfigPath(name), overrides);
  EXPECT_TRUE(config.ok()) << config.status();
  const auto parsed = ParseLayout(layout);
  EXPECT_TRUE(parsed.ok()) << parsed.status();
  config->parallel = parsed->parallel;
  return *config;
}

std::string Line(const MemoryPeaks& peaks) {
  std::string line;
  for (size_t i = 0; i < peaks.by_category.size(); ++i) {
    line += StrCat(Name(static_cast<MemoryCategory>(i)), " ", peaks.by_category[i], ", ");
  }
  return StrCat(line, "total ", peaks.total);
}

// Runs steps on `ranks` threads; compares each rank's peaks with what the meta device says.
void Compare(int ranks, const RunConfig& given) {
  std::mutex mutex;
  const absl::Status status = RunLocal(ranks, WorldOptionsOf(given), [&](World& world) {
    const auto recorded = std::make_unique<RecordedRouting>();  // outlives the trainer
    auto trainer = Trainer::Make(given, ranks > 1 ? &world : nullptr);
    ASSERT_TRUE(trainer.ok()) << trainer.status();
    (*trainer)->microbatches().routing = recorded.get();
    for (int step = 0; step < 2; ++step) {
      MemoryLedger& ledger = CurrentLedger(Device::kCpu);
      recorded->Clear();
      ledger.ResetPeak();
      const auto report = (*trainer)->Step();
      ASSERT_TRUE(report.ok()) << report.status();
      const MemoryPeaks measured = PeaksOf(ledger);
      TraceRequest request;
      request.place = {world.rank(), world.size(), world.node_size()};
      request.data.languages = static_cast<int64_t>((*trainer)->loader().languages().size());
      request.routing = recorded.get();
      request.data.step = step;
      const auto trace = TraceStep((*trainer)->config(), request);
      ASSERT_TRUE(trace.ok()) << trace.status();
      const std::lock_guard lock(mutex);
      EXPECT_EQ(Line(trace->peaks), Line(measured)) << "rank " << world.rank() << " step " << step;
    }
  });
  EXPECT_TRUE(status.ok()) << status;
}

struct Cell {
  int ranks;
  const char* layout;
  std::vector<std::string> more = {};
};

TEST(StepTraceTest, Dense) { Compare(1, Config("tiny", "data=1")); }
TEST(StepTraceTest, Moe) { Compare(1, Config("moe-tiny", "data=1")); }
TEST(StepTraceThreadTest, Layouts) {
  for (const char* name : {"tiny", "moe-tiny"}) {
    for (const Cell& cell : {Cell{2, "data=2"}, Cell{2, "tensor=2"}, Cell{2, "pipeline=2"},
                             Cell{2, "context=2"}, Cell{4, "data=4,shard=4"},
                             Cell{4, "data=4,shard=4,zero=3"}, Cell{4, "data=2,tensor=2"}}) {
      SCOPED_TRACE(StrCat(name, " ", cell.layout));
      Compare(cell.ranks, Config(name, cell.layout, {"--train.microbatch_sequences=1"}));
    }
  }
  for (const Cell& cell :
       {Cell{2, "data=2,expert=2"}, Cell{4, "data=4,expert=2,expert_tensor=2"}}) {
    SCOPED_TRACE(cell.layout);
    Compare(cell.ranks, Config("moe-tiny", cell.layout, {"--train.microbatch_sequences=1"}));
  }
}

}  // namespace
}  // namespace choir::train_test
