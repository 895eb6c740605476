// Recomputation changes no gradient, and the meta device tells the memory of a real step to the
// byte: over layouts, schedules, ZeRO, formats and policies. Prints the table.
#include <gtest/gtest.h>

#include <cstdio>
#include <iterator>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "base/hash.h"
#include "base/strings.h"
#include "parallel/comm/local_world.h"
#include "tests/train/run_fixture.h"
#include "train/step_trace.h"
#include "train/verify.h"

namespace choir::train_test {
namespace {

using Strings = std::vector<std::string>;

struct Setting {
  const char* config;
  int ranks;
  const char* layout;
  const char* recipe;
  Strings more = {};
};

const Strings kPolicies[] = {{"none"},
                             {"selective"},
                             {"full"},
                             {"*=offload"},
                             {"*", "!residual*", "norm@1-2=offload", "attention@0,3=keep"}};

// A sanitizer is after races and memory, which two policies show, and slow.
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr size_t kPoliciesRun = 2;
#else
constexpr size_t kPoliciesRun = std::size(kPolicies);
#endif

// What the ranks found: a hash of their gradients, and where the plan was wrong.
struct Found {
  std::vector<Hash128> gradients;  // by rank
  std::vector<std::string> wrong;
  int64_t peak = 0;  // of the fullest rank
};

std::string Line(const MemoryPeaks& peaks) {
  std::string line;
  for (size_t i = 0; i < peaks.by_category.size(); ++i) {
    line += StrCat(Name(static_cast<MemoryCategory>(i)), " ", peaks.by_category[i], ", ");
  }
  return StrCat(line, "total ", peaks.total);
}

RunConfig Config(const Setting& setting, const Strings& policy) {
  Strings overrides = {"--run.dir=" + FreshPath("exact"), "--data.path=" + TinyData(),
                       "--model.layers=4", "--train.microbatch_sequences=1",
                       StrCat("--precision.recipe=", setting.recipe)};
  overrides.insert(overrides.end(), setting.more.begin(), setting.more.end());
  auto config = LoadConfigFile<RunConfig>(ConfigPath(setting.config), overrides);
  EXPECT_TRUE(config.ok()) << config.status();
  const auto layout = ParseLayout(setting.layout);
  EXPECT_TRUE(layout.ok()) << layout.status();
  config->parallel = layout->parallel;
  config->parallel.bucket_mib = 0.05;
  config->train.recompute = policy;
  return *config;
}

Hash128 GradientsOf(Trainer& trainer) {
  std::string bits;
  for (const Shard& shard : trainer.gradients().shards()) {
    bits.append(static_cast<const char*>(shard.grad.raw()),
                static_cast<size_t>(shard.grad.bytes()));
  }
  return HashOf128(bits);
}

void OneRank(const RunConfig& config, World& world, std::mutex& mutex, Found& found) {
  const auto recorded = std::make_unique<RecordedRouting>();  // outlives the trainer
  auto trainer = Trainer::Make(config, world.size() > 1 ? &world : nullptr);
  ASSERT_TRUE(trainer.ok()) << trainer.status();
  (*trainer)->microbatches().routing = recorded.get();
  MemoryLedger& ledger = CurrentLedger(Device::kCpu);
  ledger.ResetPeak();
  const auto report = (*trainer)->Step();
  ASSERT_TRUE(report.ok()) << report.status();
  const MemoryPeaks measured = PeaksOf(ledger);
  TraceRequest request;
  request.place = {world.rank(), world.size(), world.node_size()};
  request.data.languages = static_cast<int64_t>((*trainer)->loader().languages().size());
  request.data.step = 0;
  request.routing = recorded.get();
  const auto trace = TraceStep((*trainer)->config(), request);
  ASSERT_TRUE(trace.ok()) << trace.status();
  const std::lock_guard lock(mutex);
  found.gradients[static_cast<size_t>(world.rank())] = GradientsOf(**trainer);
  found.peak = std::max(found.peak, measured.total);
  if (trace->peaks == measured) return;
  found.wrong.push_back(StrCat("rank ", world.rank(), "\n  planned  ", Line(trace->peaks),
                               "\n  measured ", Line(measured)));
}

Found RunSetting(const Setting& setting, const Strings& policy) {
  const RunConfig config = Config(setting, policy);
  Found found;
  found.gradients.resize(static_cast<size_t>(setting.ranks));
  std::mutex mutex;
  const absl::Status status = RunLocal(setting.ranks, WorldOptionsOf(config),
                                       [&](World& world) { OneRank(config, world, mutex, found); });
  EXPECT_TRUE(status.ok()) << status;
  return found;
}

// Each with every policy.
const Setting kSettings[] = {
    {"tiny", 1, "data=1", "fp32"},
    {"tiny", 2, "data=2,shard=2,zero=2", "bf16-lean"},
    {"tiny", 4, "data=2,shard=2,tensor=2,zero=1", "bf16"},
    {"tiny", 4, "data=4,shard=2,zero=1", "bf16", {"--precision.wire=bf16"}},
    {"tiny", 2, "context=2", "mxfp8"},
    {"tiny", 2, "context=2,context_method=ring", "fp32"},
    {"tiny", 2, "pipeline=2,schedule=zero_bubble", "fp32"},
    {"tiny", 4, "data=2,shard=2,zero=3,pipeline=2", "bf16"},
    {"tiny", 2, "pipeline=2,virtual_stages=2,schedule=interleaved", "fp16"},
    {"tiny", 2, "pipeline=2,virtual_stages=2,schedule=dualpipev", "fp32"},
    {"moe-tiny", 1, "data=1", "fp8-block"},
    {"moe-tiny", 4, "data=4,expert=2,expert_tensor=2", "fp32"},
    {"moe-tiny", 4, "data=4,shard=4,zero=3,expert=2,expert_chunks=2", "bf16"},
    {"moe-tiny", 4, "tensor=2,expert=2,pipeline=2,schedule=zero_bubble", "fp32"},
    {"moe-tiny", 4, "data=4,expert=4,node_size=2,two_level_exchange=true", "fp32"},
    {"moe-tiny", 2, "data=2,expert=2,capacity_factor=1.0", "bf16-lean"},
    {"moe-tiny", 2, "data=2,shard=2,zero=1", "fp32", {"--optim.kind=muon"}},
    {"moe-tiny", 2, "data=2,expert=2", "fp32", {"--numerics=invariant"}},
};

TEST(PlanExactThreadTest, SlowGradientsAndPeaksOfEveryPolicy) {
  int cells = 0, exact = 0, equal = 0;
  std::printf("%-9s %-52s %-10s %-46s %10s  gradients  plan\n", "config", "layout", "formats",
              "recompute", "peak bytes");
  for (const Setting& setting : kSettings) {
    std::vector<Hash128> none;
    for (const Strings& policy : std::span(kPolicies).first(kPoliciesRun)) {
      const Found found = RunSetting(setting, policy);
      ASSERT_FALSE(testing::Test::HasFatalFailure());
      if (none.empty()) none = found.gradients;
      std::string name;
      for (const std::string& entry : policy) name += StrCat(name.empty() ? "" : " ", entry);
      const bool same = found.gradients == none, right = found.wrong.empty();
      std::printf("%-9s %-52s %-10s %-46s %10lld  %-9s  %s\n", setting.config, setting.layout,
                  setting.recipe, name.c_str(), static_cast<long long>(found.peak),
                  same ? "equal" : "DIFFER", right ? "exact" : "WRONG");
      EXPECT_TRUE(same) << setting.layout << " " << name;
      for (const std::string& text : found.wrong) {
        ADD_FAILURE() << setting.config << " " << setting.layout << " " << name << ": " << text;
      }
      ++cells;
      exact += right;
      equal += same;
    }
  }
  std::printf("%d cells: %d gradients equal to none's, %d plans exact to the byte\n", cells, equal,
              exact);
  EXPECT_EQ(cells, std::ssize(kSettings) * static_cast<int64_t>(kPoliciesRun));
}

}  // namespace
}  // namespace choir::train_test
