#include "plan/hardware.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/file.h"
#include "tests/plan/time_fixture.h"

namespace choir {
namespace {

std::string TestFile(const char* name) {
  return (std::filesystem::path(testing::TempDir()) / name).string();
}

TEST(HardwareTest, SavedNumbersReadBackEqual) {
  Hardware hardware = RoundHardware();
  hardware.sources = {"a data sheet: page 1", "measured"};
  hardware.watts = 1e3 / 3;
  hardware.links.algorithm = CollectiveAlgorithm::kHierarchical;
  const std::string path = TestFile("hardware_saved.yaml");
  ASSERT_TRUE(SaveHardware(hardware, path).ok());
  const auto loaded = LoadHardware(path);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_TRUE(ConfigDiff(*loaded, hardware).empty());
}

TEST(HardwareTest, MistakesAreNamedWithTheirLine) {
  const std::string path = TestFile("hardware_wrong.yaml");
  ASSERT_TRUE(WriteFileAtomic(path,
                              "name: x\n"
                              "memory: {bytes: 1, bytes_per_second: 1, eficiency: 1}\n"
                              "overlap: {hideable: 2}\n")
                  .ok());
  const std::string message(LoadHardware(path).status().message());
  EXPECT_NE(message.find("hardware_wrong.yaml:2:41: unknown key 'memory.eficiency'"),
            std::string::npos)
      << message;
  EXPECT_NE(message.find("hardware_wrong.yaml:3:21: overlap.hideable must be at most 1"),
            std::string::npos)
      << message;
  EXPECT_NE(message.find("products must give the FLOP/s"), std::string::npos) << message;
}

TEST(HardwareTest, FormatsWithoutUnitsRunInTheNextWiderOne) {
  Hardware hardware = RoundHardware();
  const ProductRate* bf16 = &hardware.products.bf16;
  for (const MatmulFormat format :
       {MatmulFormat::kF16, MatmulFormat::kFp8Block, MatmulFormat::kMxfp8, MatmulFormat::kFull}) {
    EXPECT_EQ(&RateOf(hardware, format), bf16);
  }
  hardware.products.full.flops = 10;
  hardware.products.fp8_block.flops = 2000;
  EXPECT_EQ(&RateOf(hardware, MatmulFormat::kFull), &hardware.products.full);
  EXPECT_EQ(&RateOf(hardware, MatmulFormat::kMxfp8), &hardware.products.fp8_block);
  EXPECT_EQ(&RateOf(hardware, MatmulFormat::kBF16), bf16);
}

TEST(HardwareTest, ShippedFilesLoad) {
  int files = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(CHOIR_SOURCE_DIR "/configs/hardware")) {
    const auto hardware = LoadHardware(entry.path().string());
    ASSERT_TRUE(hardware.ok()) << hardware.status();
    EXPECT_FALSE(hardware->sources.empty()) << entry.path();
    EXPECT_GT(hardware->products.bf16.flops, hardware->products.full.flops) << entry.path();
    EXPECT_GT(hardware->links.intra_node.bytes_per_second,
              hardware->links.inter_node.bytes_per_second)
        << entry.path();
    ++files;
  }
  EXPECT_GE(files, 5);
}

}  // namespace
}  // namespace choir
