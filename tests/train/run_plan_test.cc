// `choir plan`: published configs in seconds, what it prints, advice, search, wrong input.
#include "train/run_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/strings.h"
#include "tests/train/run_fixture.h"
#include "train/plan_advice.h"

namespace choir::train_test {
namespace {

using ::testing::HasSubstr;
using Strings = std::vector<std::string>;

ProcessResult Plan(const std::string& name, const Strings& more) {
  Strings arguments = {"plan", ConfigPath(name)};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return Choir(arguments);
}

nlohmann::json PlanAsJson(const std::string& name, Strings more) {
  more.push_back("--json");
  const ProcessResult result = Plan(name, more);
  EXPECT_EQ(result.exit, 0) << result.err;
  return nlohmann::json::parse(result.out);
}

struct Published {
  const char* name;
  int world;
  double billions, active_billions;  // of this config's model
};

TEST(RunPlanTest, PublishedConfigs) {
  for (const Published& p : {Published{"gpt3-175b", 1536, 174.6, 174.6},
                             {"llama3-405b", 8192, 405.9, 405.9},
                             {"mixtral-8x7b", 64, 46.7, 12.88},
                             {"deepseek-v3-671b", 2048, 674.8, 41.36},
                             {"deepseek-v4-flash-284b", 256, 290.9, 20.4},
                             {"moe-1t-256x32", 2048, 996.3, 138.1}}) {
    SCOPED_TRACE(p.name);
    const nlohmann::json plan = PlanAsJson(p.name, {"--world", std::to_string(p.world), "--ranks",
                                                    "0," + std::to_string(p.world - 1)});
    EXPECT_NEAR(plan["parameters"].get<double>() / 1e9, p.billions, 1e-3 * p.billions);
    EXPECT_NEAR(plan["active_parameters"].get<double>() / 1e9, p.active_billions,
                1e-3 * p.active_billions);
    for (const auto& rank : plan["ranks"]) {
      int64_t sum = 0, most = 0;
      for (const auto& [category, bytes] : rank["memory"].items()) {
        if (category == "total" || category == "host") continue;
        sum += bytes.get<int64_t>();
        most = std::max(most, bytes.get<int64_t>());
      }
      EXPECT_LE(rank["memory"]["total"].get<int64_t>(), sum);
      EXPECT_GE(rank["memory"]["total"].get<int64_t>(), most);
      EXPECT_GT(rank["flops"].get<double>(), 0);
      EXPECT_FALSE(rank["sent"].empty());
    }
  }
}

// Every rank is run: what they compute adds up to the model's FLOPs, and their parameters to the
// model's, each as often as it is held.
TEST(RunPlanTest, RanksAddUp) {
  const Strings layout = {"--world",
                          "4",
                          "--ranks",
                          "0,1,2,3",
                          "--parallel.tensor=2",
                          "--parallel.pipeline=2",
                          "--train.microbatch_sequences=1",
                          "--data.path=nowhere",
                          "--model.vocab_size=512"};
  const nlohmann::json plan = PlanAsJson("tiny", layout);
  double flops = 0;
  for (const auto& rank : plan["ranks"]) flops += rank["flops"].get<double>();
  // Norms, softmax and updates are not in the model's.
  EXPECT_NEAR(flops, plan["model_flops_per_step"].get<double>(), 0.02 * flops);
}

TEST(RunPlanTest, SlowTimeAndAdvice) {
  const nlohmann::json plan =
      PlanAsJson("mixtral-8x7b", {"--world", "64", "--hardware", "a100-40gb"});
  EXPECT_FALSE(plan["fits"].get<bool>());
  EXPECT_GT(plan["time"]["step_seconds"].get<double>(), 0);
  EXPECT_GT(plan["time"]["mfu"].get<double>(), 0);
  EXPECT_LT(plan["time"]["mfu"].get<double>(), 1);
  double before = 0;
  ASSERT_FALSE(plan["ways_to_fit"].empty());
  for (const auto& way : plan["ways_to_fit"]) {
    EXPECT_TRUE(way["fits"].get<bool>());
    EXPECT_GE(way["step_seconds"].get<double>(), before);
    before = way["step_seconds"].get<double>();
  }
  // What is advised does fit when it is asked for.
  Strings advised = {"--world", "64", "--hardware", "a100-40gb"};
  for (const auto& change : plan["ways_to_fit"][0]["overrides"]) advised.push_back(change);
  EXPECT_TRUE(PlanAsJson("mixtral-8x7b", advised)["fits"].get<bool>());
}

TEST(RunPlanTest, WorstRoutingNeedsMore) {
  const Strings one = {"--world", "64", "--ranks", "0"};
  Strings worst = one, skewed = one, even = one;
  worst.insert(worst.end(), {"--routing", "worst"});
  skewed.insert(skewed.end(), {"--routing", "1.5"});
  even.insert(even.end(), {"--routing", "1"});
  const auto total = [](const nlohmann::json& plan) {
    return plan["ranks"][0]["memory"]["total"].get<int64_t>();
  };
  const int64_t balanced = total(PlanAsJson("mixtral-8x7b", one));
  EXPECT_EQ(total(PlanAsJson("mixtral-8x7b", even)), balanced);
  EXPECT_GT(total(PlanAsJson("mixtral-8x7b", skewed)), balanced);
  EXPECT_GT(total(PlanAsJson("mixtral-8x7b", worst)), 2 * balanced);
  EXPECT_GT(total(PlanAsJson("mixtral-8x7b", worst)), total(PlanAsJson("mixtral-8x7b", skewed)));
}

TEST(RunPlanTest, SlowSearchRanksLayoutsThatFitFirst) {
  Strings arguments = {"--world", "16", "--search", "--model.layers=8"};
  const nlohmann::json layouts = PlanAsJson("mixtral-8x7b", arguments);
  ASSERT_GE(layouts.size(), 3u);
  bool fits = true;
  double before = 0;
  for (const auto& layout : layouts) {
    if (fits && !layout["fits"].get<bool>()) before = 0;
    EXPECT_LE(layout["fits"].get<bool>(), fits);
    fits = layout["fits"].get<bool>();
    EXPECT_GE(layout["step_seconds"].get<double>(), before);
    before = layout["step_seconds"].get<double>();
  }
}

TEST(RunPlanTest, SlowParetoTradesBytesForTime) {
  const nlohmann::json pareto =
      PlanAsJson("mixtral-8x7b", {"--world", "64", "--pareto", "--model.layers=8"});
  ASSERT_GE(pareto["points"].size(), 3u);
  EXPECT_EQ(pareto["points"][0]["added_seconds"], 0);
  for (size_t i = 1; i < pareto["points"].size(); ++i) {
    EXPECT_LT(pareto["points"][i]["bytes"], pareto["points"][i - 1]["bytes"]);
    EXPECT_GE(pareto["points"][i]["added_seconds"], pareto["points"][i - 1]["added_seconds"]);
  }
}

TEST(RunPlanTest, ABudgetIsKept) {
  const Strings one = {"--data.path=nowhere", "--model.vocab_size=512",
                       "--train.microbatch_sequences=1", "--model.layers=6"};
  const auto total = [&](const std::string& recompute) {
    Strings arguments = one;
    arguments.push_back("--train.recompute=[" + recompute + "]");
    return PlanAsJson("tiny", arguments)["ranks"][0]["memory"]["total"].get<int64_t>();
  };
  const int64_t none = total("none"), full = total("full");
  const int64_t kib = (none + full) / 2 / 1024, budget = 1024 * kib;
  const int64_t kept = total(StrCat("'budget=", kib, "KiB'"));
  EXPECT_LE(kept, budget);
  EXPECT_GT(kept, full - (none - full) / 2);
  Strings arguments = one;
  arguments.push_back("--train.recompute=['budget=1KiB']");
  const ProcessResult result = Plan("tiny", arguments);
  EXPECT_EQ(result.exit, 2);
  EXPECT_THAT(result.err, HasSubstr("train.recompute: budget of 1024 bytes: rank 0 needs some"));
}

TEST(RunPlanTest, WrongInputIsNamed) {
  const auto error = [](const std::string& name, const Strings& more) {
    const ProcessResult result = Plan(name, more);
    EXPECT_EQ(result.exit, 2) << result.out;
    return result.err;
  };
  EXPECT_THAT(error("mixtral-8x7b", {"--world", "60"}), HasSubstr("parallel."));
  EXPECT_THAT(error("mixtral-8x7b", {"--world", "64", "--hardware", "h1000"}),
              HasSubstr("--hardware: there is neither a file h1000 nor"));
  EXPECT_THAT(error("mixtral-8x7b", {"--world", "64", "--ranks", "64"}),
              HasSubstr("there is no rank 64 among 64"));
  EXPECT_THAT(error("mixtral-8x7b", {"--search"}), HasSubstr("needs --world"));
  EXPECT_THAT(error("mixtral-8x7b", {"--routing", "best"}),
              HasSubstr("--routing: best is neither balanced, worst, a number"));
  EXPECT_THAT(error("tiny", {"--data.path=nowhere", "--model.vocab_size=auto"}),
              HasSubstr("model.vocab_size is auto, and there are no data at nowhere"));
}

}  // namespace
}  // namespace choir::train_test
