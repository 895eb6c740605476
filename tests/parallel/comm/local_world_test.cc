#include "parallel/comm/local_world.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>

#include "base/log.h"
#include "base/strings.h"
#include "parallel/comm/p2p_world.h"
#include "tests/parallel/comm/collective_cases.h"

// Names with "Thread" also run under ThreadSanitizer.
namespace choir {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

struct Setup {
  int ranks;
  SumOrder order;
};

class CommThreads : public testing::TestWithParam<Setup> {
 protected:
  static void Run(const std::function<void(World&)>& body, WorldOptions options = {}) {
    options.sum_order = GetParam().order;
    options.timeout_s = 100;
    const absl::Status status = RunLocal(GetParam().ranks, options, body);
    EXPECT_TRUE(status.ok()) << status;
  }
};

TEST_P(CommThreads, Collectives) { Run(comm_test::CheckCollectives); }
TEST_P(CommThreads, CollectivesInCheckMode) { Run(comm_test::CheckCollectives, {.check = true}); }
TEST_P(CommThreads, LongMessages) { Run(comm_test::CheckLongMessages); }
TEST_P(CommThreads, ManyOutstanding) { Run(comm_test::CheckManyOutstanding); }
TEST_P(CommThreads, Counts) { Run(comm_test::CheckCounts); }

std::string NameOf(const testing::TestParamInfo<Setup>& info) {
  return StrCat(info.param.order == SumOrder::kTree ? "Tree" : "Ring", info.param.ranks);
}

INSTANTIATE_TEST_SUITE_P(Sizes, CommThreads,
                         testing::Values(Setup{1, SumOrder::kRing}, Setup{2, SumOrder::kRing},
                                         Setup{3, SumOrder::kRing}, Setup{4, SumOrder::kRing},
                                         Setup{8, SumOrder::kRing}, Setup{1, SumOrder::kTree},
                                         Setup{2, SumOrder::kTree}, Setup{3, SumOrder::kTree},
                                         Setup{4, SumOrder::kTree}, Setup{7, SumOrder::kTree},
                                         Setup{8, SumOrder::kTree}),
                         NameOf);

std::vector<int> AllRanks(const World& world) {
  std::vector<int> all;
  for (int r = 0; r < world.size(); ++r) all.push_back(r);
  return all;
}

TEST(LocalThreads, GridOfGroups) {
  for (SumOrder order : {SumOrder::kRing, SumOrder::kTree}) {
    EXPECT_TRUE(RunLocal(8, {.sum_order = order}, comm_test::CheckGrid).ok());
  }
}

// The cut that MPI needs at 2^31 bytes, at a size that tests can afford.
TEST(LocalThreads, MessagesAreCut) {
  for (SumOrder order : {SumOrder::kRing, SumOrder::kTree}) {
    WorldOptions options{.sum_order = order, .max_message_bytes = 40000};
    EXPECT_TRUE(RunLocal(3, options, comm_test::CheckLongMessages).ok());
    options.max_message_bytes = 24;
    EXPECT_TRUE(RunLocal(3, options, comm_test::CheckCounts).ok());
  }
}

TEST(LocalThreads, RanksHaveLogsLedgersAndNodesOfTheirOwn) {
  std::atomic<int> seen = 0;
  const absl::Status status = RunLocal(4, {.local_node_size = 2}, [&](World& world) {
    EXPECT_EQ(world.size(), 4);
    EXPECT_EQ(world.node_size(), 2);
    EXPECT_EQ(GetLogContext().rank, world.rank());
    EXPECT_EQ(GetLogContext().world, 4);
    const Tensor x = Tensor::Empty({16 * (world.rank() + 1)}, {});
    EXPECT_EQ(CurrentLedger(Device::kCpu).CurrentTotal(), 64 * (world.rank() + 1));
    seen |= 1 << world.rank();
  });
  EXPECT_TRUE(status.ok());
  EXPECT_EQ(seen, 15);
  EXPECT_EQ(GetLogContext().rank, 0);
}

TEST(LocalThreads, BarrierHoldsUntilAllHaveCome) {
  std::atomic<int> come = 0;
  EXPECT_TRUE(RunLocal(8, {}, [&](World& world) {
                Communicator& all = world.Group(AllRanks(world), "all");
                for (int round = 1; round <= 20; ++round) {
                  ++come;
                  all.Barrier().Wait();
                  EXPECT_GE(come, 8 * round);
                  all.Barrier().Wait();
                }
              }).ok());
}

// From every rank in every segment: element i is NaN on rank i mod 5, or on none.
TEST(LocalThreads, MaximumKeepsNaN) {
  EXPECT_TRUE(RunLocal(4, {}, [&](World& world) {
                const Tensor x = Tensor::Zeros({80}, {});
                for (int i = 0; i < 80; ++i) {
                  if (i % 5 == world.rank()) x.data<float>()[i] = std::nanf("");
                }
                world.Group(AllRanks(world), "all").AllReduce(x, ReduceOp::kMax).Wait();
                for (int i = 0; i < 80; ++i) EXPECT_EQ(std::isnan(x.data<float>()[i]), i % 5 < 4);
              }).ok());
}

TEST(LocalThreads, ProgressIsMadeWithoutWaiting) {
  EXPECT_TRUE(RunLocal(2, {}, [&](World& world) {
                const Tensor x = Tensor::Zeros({500000}, {});
                const Event event =
                    world.Group(AllRanks(world), "all").AllReduce(x, ReduceOp::kSum);
                while (!event.Done()) world.Progress();
                EXPECT_TRUE(Event(event).Done());
              }).ok());
}

TEST(LocalThreads, SameRanksAndNameAreOneGroup) {
  EXPECT_TRUE(RunLocal(2, {}, [&](World& world) {
                Communicator& a = world.Group(AllRanks(world), "a");
                EXPECT_EQ(&world.Group(AllRanks(world), "a"), &a);
                EXPECT_NE(&world.Group(AllRanks(world), "b"), &a);
              }).ok());
}

// Events that nobody waits for end before the job does.
TEST(LocalThreads, UnwaitedCallsEnd) {
  std::vector<Tensor> got(3);
  EXPECT_TRUE(RunLocal(3, {}, [&](World& world) {
                const Tensor x = Tensor::Zeros({100000}, {});
                x.data<float>()[99999] = 1;
                got[static_cast<size_t>(world.rank())] = x;
                world.Group(AllRanks(world), "all").AllReduce(x, ReduceOp::kSum);
              }).ok());
  for (const Tensor& x : got) EXPECT_EQ(x.data<float>()[99999], 3);
}

TEST(LocalThreads, AbortEndsAllRanksWithTheReason) {
  std::atomic<int> survivors = 0;
  const absl::Status status = RunLocal(4, {}, [&](World& world) {
    if (world.rank() == 2) world.Abort("loss is not finite", 4);
    world.Group(AllRanks(world), "all").Barrier().Wait();
    ++survivors;
  });
  EXPECT_EQ(status.message(), "loss is not finite");
  EXPECT_EQ(survivors, 0);
}

TEST(LocalThreads, CheckModeNamesDifferentCalls) {
  const absl::Status status = RunLocal(3, {.check = true}, [&](World& world) {
    Communicator& all = world.Group(AllRanks(world), "layer");
    const Tensor x = Tensor::Zeros({6}, {});
    all.AllReduce(x, ReduceOp::kSum).Wait();
    if (world.rank() == 1) {
      all.Broadcast(x, 0).Wait();
    } else {
      all.AllReduce(x, ReduceOp::kSum).Wait();
    }
  });
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("world rank 1 calls broadcast"), HasSubstr("calls all_reduce sum"),
                    HasSubstr("#1 of group 'layer'"), HasSubstr("comm/local_world_test.cc:")));
}

