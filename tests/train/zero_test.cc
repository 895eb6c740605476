// What ZeRO promises beside the same maths (which `choir verify` shows): memory and bytes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <set>

#include "base/strings.h"
#include "parallel/comm/local_world.h"
#include "tests/train/run_fixture.h"
#include "train/trainer.h"
#include "train/verify.h"

namespace choir::train_test {
namespace {

using ::testing::HasSubstr;

constexpr double kBucketMib = 0.02;

RunConfig Config(const std::string& name, const std::string& layout,
                 Numerics numerics = Numerics::kFast) {
  auto config = LoadConfigFile<RunConfig>(
      ConfigPath(name), {"--run.dir=" + FreshPath("zero"), "--data.path=" + TinyData(),
                         "--model.layers=6", "--train.microbatch_sequences=1"});
  EXPECT_TRUE(config.ok()) << config.status();
  config->parallel = ParseLayout(layout)->parallel;
  config->parallel.bucket_mib = kBucketMib;
  config->numerics = numerics;
  return *config;
}

// Runs `body` on each rank of the config's layout, with a new trainer and the rank's own ledger.
void OnRanks(int ranks, const RunConfig& config,
             const std::function<void(Trainer&, World&, MemoryLedger&)>& body) {
  const absl::Status status = RunLocal(ranks, WorldOptionsOf(config), [&](World& world) {
    auto trainer = Trainer::Make(config, &world);
    ASSERT_TRUE(trainer.ok()) << trainer.status();
    body(**trainer, world, CurrentLedger(Device::kCpu));
  });
  EXPECT_TRUE(status.ok()) << status;
}

void OneStep(Trainer& trainer) {
  const auto report = trainer.Step();
  EXPECT_TRUE(report.ok()) << report.status();
}

// Of the model's part on this rank, if it were whole.
struct Sizes {
  int64_t whole = 0, largest = 0, shards = 0;

