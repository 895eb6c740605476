// metrics.jsonl of real runs: every field is there and says what happened.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <set>

#include "base/config.h"
#include "optim/schedule.h"
#include "tests/train/run_fixture.h"
#include "train/config.h"

namespace choir::train_test {
namespace {

RunConfig StoredConfig(const std::string& run) {
  const auto config = LoadConfigFile<RunConfig>(run + "/config.yaml");
  EXPECT_TRUE(config.ok()) << config.status();
  return *config;
}

const std::string& MoeRun() {
  static const std::string run = [] {
    const std::string path = FreshPath("moe");
    const ProcessResult result =
        Choir(TrainArgs("moe-tiny", path, {"--train.steps=20", "--train.eval_interval=10"}));
    EXPECT_EQ(result.exit, 0) << result.err;
    return path;
  }();
  return run;
}

TEST(MetricsTest, EveryStepHasEveryField) {
  const Metrics metrics = ReadMetrics(MoeRun());
  ASSERT_EQ(metrics.steps.size(), 20u);
  for (const nlohmann::json& line : metrics.steps) {
    for (const char* key :
         {"step", "tokens", "loss", "balance_loss", "grad_norm", "lr", "seconds", "tokens_per_s",
          "mfu", "data_wait_s", "padding", "expert_load_max", "expert_load_mean"}) {
      ASSERT_TRUE(line.contains(key) && line[key].is_number()) << key << " in " << line.dump();
    }
    for (const char* key : {"parameters", "gradients", "optimizer", "activations", "workspace",
                            "communication", "total"}) {
      ASSERT_TRUE(line["memory"].contains(key)) << key;
      EXPECT_TRUE(line["memory"][key].is_number_integer()) << key;
    }
    EXPECT_EQ(line["language_tokens"].size(), 29u);
    EXPECT_EQ(line["data_digest"].get<std::string>().size(), 32u);
  }
}

TEST(MetricsTest, NumbersAgreeWithEachOther) {
  const RunConfig config = StoredConfig(MoeRun());
  int64_t tokens = 0, step = 0;
  std::set<std::string> digests;
  for (const nlohmann::json& line : ReadMetrics(MoeRun()).steps) {
    EXPECT_EQ(line["step"], step + 1);
    EXPECT_EQ(
        line["lr"].get<double>(),
        config.optim.lr * ScheduleFactor(config.optim.schedule, AtStep(step, config.train.steps)));
    int64_t labels = 0;
    double nll = 0;
    for (const auto& [language, n] : line["language_tokens"].items()) {
      labels += n.get<int64_t>();
      EXPECT_EQ(n.get<int64_t>() > 0, line["language_loss"].contains(language)) << language;
      if (n > 0) nll += n.get<double>() * line["language_loss"][language].get<double>();
    }
    tokens += labels;
    EXPECT_EQ(line["tokens"], tokens);
    EXPECT_NEAR(line["loss"].get<double>(), nll / static_cast<double>(labels), 1e-12 * nll);
    EXPECT_NEAR(line["padding"].get<double>(), 1 - static_cast<double>(labels) / (8 * 64), 1e-12);
    EXPECT_NEAR(line["tokens_per_s"].get<double>() * line["seconds"].get<double>(),
                static_cast<double>(labels), 1e-6 * static_cast<double>(labels));
    EXPECT_GT(line["grad_norm"], 0);
    EXPECT_GT(line["balance_loss"], 0);
    EXPECT_GT(line["mfu"], 0);
    EXPECT_GE(line["expert_load_mean"], 1);
    EXPECT_GE(line["expert_load_max"], line["expert_load_mean"]);
    EXPECT_LE(line["expert_load_max"], config.model.moe.experts);
    digests.insert(line["data_digest"]);
    ++step;
  }
  EXPECT_EQ(digests.size(), 20u);
}

TEST(MetricsTest, MemoryIsThatOfTheModel) {
  const nlohmann::json memory = ReadMetrics(MoeRun()).steps.back()["memory"];
  EXPECT_GT(memory["parameters"], 0);
  // AdamW: two moments of the size of the gradients.
  EXPECT_EQ(memory["optimizer"].get<int64_t>(), 2 * memory["gradients"].get<int64_t>());
  EXPECT_GE(memory["parameters"], memory["gradients"]);  // and the balancing bias
  int64_t sum = 0;
  for (const auto& [key, bytes] : memory.items()) {
    if (key != "total") sum += bytes.get<int64_t>();
    EXPECT_LE(bytes, memory["total"]) << key;
  }
  EXPECT_LE(memory["total"], sum);
}

// P4: predicted = measured, and the fullest step is a step of the run.
TEST(MetricsTest, TheMemoryPlanWasExact) {
  const Metrics metrics = ReadMetrics(MoeRun());
  ASSERT_EQ(metrics.memory_plans.size(), 1u);
  const nlohmann::json& plan = metrics.memory_plans[0]["memory_plan"];
  EXPECT_EQ(plan["predicted"], plan["measured"]);
  const nlohmann::json& step = metrics.steps.at(plan["step"].get<size_t>() - 1);
  EXPECT_EQ(plan["measured"], step["memory"]);
  for (const nlohmann::json& other : metrics.steps) {
    EXPECT_LE(other["memory"]["total"], step["memory"]["total"]);
  }
}

TEST(MetricsTest, ValidationsComeAtTheirSteps) {
  const Metrics metrics = ReadMetrics(MoeRun());
  ASSERT_EQ(metrics.validations.size(), 2u * 29u);
  std::set<std::string> languages;
  for (size_t i = 0; i < metrics.validations.size(); ++i) {
    const nlohmann::json& line = metrics.validations[i];
    EXPECT_EQ(line["step"], i < 29 ? 10 : 20);
    EXPECT_EQ(line["eval"], "validation");
    languages.insert(line["language"].get<std::string>());
    EXPECT_GT(line["loss"], 0);
    EXPECT_GT(line["bits_per_byte"], 0);
    EXPECT_GT(line["unigram_loss"], 0);
    EXPECT_GE(line["labels"], 512);
  }
  EXPECT_EQ(languages.size(), 29u);
}

TEST(MetricsTest, TrainingLearns) {
  const Metrics metrics = ReadMetrics(MoeRun());
  EXPECT_NEAR(metrics.steps.front()["loss"].get<double>(), std::log(1030), 0.3);
  EXPECT_LT(metrics.steps.back()["loss"], metrics.steps.front()["loss"].get<double>() - 0.5);
}

TEST(MetricsTest, NumbersHaveSeventeenDigits) {
  for (const std::string& loss : ReadMetrics(MoeRun()).losses) {
    char text[32];
    std::snprintf(text, sizeof(text), "%.17g", std::stod(loss));
    EXPECT_EQ(loss, text);
  }
}

TEST(MetricsTest, ARampChangesTheRowsAndADenseModelHasNoExperts) {
  const std::string run = FreshPath("ramp");
  const ProcessResult result =
      Choir(TrainArgs("tiny", run,
                      {"--train.steps=6", "--train.batch_ramp.steps=4",
                       "--train.batch_ramp.start_sequences=2", "--train.microbatch_sequences=3"}));
  ASSERT_EQ(result.exit, 0) << result.err;
  const int64_t rows[] = {2, 3, 5, 6, 8, 8};  // 2 + 6 step / 4
  int64_t before = 0, i = 0;
  for (const nlohmann::json& line : ReadMetrics(run).steps) {
    const int64_t labels = line["tokens"].get<int64_t>() - before;
    before += labels;
    EXPECT_NEAR(static_cast<double>(labels) / (1 - line["padding"].get<double>()),
                static_cast<double>(rows[i++] * 64), 1e-6);
    EXPECT_FALSE(line.contains("expert_load_max"));
    EXPECT_EQ(line["balance_loss"], 0);
  }
  EXPECT_EQ(i, 6);
}

// A capacity that is never reached changes nothing; a small one drops choices, and says whose.
TEST(MetricsTest, DroppedChoices) {
  const auto run = [](const char* capacity) {
    const std::string path = FreshPath("capacity");
    const ProcessResult result =
        Choir(TrainArgs("moe-tiny", path,
                        {"--train.steps=5", "--checkpoint.interval=0",
                         std::string("--parallel.capacity_factor=") + capacity}));
    EXPECT_EQ(result.exit, 0) << result.err;
    return ReadMetrics(path);
  };
  const Metrics none = run("auto"), wide = run("8"), narrow = run("0.75");
  ASSERT_EQ(narrow.steps.size(), 5u);
  EXPECT_EQ(wide.losses, none.losses);
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_FALSE(none.steps[i].contains("dropped"));
    EXPECT_EQ(wide.steps[i]["dropped_total"], 0);
    EXPECT_EQ(wide.steps[i]["grad_norm"], none.steps[i]["grad_norm"]);
    int64_t total = 0, labels = 0;
    for (const auto& [language, n] : narrow.steps[i]["dropped"].items()) {
      total += n.get<int64_t>();
      labels += narrow.steps[i]["language_tokens"][language].get<int64_t>();
      // At most every choice of a token: 3 of experts in each of 2 layers.
      EXPECT_LE(n, 6 * narrow.steps[i]["language_tokens"][language].get<int64_t>()) << language;
    }
    EXPECT_EQ(narrow.steps[i]["dropped_total"], total);
    // 4 rows of 64 tokens and 3 choices: 8 experts take 72 of 768 / 8 = 96 on average.
    EXPECT_GE(total, 2 * (3 * labels - 2 * 8 * 72)) << "more than experts have room for";
  }
  EXPECT_NE(narrow.losses, none.losses);
}

}  // namespace
}  // namespace choir::train_test
