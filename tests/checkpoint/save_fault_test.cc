// Saving where it cannot succeed, and being killed while saving. Each case runs in a child process.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <chrono>
#include <functional>
#include <iostream>
#include <random>
#include <thread>

#include "checkpoint/integrity.h"
#include "tests/checkpoint/fixture.h"

namespace choir::checkpoint_test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::SizeIs;

// Runs `body` in a child; its text comes back. A child that crashes is a test failure.
std::string InChild(const std::function<std::string()>& body) {
  int ends[2];
  EXPECT_EQ(pipe(ends), 0);
  const pid_t child = fork();
  if (child == 0) {
    close(ends[0]);
    const std::string text = body();
    const bool sent = write(ends[1], text.data(), text.size()) == static_cast<ssize_t>(text.size());
    _exit(sent ? 0 : 1);
  }
  close(ends[1]);
  std::string text;
  char buffer[4096];
  for (ssize_t got; (got = read(ends[0], buffer, sizeof(buffer))) > 0;) {
    text.append(buffer, static_cast<size_t>(got));
  }
  close(ends[0]);
  int state = 0;
  EXPECT_EQ(waitpid(child, &state, 0), child);
  EXPECT_TRUE(WIFEXITED(state) && WEXITSTATUS(state) == 0) << "child state " << state;
  return text;
}

// "" if all is well after a failed save of step 2: a message with `reason` and a path, nothing left
// of step 2, step 1 intact, and a later save works once `heal` was called.
std::string CheckFailedSave(const std::string& run, const std::string& reason,
                            const std::function<void()>& heal) {
  const absl::Status status = SaveCheckpoint(run, SomeContents(2)).status();
  if (status.ok()) return "saved";
  const std::string message(status.message());
  if (message.find(reason) == message.npos || message.find(run) == message.npos) {
    return "wrong message: " + message;
  }
  const std::string folder = run + "/checkpoints";
  int entries = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder)) ++entries;
  if (entries != 1) return StrCat(entries, " entries are left after: ", message);
  const absl::Status before = Compare(folder + "/step-0000000001", SomeContents(1));
  if (!before.ok()) return before.ToString();
  heal();
  const auto again = SaveCheckpoint(run, SomeContents(2));
  if (!again.ok()) return "cannot save after the fault: " + again.status().ToString();
  const absl::Status after = Compare(*again, SomeContents(2));
  return after.ok() ? "" : after.ToString();
}

TEST(SaveFault, FileSizeLimitAtManyBytes) {
  int failures = 0;
  // The largest file has about 260 KiB: the limit falls into data, HDF5 structure, model view and
  // manifest.
  for (rlim_t limit = 0; limit < (rlim_t{300} << 10); limit += limit < 16384 ? 1021 : 19973) {
    RunFolder run;
    Save(run, SomeContents(1));
    const std::string verdict = InChild([&] {
      signal(SIGXFSZ, SIG_IGN);
      rlimit old;
      getrlimit(RLIMIT_FSIZE, &old);
      const rlimit tight{limit, old.rlim_max};
      setrlimit(RLIMIT_FSIZE, &tight);
      return CheckFailedSave(run.path(), "File too large", [&] { setrlimit(RLIMIT_FSIZE, &old); });
    });
    if (verdict == "saved") break;
    EXPECT_EQ(verdict, "") << "limit " << limit;
    ++failures;
  }
  EXPECT_GT(failures, 20);
}

// A user namespace in which this user is root; needs no privilege where the system allows it.
bool EnterUserNamespace() {
  const uid_t user = getuid();
  const gid_t group = getgid();
  if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return false;
  const auto put = [](const char* file, const std::string& text) {
    std::ofstream out(file);
    out << text << std::flush;
    return out.good();
  };
  return put("/proc/self/setgroups", "deny") &&
         put("/proc/self/uid_map", StrCat("0 ", user, " 1")) &&
         put("/proc/self/gid_map", StrCat("0 ", group, " 1"));
}

// A small file system of our own, as root or in a user namespace; false if neither is allowed.
bool MountSmall(const std::string& folder, int64_t bytes) {
  if (unshare(CLONE_NEWNS) != 0 && !EnterUserNamespace()) return false;
  mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
  return mount("none", folder.c_str(), "tmpfs", 0, StrCat("size=", bytes).c_str()) == 0;
}

TEST(SaveFault, FullDiskAtManySizes) {
  int failures = 0;
  for (int64_t room = 4096; room < (400 << 10); room += room < 32768 ? 4096 : 20480) {
    RunFolder run;
    const std::string verdict = InChild([&]() -> std::string {
      const int64_t large = 64 << 20;
      if (!MountSmall(run.path(), large)) return "no mount";
      if (!SaveCheckpoint(run.path(), SomeContents(1)).ok()) return "cannot save step 1";
      // A file takes all but `room` bytes.
      const std::string filler = run.path() + "/filler";
      std::ofstream out(filler, std::ios::binary);
      const std::string block(4096, 'x');
      const auto space = std::filesystem::space(run.path()).available;
      for (int64_t left = static_cast<int64_t>(space) - room; left >= 4096; left -= 4096) {
        out << block;
      }
      out.close();
      return CheckFailedSave(run.path(), "No space left on device",
                             [&] { std::filesystem::remove(filler); });
    });
    if (verdict == "no mount") {
      std::cout << "FullDiskAtManySizes: this machine lets no one mount a tmpfs; the full disk is "
                   "covered by FileSizeLimitAtManyBytes only\n";
      return;
    }
    if (verdict == "saved") break;
    EXPECT_EQ(verdict, "") << "room " << room;
    ++failures;
  }
  std::cout << "FullDiskAtManySizes: " << failures << " sizes on a tmpfs\n";
  EXPECT_GT(failures, 10);
}

