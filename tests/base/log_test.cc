#include "base/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "base/file.h"
#include "base/strings.h"
#include "tests/base/scratch_folder.h"

namespace choir {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(Log, WritesLevelRankAndStepToStandardErrorAndFile) {
  const ScratchFolder folder;
  const std::string first = folder.path() + "/log/rank-5.txt",
                    second = folder.path() + "/other.txt";
  SetLogContext(5, 8);
  SetLogStep(40);
  ASSERT_TRUE(OpenLogFile(first).ok());
  testing::internal::CaptureStderr();
  LogInfo("hello {} 100%");
  LogWarning("slow");
  const std::string printed = testing::internal::GetCapturedStderr();
  ASSERT_TRUE(OpenLogFile(second).ok());
  LogError("broken");
  SetLogContext(0, 1);
  SetLogStep(0);

  const std::string line =
      "20[0-9-]+ [0-9:.]+ info \\[rank 5 step 40\\] hello \\{\\} 100%\n"
      "20[0-9-]+ [0-9:.]+ warning \\[rank 5 step 40\\] slow\n";
  EXPECT_THAT(printed, ContainsRegex(line));
  const std::string in_first = ReadFile(first).value();
  EXPECT_EQ(in_first, printed);
  EXPECT_THAT(in_first, Not(HasSubstr("broken")));
  EXPECT_THAT(ReadFile(second).value(), HasSubstr("error [rank 5 step 40] broken\n"));
}

TEST(Log, ErrorsToFileStayOffStandardError) {
  const ScratchFolder folder;
  const std::string path = folder.path() + "/quiet.txt";
  ASSERT_TRUE(OpenLogFile(path).ok());
  testing::internal::CaptureStderr();
  LogErrorToFile("the end");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  EXPECT_THAT(ReadFile(path).value(), HasSubstr("error [rank 0 step 0] the end\n"));
}

TEST(Log, ReportsAFileThatCannotBeOpened) {
  const absl::Status status = OpenLogFile("/proc/no/such/log.txt");
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("/proc/no/such/log.txt: cannot open the log file"));
}

TEST(Log, LinesOfThreadsStayWhole) {
  const ScratchFolder folder;
  const std::string path = folder.path() + "/threads.txt";
  ASSERT_TRUE(OpenLogFile(path).ok());
  testing::internal::CaptureStderr();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([t] {
      for (int i = 0; i < 100; ++i) LogInfo(StrCat("<", std::string(50, 'a' + t), ">"));
    });
  }
  for (std::thread& thread : threads) thread.join();
  testing::internal::GetCapturedStderr();
  std::string text = ReadFile(path).value();
  int whole = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\n', begin);
    const std::string line = text.substr(begin, end - begin);
    ASSERT_EQ(line.size(),
              std::string("2026-01-01 00:00:00.000 info [rank 0 step 0] ").size() + 52);
    ASSERT_EQ(line.back(), '>');
    ++whole;
    begin = end + 1;
  }
  EXPECT_EQ(whole, 400);
}

}  // namespace
}  // namespace choir
