#include "data/order/data_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/hash.h"
#include "data/order/skip.h"

namespace choir {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::vector<DocumentStream> kStreams = {{0, kAllSources, "de", 3, 300},
                                              {1, kAllSources, "en", 10, 1000}};

DataPlan MakePlan() {
  DataPlan plan;
  plan.mixture = {{{0, {3, 1}}, {500, {0, 7}}}, {-1, 20}};
  plan.skip_documents = {4, 9};
  plan.skip_batches = {{5, 8}, {12, 13}};
  return plan;
}

TEST(DataPlan, SaysWhatIsLeftOut) {
  const DataPlan plan = MakePlan();
  EXPECT_TRUE(plan.SkipsDocument(9));
  EXPECT_FALSE(plan.SkipsDocument(5));
  for (int64_t b = 0; b < 20; ++b) {
    EXPECT_EQ(plan.SkipsBatch(b), (b >= 5 && b < 8) || b == 12) << b;
  }
}

TEST(DataPlan, TheLedgerSurvivesJson) {
  DataLedger ledger = {{0, MakePlan()}, {40, MakePlan()}};
  ledger[1].plan.mixture.phases[0].weights = {1, 1};
  const auto read = LedgerFromJson(LedgerToJson(ledger, kStreams), kStreams);
  ASSERT_EQ(read.status(), absl::OkStatus());
  EXPECT_EQ(*read, ledger);
}

TEST(DataPlan, DamageIsFound) {
  const nlohmann::json good = LedgerToJson({{0, MakePlan()}}, kStreams);
  ASSERT_EQ(LedgerFromJson(good, kStreams).status(), absl::OkStatus());
  const auto with = [&](const char* pointer, const nlohmann::json& value) {
    nlohmann::json damaged = good;
    damaged[nlohmann::json::json_pointer(pointer)] = value;
    return damaged;
  };
  for (const nlohmann::json& damaged :
       {nlohmann::json::array(), nlohmann::json("x"), with("/0/step", 1), with("/0/step", "0"),
        with("/0/mixture/0/from_tokens", 3), with("/0/mixture/1/from_tokens", 0),
        with("/0/mixture/0/weights/fr", 1), with("/0/mixture/0/weights/de", -1),
        with("/0/mixture/1/weights", nlohmann::json::object()), with("/0/skip_batches/0/0", 9),
        with("/0/skip_documents/0", 99), with("/0/most_documents/en", "many")}) {
    EXPECT_TRUE(absl::IsInvalidArgument(LedgerFromJson(damaged, kStreams).status())) << damaged;
  }
}

TEST(DataPlan, ChangesAreDescribed) {
  DataPlan after = MakePlan();
  after.mixture.phases[0].weights = {1, 1};
  after.skip_documents.clear();
  after.skip_batches = {{5, 8}};
  EXPECT_THAT(DescribeChange(MakePlan(), after, kStreams),
              ElementsAre("share of de from token 0 on: 75.000 % -> 50.000 %",
                          "share of en from token 0 on: 25.000 % -> 50.000 %",
                          "documents left out: 2 -> 0", "batches left out: 5-7"));
  EXPECT_THAT(DescribeChange(after, after, kStreams), ElementsAre());
}

TEST(Skip, ListsAreSortedAndJoined) {
  DataPlan plan;
  PlanSkips({{"doc-b", "#00000000000000ff"}, {"7", "30-40", "8-9", "35-50"}}, plan);
  EXPECT_TRUE(plan.SkipsDocument(0xff));
  EXPECT_TRUE(plan.SkipsDocument(HashOf64("doc-b")));
  EXPECT_FALSE(plan.SkipsDocument(HashOf64("doc-a")));
  EXPECT_THAT(plan.skip_batches, ElementsAre(std::pair(7, 10), std::pair(30, 51)));
}

TEST(Skip, MistakesAreNamed) {
  const auto tree = ConfigTree::ParseString(
      "documents: [\"#12\", \"#00000000000000fg\"]\nbatches: [\"9-8\", \"x\", \"-3\", \"1-\"]\n",
      "s.yaml");
  const std::string message{LoadConfig<SkipConfig>(*tree).status().message()};
  for (const char* part : {"'#12'", "'#00000000000000fg'", "'9-8'", "'x'", "'-3'", "'1-'"}) {
    EXPECT_THAT(message, HasSubstr(part));
  }
}

}  // namespace
}  // namespace choir
