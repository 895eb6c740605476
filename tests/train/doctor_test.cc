#include "train/doctor.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/strings.h"
#include "tests/train/run_fixture.h"

namespace choir::train_test {
namespace {

constexpr double kSecondsEach = 0.001;

// Anything that computes at all; machines differ, and tests share theirs.
void ExpectPlausible(const Hardware& h) {
  const ProductRates& products = h.products;
  EXPECT_GT(products.full.flops, 1e6);
  EXPECT_LT(products.full.flops, 1e16);
  for (const ProductRate* rate :
       {&products.full, &products.bf16, &products.f16, &products.fp8_block, &products.mxfp8}) {
    EXPECT_GT(rate->flops * rate->efficiency, 1e5);
  }
  EXPECT_GT(h.attention.efficiency, 0);
  EXPECT_GT(h.grouped_efficiency, 0);
  EXPECT_GT(h.memory.bytes, 1e6);
  EXPECT_GT(h.memory.bytes_per_second, 1e6);
  EXPECT_GT(h.host.kernel_seconds, 0);
  EXPECT_LT(h.host.kernel_seconds, 0.1);
}

TEST(DoctorTest, TheMeasuredFileLoadsSlow) {
  const Measurement measured = MeasureMachine(nullptr, kSecondsEach);
  ExpectPlausible(measured.hardware);
  EXPECT_EQ(measured.hardware.links.intra_node.bytes_per_second, 0) << "one rank has no links";
  const std::string path = FreshPath("doctor");
  ASSERT_TRUE(SaveHardware(measured.hardware, path).ok());
  const auto loaded = LoadHardware(path);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_TRUE(ConfigDiff(*loaded, measured.hardware).empty());
  // Every kernel that was timed has told what it did.
  for (const TimedWork& sample : measured.kernels) {
    EXPECT_GT(sample.seconds, 0);
    EXPECT_GT(sample.works.back().bytes, 0) << sample.works.back().name;
  }
  EXPECT_NE(DescribeMeasurement(measured).find("products"), std::string::npos);
}

TEST(DoctorTest, LocalRanksHaveLinksSlow) {
  const auto measured = MeasureThreads(2, kSecondsEach);
  ASSERT_TRUE(measured.ok()) << measured.status();
  ExpectPlausible(measured->hardware);
  const Links& links = measured->hardware.links;
  EXPECT_EQ(links.ranks_per_node, 2);
  EXPECT_GT(links.intra_node.bytes_per_second, 1e5);
  EXPECT_EQ(links.inter_node.bytes_per_second, 0);
  EXPECT_EQ(measured->exchanges.size(), 5u * 5u) << "five kinds of five sizes";
}

TEST(DoctorTest, SaysWhatThereIs) {
  const ProcessResult result = Choir({"doctor"});
  EXPECT_EQ(result.exit, 0) << result.err;
  for (const char* what : {"choir ", "processor", "memory", "ranks", "BLAS", "MPI", "HDF5"}) {
    EXPECT_NE(result.out.find(what), std::string::npos) << what << "\n" << result.out;
  }
}

TEST(DoctorTest, MistakesEndBeforeAnythingIsMeasured) {
  const std::string folder = FreshPath("doctor_folder");
  const std::vector<std::vector<std::string>> mistakes = {
      {"doctor", "--out", "x.yaml"},
      {"doctor", "--ranks", "2"},
      {"doctor", "--measure", "--ranks", "1"},
      {"doctor", "--measure", "--threads", "0"},
      {"doctor", "--measure", "--out", StrCat(folder, "/no/such/x.yaml")},
      {"doctor", "--measure", "--out", folder},
      {"doctor", "--train.steps=3"},
      {"doctor", "extra"}};
  std::filesystem::create_directories(folder);
  for (const auto& arguments : mistakes) {
    const ProcessResult result = Choir(arguments);
    EXPECT_EQ(result.exit, 2) << arguments.back();
    EXPECT_NE(result.err, "") << arguments.back();
    EXPECT_EQ(result.out, "") << arguments.back();
  }
}

}  // namespace
}  // namespace choir::train_test