// What differs between rank 0 and the others, one thing at a time.
TEST(LocalThreads, CheckModeComparesEverything) {
  using Issue = std::function<void(Communicator&, bool first)>;
  const Tensor x = Tensor::Zeros({4}, {}), y = Tensor::Zeros({5}, {});
  const Issue issues[] = {
      [](Communicator& c, bool first) {
        c.AllReduce(Tensor::Zeros({4}, {}), first ? ReduceOp::kSum : ReduceOp::kMax).Wait();
      },
      [](Communicator& c, bool first) {
        c.AllReduce(Tensor::Zeros({first ? 4 : 5}, {}), ReduceOp::kSum).Wait();
      },
      [](Communicator& c, bool first) {
        const DType dtype = first ? DType::kF32 : DType::kI32;
        c.AllReduce(Tensor::Zeros({4}, {dtype}), ReduceOp::kSum).Wait();
      },
      [](Communicator& c, bool first) {
        c.Broadcast(Tensor::Zeros({4}, {}), first ? 0 : 1).Wait();
      },
      [](Communicator& c, bool first) {
        const std::vector<int64_t> one{2, 2}, other{1, 3};
        const std::vector<int64_t>& counts = first ? one : other;
        const int64_t own = counts[static_cast<size_t>(c.rank())];
        c.AllGather(Tensor::Zeros({4}, {}), Tensor::Zeros({own}, {}), counts).Wait();
      },
      [](Communicator& c, bool first) {  // rank 0 sends 2, rank 1 expects 3
        const std::vector<int64_t> send{1, first ? 2 : 1}, receive{first ? 1 : 3, 1};
        const Tensor in = Tensor::Zeros({send[0] + send[1]}, {});
        c.AllToAll(Tensor::Zeros({receive[0] + receive[1]}, {}), receive, in, send).Wait();
      }};
  for (size_t i = 0; i < std::size(issues); ++i) {
    const absl::Status status = RunLocal(2, {.check = true}, [&](World& world) {
      issues[i](world.Group(AllRanks(world), "pair"), world.rank() == 0);
    });
    EXPECT_THAT(std::string(status.message()), HasSubstr("call different collectives")) << i;
  }
}