  explicit Sizes(Trainer& trainer) {
    for (const Shard& shard : trainer.gradients().shards()) {
      const int64_t bytes = RoundedBytes(4 * shard.parameter->shape().NumElements());
      whole += bytes;
      largest = std::max(largest, bytes);
      shards += RoundedBytes(shard.grad.bytes());
    }
  }
};

TEST(ZeroThreadTest, StageTwoHoldsNoWholeGradients) {
  for (const char* name : {"tiny", "moe-tiny"}) {
    OnRanks(4, Config(name, "data=4,shard=4"), [](Trainer& t, World&, MemoryLedger& ledger) {
      OneStep(t);
      const Sizes sizes(t);
      EXPECT_EQ(ledger.Peak(MemoryCategory::kGradients), sizes.whole + sizes.shards);
    });
    for (const char* stage : {"2", "3"}) {
      OnRanks(4, Config(name, StrCat("data=4,shard=4,zero=", stage)),
              [](Trainer& t, World&, MemoryLedger& ledger) {
                OneStep(t);
                const Sizes sizes(t);
                // A bucket that is filled, with the parameter that fills it, and one in the making.
                const auto bucket = static_cast<int64_t>(kBucketMib * (1 << 20));
                EXPECT_LE(ledger.Peak(MemoryCategory::kGradients),
                          sizes.shards + bucket + 2 * sizes.largest);
                EXPECT_EQ(ledger.Current(MemoryCategory::kGradients), sizes.shards);
              });
    }
  }
}

// Of the largest two units that are neighbours.
int64_t LargestPair(Trainer& trainer) {
  std::vector<int64_t> units(static_cast<size_t>(trainer.model().HeadUnit()) + 1);
  for (const auto& entry : trainer.model().parameters()) {
    if (entry.parameter->sharded == nullptr) continue;
    const int64_t bytes = RoundedBytes(4 * entry.parameter->shape().NumElements());
    for (int unit : entry.units) units[static_cast<size_t>(unit)] += bytes;
  }
  int64_t largest = 0;
  for (size_t i = 0; i + 1 < units.size(); ++i) {
    largest = std::max(largest, units[i] + units[i + 1]);
  }
  return largest;
}

TEST(ZeroThreadTest, StageThreeHoldsTwoUnitsOfWeights) {
  OnRanks(2, Config("tiny", "data=2,shard=2,zero=3"), [](Trainer& t, World&, MemoryLedger& ledger) {
    int64_t kept = 0;
    for (const Shard& shard : t.gradients().shards()) {
      const bool sharded = shard.parameter->sharded != nullptr;
      EXPECT_EQ(sharded, shard.placement.shape.rank() > 1) << shard.parameter->name;
      kept += RoundedBytes(sharded ? shard.value.bytes() : shard.parameter->value.bytes());
    }
    EXPECT_EQ(ledger.Peak(MemoryCategory::kParameters), kept) << "from the start";
    ASSERT_TRUE(t.ComputeGradients().ok());
    EXPECT_EQ(ledger.Peak(MemoryCategory::kParameters), kept + LargestPair(t));
    OneStep(t);
    EXPECT_EQ(ledger.Current(MemoryCategory::kParameters), kept) << "nothing stale";
    EXPECT_FALSE(t.Validate().empty());
    EXPECT_EQ(ledger.Peak(MemoryCategory::kParameters), kept + LargestPair(t));
  });
}

int64_t Sent(World& world, const std::string& group, const std::string& operation) {
  int64_t bytes = 0;
  for (const CommCount& count : world.Counts()) {
    if (count.group == group && count.operation == operation) bytes += count.bytes_sent;
  }
  return bytes;
}

// With two shards a rank sends its own of what is gathered, and the other's of what is summed.
TEST(ZeroThreadTest, BytesAreThoseOfTheDocumentation) {
  OnRanks(2, Config("tiny", "data=2,shard=2,zero=3"), [](Trainer& t, World& world, MemoryLedger&) {
    std::vector<int64_t> units(static_cast<size_t>(t.model().HeadUnit()) + 1);
    int64_t all = 0, others = 0;
    for (size_t i = 0; i < t.model().parameters().size(); ++i) {
      const Shard& shard = t.gradients().shards()[i];
      others += 4 * shard.parameter->shape().NumElements() - shard.grad.bytes();
      if (shard.parameter->sharded == nullptr) continue;
      all += shard.value.bytes();
      units[static_cast<size_t>(t.model().parameters()[i].units[0])] += shard.value.bytes();
    }
    const int64_t microbatches = 4;  // 8 rows on 2 ranks
    ASSERT_TRUE(t.ComputeGradients().ok());
    // Forward all; backward without head, which is still there, and embedding, which is not read.
    // The first block is still there for the next forward pass.
    const int64_t blocks = all - units.front() - units.back();
    EXPECT_EQ(Sent(world, "shard", "all_gather"),
              microbatches * (all + blocks) - (microbatches - 1) * units[1]);
    EXPECT_EQ(Sent(world, "shard", "reduce_scatter"), microbatches * others);
  });
  OnRanks(2, Config("tiny", "data=2,shard=2,zero=2"), [](Trainer& t, World& world, MemoryLedger&) {
    ASSERT_TRUE(t.ComputeGradients().ok());
    EXPECT_EQ(Sent(world, "shard", "all_gather"), 0);
  });
}

TEST(ZeroThreadTest, SlowValidatesAsOneRank) {
  const auto alone = Trainer::Make(Config("moe-tiny", "data=1", Numerics::kInvariant));
  ASSERT_TRUE(alone.ok()) << alone.status();
  OneStep(**alone);
  const std::vector<LanguageLoss> want = (*alone)->Validate();
  OnRanks(4, Config("moe-tiny", "data=2,shard=2,pipeline=2,zero=3", Numerics::kInvariant),
          [&](Trainer& t, World&, MemoryLedger&) {
            OneStep(t);
            const std::vector<LanguageLoss> got = t.Validate();
            ASSERT_EQ(got.size(), want.size());
            for (size_t i = 0; i < got.size(); ++i) {
              if (std::isnan(want[i].loss)) continue;
              EXPECT_EQ(got[i].loss, want[i].loss) << want[i].language;
            }
          });
}

TEST(ZeroTest, EveryMicrobatchIsDealtOnce) {
  RunLayout layout;
  layout.degrees = {.replica = 2, .shard = 3};
  layout.microbatch_rows = 2;
  for (int stage = 0; stage <= 3; ++stage) {
    layout.zero = stage;
    std::set<int64_t> dealt;
    for (int rank = 0; rank < 6; ++rank) {
      const MicrobatchShare share =
          ShareOf(layout, rank, 47, /*pieces=*/1);  // the last has one row
      EXPECT_EQ(share.total, 24);
      for (int64_t m = 0; m < share.count; ++m) {
        EXPECT_TRUE(dealt.insert(share.Number(m)).second) << stage << " " << share.Number(m);
        // Consecutive in time, or over ranks.
        EXPECT_EQ(share.Number(m), stage < 2 ? rank * 4 + m : m * 6 + rank);
      }
    }
    EXPECT_EQ(dealt.size(), 24u);
    EXPECT_EQ(*dealt.rbegin(), 23);
  }
}

TEST(ZeroTest, InvariantModeNeedsPowersOfTwo) {
  RunConfig config = Config("tiny", "data=2,shard=2,zero=2", Numerics::kInvariant);
  config.model.vocab_size = 1024;
  EXPECT_TRUE(PlanLayout(config, 2).ok()) << PlanLayout(config, 2).status();
  config.data.batch_sequences = 12;
  const absl::Status status = PlanLayout(config, 2).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("power of two of microbatches; step 1 has 12"));
  config.parallel.zero = 1;
  EXPECT_TRUE(PlanLayout(config, 2).ok());
  config.parallel.zero = 3;
  config.numerics = Numerics::kFast;
  EXPECT_TRUE(PlanLayout(config, 2).ok());
}

}  // namespace
}  // namespace choir::train_test
