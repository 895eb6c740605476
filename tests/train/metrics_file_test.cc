#include "train/metrics_file.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/train/run_fixture.h"
#include "train/exit_code.h"
#include "train/progress.h"
#include "train/run_directory.h"
#include "train/step_metrics.h"

namespace choir::train_test {
namespace {

TEST(JsonLineTest, WritesEveryKind) {
  JsonLine line;
  line.Add("i", int64_t{-9007199254740993}).Add("u", 7).Add("text", "a \"b\"\n\xff");
  line.Add("object", JsonLine().Add("x", 1)).Add("empty", JsonLine());
  EXPECT_EQ(line.text(),
            "{\"i\": -9007199254740993, \"u\": 7, \"text\": \"a \\\"b\\\"\\n\xef\xbf\xbd\", "
            "\"object\": {\"x\": 1}, \"empty\": {}}");
  EXPECT_TRUE(nlohmann::json::accept(line.text()));
}

TEST(JsonLineTest, DoublesReadBackEqual) {
  for (double value : {0.1, 1.0 / 3, -1e-310, 1e300, 5.0, 0.0, 123456789.123456789}) {
    const std::string text = JsonLine().Add("v", value).text();
    EXPECT_EQ(nlohmann::json::parse(text)["v"].get<double>(), value) << text;
  }
  for (double value : {std::nan(""), HUGE_VAL, -HUGE_VAL}) {
    EXPECT_EQ(JsonLine().Add("v", value).text(), "{\"v\": null}");
  }
}

JsonLine Line(int64_t step) { return JsonLine().Add("step", step); }

TEST(MetricsFileTest, AppendsAndKeepsUpToAStep) {
  const std::string path = FreshPath("metrics");
  {
    const auto file = MetricsFile::Open(path, 0);
    ASSERT_TRUE(file.ok()) << file.status();
    for (int64_t step : {1, 2, 2, 3}) ASSERT_EQ((*file)->Write(Line(step)), absl::OkStatus());
  }
  Write(path, Read(path) + "{\"step\": 1, \"lo");  // cut off by a kill
  {
    const auto file = MetricsFile::Open(path, 2);
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_EQ(Read(path), "{\"step\": 1}\n{\"step\": 2}\n{\"step\": 2}\n");
    ASSERT_EQ((*file)->Write(Line(3)), absl::OkStatus());
  }
  EXPECT_EQ(Read(path), "{\"step\": 1}\n{\"step\": 2}\n{\"step\": 2}\n{\"step\": 3}\n");
  ASSERT_TRUE(MetricsFile::Open(path, 0).ok());
  EXPECT_EQ(Read(path), "");
}

TEST(MetricsFileTest, NamesALineThatIsNone) {
  const std::string path = FreshPath("metrics");
  const std::string text = "{\"step\": 1}\nhello\n{\"step\": 2}\n";
  Write(path, text);
  const absl::Status status = MetricsFile::Open(path, 1).status();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_NE(status.message().find(path + ":2:"), std::string::npos) << status;
  EXPECT_EQ(Read(path), text);
}

TEST(MetricsFileTest, AFolderThatIsNotThereIsAnError) {
  EXPECT_FALSE(MetricsFile::Open(FreshPath("nowhere") + "/metrics.jsonl", 0).ok());
}

TEST(RunDirectoryTest, LocksOnce) {
  const std::string path = FreshPath("run") + "/deep";
  auto first = RunDirectory::Open(path, false);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(first->File("a"), path + "/a");
  EXPECT_TRUE(absl::IsFailedPrecondition(RunDirectory::Open(path, true).status()));
  { const RunDirectory moved = *std::move(first); }
  EXPECT_TRUE(RunDirectory::Open(path, true).ok());
  EXPECT_TRUE(RunDirectory::Open(path, false).ok()) << "a lock is no run yet";
  Write(path + "/config.yaml", "");
  EXPECT_TRUE(absl::IsAlreadyExists(RunDirectory::Open(path, false).status()));
  EXPECT_TRUE(RunDirectory::Open(path, true).ok());
}

TEST(ExitCodeTest, OfEveryKindOfError) {
  EXPECT_EQ(ExitCode(absl::OkStatus()), 0);
  EXPECT_EQ(ExitCode(absl::ResourceExhaustedError("")), 1);
  EXPECT_EQ(ExitCode(absl::PermissionDeniedError("")), 1);
  EXPECT_EQ(ExitCode(absl::InvalidArgumentError("")), 2);
  EXPECT_EQ(ExitCode(absl::NotFoundError("")), 2);
  EXPECT_EQ(ExitCode(absl::AlreadyExistsError("")), 2);
  EXPECT_EQ(ExitCode(absl::FailedPreconditionError("")), 2);
  EXPECT_EQ(ExitCode(absl::DataLossError("")), 3);
  EXPECT_EQ(ExitCode(absl::OutOfRangeError("")), 4);
}

TEST(ProgressTest, Formats) {
  EXPECT_EQ(FormatDuration(0.4), "0s");
  EXPECT_EQ(FormatDuration(59.6), "1m00s");
  EXPECT_EQ(FormatDuration(62), "1m02s");
  EXPECT_EQ(FormatDuration(2 * 3600 + 5 * 60 + 7), "2h05m");
  EXPECT_EQ(FormatBytes(512LL << 20), "512 MiB");
  EXPECT_EQ(FormatBytes(1536LL << 20), "1.50 GiB");
  EXPECT_EQ(FormatProgress({.step = 12,
                            .steps = 300,
                            .loss = 6.12341,
                            .tokens_per_s = 21345,
                            .mfu = 0.712,
                            .memory_bytes = 512LL << 20,
                            .seconds_left = 62}),
            "step 12/300  loss 6.1234  21.3k tok/s  MFU 71%  mem 512 MiB  ETA 1m02s");
}

TEST(ValidationTableTest, SaysTheMeanAndTheWorst) {
  const std::vector<LanguageLoss> losses = {
      {.language = "en", .loss = 4, .bits_per_byte = 2, .unigram_loss = 6, .labels = 100},
      {.language = "de", .loss = 5, .bits_per_byte = 3, .unigram_loss = 5.5, .labels = 300}};
  const std::string line = ValidationTable(7, losses, false);
  EXPECT_NE(line.find("after step 7: loss 4.7500 over 2 languages"), std::string::npos) << line;
  EXPECT_NE(line.find("0.5000 (de)"), std::string::npos) << line;
  EXPECT_EQ(line.find('\n'), std::string::npos);
  const std::string table = ValidationTable(7, losses, true);
  EXPECT_EQ(std::count(table.begin(), table.end(), '\n'), 3);
}

}  // namespace
}  // namespace choir::train_test