// A message concerns two ranks: the third, which waits elsewhere, must not be asked about it.
TEST(LocalThreads, CheckModeLeavesMessagesAlone) {
  EXPECT_TRUE(RunLocal(3, {.check = true, .timeout_s = 20}, [&](World& world) {
                Communicator& all = world.Group(AllRanks(world), "all");
                const Tensor x = Tensor::Zeros({4}, {});
                if (world.rank() == 0) all.Send(x, 1, 3).Wait();
                if (world.rank() == 1) all.Recv(x, 0, 3).Wait();
                all.Barrier().Wait();
              }).ok());
}

TEST(LocalThreads, HangIsReportedWithWhatEveryRankDoes) {
  const absl::Status status = RunLocal(3, {.timeout_s = 0.3}, [&](World& world) {
    Communicator& all = world.Group(AllRanks(world), "everyone");
    const std::vector<int> pair{1, 2};
    const Tensor x = Tensor::Zeros({8}, {});
    all.Barrier().Wait();
    if (world.rank() == 0) all.AllReduce(x, ReduceOp::kSum).Wait();
    if (world.rank() == 1) world.Group(pair, "pair").Broadcast(x, 1).Wait();
    // Rank 2 issues nothing more: it ends.
  });
  const std::string report(status.message());
  EXPECT_THAT(report, HasSubstr("waited 0."));
  EXPECT_THAT(report, HasSubstr("comm/local_world_test.cc:"));
  EXPECT_THAT(report, HasSubstr("world rank 2 has done its work"));
  EXPECT_THAT(report, HasSubstr("done: barrier #0 of group 'everyone'"));
  // Whichever of the two reports: it names what it waits for itself.
  EXPECT_THAT(report, testing::AnyOf(HasSubstr("s in all_reduce sum f32 32 bytes #1"),
                                     HasSubstr("s in broadcast f32 32 bytes #0 of group 'pair'")));
}

