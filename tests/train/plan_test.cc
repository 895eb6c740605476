// `choir plan --schedule`: from config or arguments, as chart or JSON.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/strings.h"
#include "tests/train/run_fixture.h"

namespace choir::train_test {
namespace {

using ::testing::HasSubstr;
using Strings = std::vector<std::string>;

ProcessResult PlanOf(const Strings& more) {
  Strings arguments = {"plan", std::string(CHOIR_SOURCE_DIR) + "/configs/tiny.yaml", "--schedule"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return Choir(arguments);
}

TEST(PlanTest, ArgumentsAndConfigSayTheSame) {
  const ProcessResult config =
      PlanOf({"--json", "--parallel.pipeline=2", "--parallel.schedule=zero_bubble",
              "--train.microbatch_sequences=1", "--data.batch_sequences=6"});
  const ProcessResult arguments =
      PlanOf({"--json", "--stages", "2", "--kind", "zero_bubble", "--microbatches", "6"});
  ASSERT_EQ(config.exit, 0) << config.err;
  EXPECT_EQ(config.out, arguments.out);
  const auto plan = nlohmann::json::parse(config.out);
  EXPECT_EQ(plan["kind"], "zero_bubble");
  EXPECT_EQ(plan["microbatches"], 6);
  EXPECT_EQ(plan["per_rank"].size(), 2u);
  for (const auto& rank : plan["per_rank"]) {
    EXPECT_EQ(rank["idle"], plan["bubble_formula"]);
    EXPECT_EQ(rank["busy"].get<double>() + rank["idle"].get<double>(), plan["makespan"]);
    EXPECT_EQ(rank["actions"].size(), 3u * 6);  // F, I, W
  }
}

TEST(PlanTest, MicrobatchesAreThoseOfADataRank) {
  const Strings config = {"--json", "--parallel.pipeline=2", "--train.microbatch_sequences=1",
                          "--data.batch_sequences=8"};
  Strings on_four = config;
  on_four.insert(on_four.end(), {"--world", "4"});
  EXPECT_EQ(nlohmann::json::parse(PlanOf(config).out)["microbatches"], 8);
  EXPECT_EQ(nlohmann::json::parse(PlanOf(on_four).out)["microbatches"], 4);
}

TEST(PlanTest, DrawsAChart) {
  const ProcessResult result = PlanOf({"--stages", "2", "--microbatches", "2"});
  ASSERT_EQ(result.exit, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("rank 0 F0 F1 .  .  B0--- .  B1---"));
  EXPECT_THAT(result.out, HasSubstr("formula   idle 3"));
}

TEST(PlanTest, SaysWhatIsMissingOrWrong) {
  const auto expect = [](const Strings& arguments, const std::string& error) {
    const ProcessResult result = PlanOf(arguments);
    EXPECT_EQ(result.exit, 2);
    EXPECT_THAT(result.err, HasSubstr(error));
    EXPECT_EQ(result.out, "");
  };
  expect({}, "parallel.pipeline is 1; set it, or give --stages");
  expect({"--parallel=auto"}, "parallel.auto_layout chooses when the job starts");
  expect({"--stages", "2", "--kind", "gpip"}, "'gpip' is no pipeline schedule");
  expect({"--stages", "9"}, "9 stages, but the model has 2 layers");
  expect({"--stages", "2", "--world", "3"}, "does not divide the job's 3 ranks");
}

}  // namespace
}  // namespace choir::train_test