TEST(SaveFault, ReadOnlyFolder) {
  RunFolder run;
  Save(run, SomeContents(1));
  const std::string folder = run.path() + "/checkpoints";
  const std::string verdict = InChild([&] {
    // Root may write everywhere: become an ordinary user, in a folder that is readable only.
    chmod(folder.c_str(), 0555);
    if (getuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0)) return std::string("setuid");
    const absl::Status status = SaveCheckpoint(run.path(), SomeContents(2)).status();
    if (!absl::IsPermissionDenied(status)) return "status: " + status.ToString();
    if (status.message().find("/checkpoints/.tmp-2-") == status.message().npos) {
      return "path: " + status.ToString();
    }
    const absl::Status before = Compare(folder + "/step-0000000001", SomeContents(1));
    return before.ok() ? std::string() : before.ToString();
  });
  chmod(folder.c_str(), 0755);
  EXPECT_EQ(verdict, "");
}

// Saves steps from `step` on until killed, keeping three; each published step goes to
// `acknowledge`.
[[noreturn]] void SaveForEver(const std::string& run, int64_t step, int acknowledge) {
  while (true) {
    if (!SaveCheckpoint(run, SomeContents(step)).ok()) _exit(3);
    if (write(acknowledge, &step, sizeof(step)) != sizeof(step)) _exit(4);
    if (!PruneCheckpoints(run, 3).ok()) _exit(5);
    ++step;
  }
}

bool IsSaving(const std::string& run) {
  std::error_code vanished;  // the child renames and removes entries meanwhile
  std::filesystem::directory_iterator entry(run + "/checkpoints", vanished), end;
  for (; !vanished && entry != end; entry.increment(vanished)) {
    if (entry->path().filename().string().starts_with(".tmp-")) return true;
  }
  return false;
}

TEST(SaveFault, KilledAtRandomMoments) {
  constexpr int kKills = 64;
  RunFolder run;
  std::mt19937 random(12345);
  const auto start = std::chrono::steady_clock::now();
  for (int64_t step = 1; step <= 5; ++step) Save(run, SomeContents(step));
  const auto one_save = std::chrono::duration_cast<std::chrono::microseconds>(
                            std::chrono::steady_clock::now() - start) /
                        5;
  int64_t acknowledged = 5;
  int left_temporaries = 0, saves = 0;
  for (int kill_number = 0; kill_number < kKills; ++kill_number) {
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    const pid_t child = fork();
    if (child == 0) SaveForEver(run.path(), acknowledged + 1, ends[1]);
    close(ends[1]);
    // Some saves are seen through; the next is hit at a random moment after it began, however slow
    // or busy the machine is.
    int64_t step = 0;
    for (auto wanted = random() % 3; wanted > 0; --wanted) {
      ASSERT_EQ(read(ends[0], &step, sizeof(step)), static_cast<ssize_t>(sizeof(step)));
      acknowledged = step;
      ++saves;
    }
    const auto patience = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!IsSaving(run.path()) && std::chrono::steady_clock::now() < patience) {
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
    std::this_thread::sleep_for(one_save * static_cast<double>(random() % 1000) / 1000);
    kill(child, SIGKILL);
    while (read(ends[0], &step, sizeof(step)) == sizeof(step)) {
      acknowledged = step;
      ++saves;
    }
    close(ends[0]);
    int state = 0;
    ASSERT_EQ(waitpid(child, &state, 0), child);
    ASSERT_TRUE(WIFSIGNALED(state)) << "the child ended by itself: " << WEXITSTATUS(state);
    const auto cleaned = CleanTemporaries(run.path());
    ASSERT_TRUE(cleaned.ok()) << cleaned.status();
    left_temporaries += !cleaned->empty();
    const auto entries = ListCheckpoints(run.path());
    ASSERT_TRUE(entries.ok());
    for (const CheckpointEntry& entry : *entries) {
      ASSERT_TRUE(entry.status.ok()) << entry.status;
      ASSERT_TRUE(VerifyCheckpoint(entry.path).status().ok());
      ASSERT_TRUE(Compare(entry.path, SomeContents(entry.step)).ok());
    }
    ASSERT_FALSE(entries->empty());
    // Published and not acknowledged is possible, acknowledged and not published is not.
    ASSERT_GE(entries->back().step, acknowledged);
    ASSERT_LE(entries->back().step, acknowledged + 1);
    acknowledged = entries->back().step;
  }
  std::cout << "KilledAtRandomMoments: " << kKills << " kills, " << saves << " saves, "
            << left_temporaries << " kills left a temporary folder\n";
  EXPECT_GT(saves, kKills / 2);
  EXPECT_GT(left_temporaries, 10) << "kills did not hit saves";
}

}  // namespace
}  // namespace choir::checkpoint_test
