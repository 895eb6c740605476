#include "base/file.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>

#include "tests/base/scratch_folder.h"

namespace choir {
namespace {

class FileTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(MakeDirectories(folder_ + "/a/b").ok()); }
  // Names in the folder, hidden ones too.
  int CountFiles() const {
    int count = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
      count += entry.is_regular_file();
    }
    return count;
  }
  ScratchFolder scratch_;
  const std::string folder_ = scratch_.path();
};

TEST_F(FileTest, WritesAndReplacesWholeFiles) {
  const std::string path = folder_ + "/f";
  std::string bytes(3'000'000, '\0');
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 31 >> 3);
  ASSERT_TRUE(WriteFileAtomic(path, bytes).ok());
  EXPECT_EQ(ReadFile(path).value(), bytes);
  ASSERT_TRUE(WriteFileAtomic(path, "").ok());
  EXPECT_EQ(ReadFile(path).value(), "");
  EXPECT_EQ(CountFiles(), 1);  // no temporary is left
}

TEST_F(FileTest, ReadsFilesWithoutASize) {
  EXPECT_NE(ReadFile("/proc/self/status").value().find("Pid:"), std::string::npos);
}

TEST_F(FileTest, ErrorsNamePathActionAndReason) {
  const std::string missing = folder_ + "/none/f";
  const absl::Status read = ReadFile(missing).status();
  EXPECT_EQ(read.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(read.message(), missing + ": cannot open: No such file or directory");

  EXPECT_EQ(ReadFile(folder_).status().message(), folder_ + ": cannot read: Is a directory");

  const absl::Status write = WriteFileAtomic(missing, "x");
  EXPECT_EQ(write.code(), absl::StatusCode::kNotFound);
  EXPECT_NE(std::string(write.message()).find("cannot create: No such file or directory"),
            std::string::npos);

  EXPECT_EQ(FsyncDirectory(missing).message(),
            missing + ": cannot open the folder: No such file or directory");
}

TEST_F(FileTest, FailedReplacementLeavesTheOldFileAndNoTemporary) {
  // A folder cannot be replaced by a file.
  const absl::Status status = WriteFileAtomic(folder_ + "/a", "x");
  EXPECT_EQ(status.message(), folder_ + "/a: cannot replace: Is a directory");
  EXPECT_EQ(CountFiles(), 0);
}

TEST_F(FileTest, FullDiskLeavesTheOldFileAndNoTemporary) {
  const std::string path = folder_ + "/f";
  ASSERT_TRUE(WriteFileAtomic(path, "old").ok());
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small = {1000, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const absl::Status status = WriteFileAtomic(path, std::string(5000, 'x'));
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
  EXPECT_NE(std::string(status.message()).find("cannot write: File too large"), std::string::npos)
      << status;
  EXPECT_EQ(ReadFile(path).value(), "old");
  EXPECT_EQ(CountFiles(), 1);
}

TEST_F(FileTest, MakesFoldersOnceAndRefusesAFileInTheWay) {
  EXPECT_TRUE(MakeDirectories(folder_ + "/a/b").ok());
  EXPECT_TRUE(std::filesystem::is_directory(folder_ + "/a/b"));
  ASSERT_TRUE(WriteFileAtomic(folder_ + "/f", "x").ok());
  const absl::Status status = MakeDirectories(folder_ + "/f/g");
  EXPECT_EQ(status.message(), folder_ + "/f/g: cannot create the folder: Not a directory");
}

}  // namespace
}  // namespace choir
