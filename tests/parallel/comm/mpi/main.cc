// Run by mpirun, one process a rank:
//
//   parallel_mpi_test ring|tree|check|cut     the collectives, in a world with this option
//   parallel_mpi_test huge                     more than 2^31 elements; 9 GB on 2 ranks, not in CI
//   parallel_mpi_test mismatch|hang|kill|abort
//                                              ranks that go wrong; faults_test.py looks at the end
#include <gtest/gtest.h>

#include <csignal>
#include <cstdio>
#include <numeric>
#include <string>

#include "parallel/comm/mpi_comm.h"
#include "tests/parallel/comm/collective_cases.h"

namespace choir {
namespace {

World* world = nullptr;

TEST(Mpi, Collectives) { comm_test::CheckCollectives(*world); }
TEST(Mpi, LongMessages) { comm_test::CheckLongMessages(*world); }
TEST(Mpi, ManyOutstanding) { comm_test::CheckManyOutstanding(*world); }
TEST(Mpi, Counts) { comm_test::CheckCounts(*world); }
TEST(Mpi, Grid) {
  if (world->size() == 8) comm_test::CheckGrid(*world);
}
TEST(Mpi, RanksOfOneHostAreOneNode) {
  EXPECT_TRUE(LaunchedByMpi());
  EXPECT_EQ(world->node_size(), world->size());
}

// A value for every 16-bit element, so that none can be in another's place.
uint16_t HugeValue(int64_t i) { return static_cast<uint16_t>(i * 40503 >> 7); }

int64_t WrongValues(const Tensor& x) {
  const auto* value = static_cast<const uint16_t*>(x.raw());
  int64_t wrong = 0;
  for (int64_t i = 0; i < x.NumElements(); ++i) wrong += value[i] != HugeValue(i);
  return wrong;
}

// Named apart, so that only its scenario runs it.
TEST(Huge, MoreElementsThanAnIntCounts) {
  std::vector<int> ranks(static_cast<size_t>(world->size()));
  std::iota(ranks.begin(), ranks.end(), 0);
  Communicator& all = world->Group(ranks, "everyone");
  const int64_t n = (int64_t{1} << 31) + 12345;
  const Tensor x = Tensor::Zeros({n}, {DType::kBF16});
  auto* value = static_cast<uint16_t*>(x.raw());
  const auto fill = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) value[i] = HugeValue(i);
  };
  if (world->rank() == 0) fill(0, n);
  all.Broadcast(x, 0).Wait();
  EXPECT_EQ(WrongValues(x), 0) << "broadcast";

  const std::vector<int64_t> counts = {n - 1000, 1000};  // most of it from one member
  const int64_t begin = world->rank() == 0 ? 0 : counts[0], mine = counts[world->rank()];
  x.Zero();
  fill(begin, begin + mine);
  all.AllGather(x, x.Rows(begin, mine), counts).Wait();
  EXPECT_EQ(WrongValues(x), 0) << "all-gather";
}

WorldOptions Options(const std::string& scenario) {
  WorldOptions options{.timeout_s = 60};
  if (scenario == "tree") options.sum_order = SumOrder::kTree;
  if (scenario == "check" || scenario == "mismatch") options.check = true;
  if (scenario == "cut") options.max_message_bytes = 40000;
  if (scenario == "hang") options.timeout_s = 0.5;
  if (scenario == "huge") options.timeout_s = 600;
  return options;
}

// False if `scenario` is none of those that go wrong.
bool GoWrong(const std::string& scenario) {
  std::vector<int> ranks(static_cast<size_t>(world->size()));
  std::iota(ranks.begin(), ranks.end(), 0);
  Communicator& all = world->Group(ranks, "everyone");
  const Tensor x = Tensor::Zeros({100000}, {});
  all.Barrier().Wait();
  const bool odd_one = world->rank() == 1;
  if (scenario == "mismatch") {
    (odd_one ? all.Broadcast(x, 0) : all.AllReduce(x, ReduceOp::kSum)).Wait();
  } else if (scenario == "hang") {
    if (!odd_one) all.AllReduce(x, ReduceOp::kSum).Wait();
  } else if (scenario == "kill") {
    for (int round = 0;; ++round) {
      all.AllReduce(x, ReduceOp::kSum).Wait();
      if (odd_one && round == 100) std::raise(SIGKILL);
    }
  } else if (scenario == "abort") {
    if (odd_one) world->Abort("the loss is not finite", 4);
    all.Barrier().Wait();
  } else {
    return false;
  }
  return true;
}

int Main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  const std::string scenario = argc > 1 ? argv[1] : "ring";
  auto opened = OpenMpi(&argc, &argv, Options(scenario));
  if (!opened.ok()) {
    std::fprintf(stderr, "%s\n", opened.status().ToString().c_str());
    return 1;
  }
  const std::unique_ptr<World> owner = *std::move(opened);
  world = owner.get();
  if (GoWrong(scenario)) return 0;
  auto& listeners = testing::UnitTest::GetInstance()->listeners();
  if (world->rank() != 0) delete listeners.Release(listeners.default_result_printer());
  GTEST_FLAG_SET(filter, scenario == "huge" ? "Huge.*" : "-Huge.*");
  const int result = RUN_ALL_TESTS();
  // Without its printer a rank that failed says so here.
  if (result != 0) std::fprintf(stderr, "rank %d: tests failed\n", world->rank());
  return result;
}

}  // namespace
}  // namespace choir

int main(int argc, char** argv) { return choir::Main(argc, argv); }