TEST(LocalThreads, HangOnDifferentGroupsNamesBoth) {
  const absl::Status status = RunLocal(2, {.check = true, .timeout_s = 0.3}, [&](World& world) {
    Communicator& a = world.Group(AllRanks(world), "a");
    Communicator& b = world.Group(AllRanks(world), "b");
    (world.rank() == 0 ? a : b).Barrier().Wait();
  });
  const std::string report(status.message());
  EXPECT_THAT(report, AllOf(HasSubstr("barrier #0 of group 'a'"),
                            HasSubstr("barrier #0 of group 'b'"), HasSubstr("description from")));
  EXPECT_THAT(report, Not(HasSubstr("does not answer")));
}

TEST(LocalThreads, MessagesOfOtherSizesEndTheJob) {
  const absl::Status status = RunLocal(2, {}, [&](World& world) {
    Communicator& all = world.Group(AllRanks(world), "all");
    const Tensor x = Tensor::Zeros({world.rank() == 0 ? 4 : 5}, {});
    if (world.rank() == 0) all.Send(x, 1, 3).Wait();
    if (world.rank() == 1) all.Recv(x, 0, 3).Wait();
  });
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("world rank 1 expects 20 bytes from world rank 0, which sent 16"));
}

// One rank of a job that does not run counts what it would send.
TEST(LocalThreads, DryWorldCountsTheSame) {
  const auto calls = [](World& world, Device device) {
    Communicator& all = world.Group(AllRanks(world), "all");
    for (int64_t segment : {int64_t{3}, int64_t{100000}}) {
      std::vector<int64_t> counts;
      for (int r = 0; r < world.size(); ++r) counts.push_back(r == 1 ? 0 : segment + r);
      int64_t total = 0;
      for (int64_t count : counts) total += count;
      const int64_t own = counts[static_cast<size_t>(all.rank())];
      const Tensor whole = Tensor::Zeros({total}, {DType::kF32, device});
      const Tensor part = Tensor::Zeros({own}, {DType::kF32, device});
      all.AllReduce(whole, ReduceOp::kSum).Wait();
      all.ReduceScatter(part, whole, counts).Wait();
      all.AllGather(whole, part, counts).Wait();
      all.Broadcast(whole, 1).Wait();
      all.Barrier().Wait();
      if (all.rank() == 0) all.Send(whole, 2, 0).Wait();
      if (all.rank() == 2) all.Recv(whole, 0, 0).Wait();
    }
  };
  for (SumOrder order : {SumOrder::kRing, SumOrder::kTree}) {
    const WorldOptions options{.sum_order = order};
    const absl::Status status = RunLocal(3, options, [&](World& world) {
      calls(world, Device::kCpu);
      const auto dry = DryWorld({world.rank(), 3, 3}, options);
      calls(*dry, Device::kMeta);
      const std::vector<CommCount> want = world.Counts(), got = dry->Counts();
      ASSERT_EQ(got.size(), want.size());
      for (size_t i = 0; i < got.size(); ++i) {
        EXPECT_EQ(got[i].operation, want[i].operation);
        EXPECT_EQ(got[i].calls, want[i].calls);
        EXPECT_EQ(got[i].bytes_sent, want[i].bytes_sent) << got[i].operation;
      }
    });
    EXPECT_TRUE(status.ok()) << status;
  }
}

TEST(SingleWorld, RunsEveryCollectiveAlone) {
  const auto world = SingleWorld();
  comm_test::CheckCollectives(*world);
  comm_test::CheckCounts(*world);
  for (const CommCount& count : world->Counts()) EXPECT_EQ(count.bytes_sent, 0);
}

}  // namespace
}  // namespace choir
