// A damaged checkpoint is refused with a message of its own that names the file and what is lost,
// and the one before it still loads.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "checkpoint/integrity.h"
#include "tests/checkpoint/fixture.h"

namespace choir::checkpoint_test {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

class Damage : public ::testing::Test {
 protected:
  void SetUp() override {
    older_path_ = Save(run_, older_);
    path_ = Save(run_, contents_);
    shard_ = path_ + "/shard-00000.h5";
    manifest_path_ = path_ + "/manifest.json";
    bytes_ = Read(shard_);
    const auto checkpoint = OpenCheckpoint(path_);
    ASSERT_TRUE(checkpoint.ok());
    manifest_ = checkpoint->manifest;
  }

  // What loading says; targets must be untouched.
  std::string LoadMessage() {
    std::vector<NamedTensor> targets = TargetsOf(contents_);
    const absl::Status status = LoadTensors({path_, manifest_}, targets);
    EXPECT_TRUE(absl::IsDataLoss(status)) << status;
    const std::vector<NamedTensor> untouched = TargetsOf(contents_);
    for (size_t i = 0; i < targets.size(); ++i) {
      EXPECT_TRUE(SameBits(targets[i].tensor, untouched[i].tensor)) << targets[i].name;
    }
    EXPECT_TRUE(absl::IsDataLoss(LoadBlobs({path_, manifest_}).status()));
    EXPECT_TRUE(absl::IsDataLoss(VerifyCheckpoint(path_).status()));
    return std::string(status.message());
  }

  // The older checkpoint is what a run falls back to.
  void ExpectFallBack() {
    const auto latest = FindLatest(run_.path());
    ASSERT_TRUE(latest.ok()) << latest.status();
    EXPECT_EQ(latest->checkpoint.path, older_path_);
    ASSERT_THAT(latest->warnings, SizeIs(1));
    EXPECT_THAT(latest->warnings[0], HasSubstr(path_));
    EXPECT_TRUE(Compare(older_path_, older_).ok());
  }

  const StoredBytes& DataOf(const std::string& tensor) {
    for (const TensorRecord& record : manifest_.tensors) {
      if (record.name == tensor) return record.pieces[0].data;
    }
    ADD_FAILURE() << tensor;
    return manifest_.tensors[0].pieces[0].data;
  }

  RunFolder run_;
  CheckpointContents older_ = SomeContents(10), contents_ = SomeContents(20);
  std::string older_path_, path_, shard_, manifest_path_, bytes_;
  Manifest manifest_;
};

TEST_F(Damage, AFlippedBitInATensorNamesThatTensorOnly) {
  for (const char* name : {"model/embed", "model/scale", "model/layers.0/attn/k", "optim/count"}) {
    const StoredBytes& data = DataOf(name);
    for (const int64_t at : {int64_t{0}, data.bytes / 2, data.bytes - 1}) {
      std::string bad = bytes_;
      bad[static_cast<size_t>(data.offset + at)] ^= 4;
      Write(shard_, bad);
      const std::string message = LoadMessage();
      EXPECT_THAT(message, AllOf(HasSubstr(shard_ + ": checksum differs"),
                                 HasSubstr(StrCat("lost with it: ", name))));
      EXPECT_THAT(VerifyCheckpoint(path_).damaged, ElementsAre(name));
    }
  }
}

TEST_F(Damage, AFlippedBitAnywhereIsFound) {
  // Every region: all of the head, then samples up to the last byte.
  std::string bad = bytes_;
  int structure = 0, data = 0;
  for (size_t i = 0; i < bytes_.size(); i += i < 4096 ? 61 : 997) {
    const char saved = bad[i];
    bad[i] ^= static_cast<char>(1 << (i % 8));
    Write(shard_, bad);
    const std::string message = LoadMessage();
    EXPECT_THAT(message, HasSubstr(shard_ + ": checksum differs, damaged in ")) << i;
    (message.find("HDF5 structure") == message.npos ? data : structure) += 1;
    bad[i] = saved;
  }
  EXPECT_GT(structure, 10);
  EXPECT_GT(data, 100);
  // Loading goes by checksum, so the previous one is found by asking below this step.
  const auto latest = FindLatest(run_.path(), 19);
  ASSERT_TRUE(latest.ok());
  EXPECT_TRUE(Compare(latest->checkpoint.path, older_).ok());
}

TEST_F(Damage, AZeroedPageIsFound) {
  for (size_t page = 0; page + 4096 <= bytes_.size(); page += 4096) {
    std::string bad = bytes_;
    bad.replace(page, 4096, 4096, '\0');
    if (bad == bytes_) continue;  // already zero
    Write(shard_, bad);
    EXPECT_THAT(LoadMessage(), HasSubstr(shard_)) << page;
  }
}

TEST_F(Damage, ATruncatedShard) {
  const StoredBytes& data = DataOf("optim/embed/m");
  Write(shard_, bytes_.substr(0, static_cast<size_t>(data.offset + data.bytes / 2)));
  EXPECT_THAT(LoadMessage(),
              AllOf(HasSubstr(shard_ + ": is truncated to"), HasSubstr("optim/embed/m")));
  ExpectFallBack();
  for (const size_t size : {bytes_.size() - 1, size_t{100}, size_t{0}}) {
    Write(shard_, bytes_.substr(0, size));
    EXPECT_THAT(LoadMessage(), AllOf(HasSubstr(shard_), HasSubstr("optim/embed/m"))) << size;
    ExpectFallBack();
  }
  Write(shard_, bytes_ + "x");
  EXPECT_THAT(LoadMessage(), HasSubstr(shard_ + ": has grown"));
  ExpectFallBack();
}

TEST_F(Damage, AMissingShard) {
  std::filesystem::remove(shard_);
  EXPECT_THAT(LoadMessage(), AllOf(HasSubstr(shard_ + ": is missing"), HasSubstr("model/embed"),
                                   HasSubstr("optim/count"), HasSubstr("blobs/lanes/0")));
  ExpectFallBack();
}

TEST_F(Damage, ASwappedShard) {
  Write(shard_, Read(older_path_ + "/shard-00000.h5"));
  EXPECT_THAT(LoadMessage(), AllOf(HasSubstr(shard_), HasSubstr("model/embed"),
                                   AnyOf(HasSubstr("is another file than the one saved"),
                                         // One blob is the same in both steps.
                                         HasSubstr("checksum differs, damaged in 6 of 7 chunks"))));
  CheckpointContents other;
  other.step = 20;
  other.tensors = {{"model/x", Noise({1000, 100}, DType::kF32, 1)}};
  RunFolder elsewhere;
  std::filesystem::copy_file(Save(elsewhere, other) + "/shard-00000.h5", shard_,
                             std::filesystem::copy_options::overwrite_existing);
  EXPECT_THAT(LoadMessage(), AllOf(HasSubstr(shard_ + ": is another file than the one saved"),
                                   HasSubstr("model/embed")));
  ExpectFallBack();
}

TEST_F(Damage, LinksAndPipesAreRefused) {
  const std::string elsewhere = run_.path() + "/elsewhere.h5";
  std::filesystem::rename(shard_, elsewhere);
  std::filesystem::create_symlink(elsewhere, shard_);
  EXPECT_THAT(LoadMessage(), HasSubstr(shard_ + ": is not a regular file"));
  ExpectFallBack();
  std::filesystem::remove(shard_);
  ASSERT_EQ(mkfifo(shard_.c_str(), 0644), 0);
  EXPECT_THAT(LoadMessage(), HasSubstr(shard_ + ": is not a regular file"));
  std::filesystem::remove(shard_);
  std::filesystem::rename(elsewhere, shard_);
  EXPECT_TRUE(Compare(path_, contents_).ok());
  std::filesystem::rename(manifest_path_, elsewhere);
  std::filesystem::create_symlink(elsewhere, manifest_path_);
  EXPECT_TRUE(absl::IsDataLoss(OpenCheckpoint(path_).status()));
  ExpectFallBack();
}

TEST_F(Damage, ATamperedManifest) {
  std::string text = Read(manifest_path_);
  text[text.find("\"tokens\"") + 10] ^= 1;
  Write(manifest_path_, text);
  const absl::Status status = OpenCheckpoint(path_).status();
  EXPECT_TRUE(absl::IsDataLoss(status));
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr(manifest_path_), HasSubstr("seal does not match")));
  ExpectFallBack();
  std::filesystem::remove(manifest_path_);
  EXPECT_TRUE(absl::IsNotFound(OpenCheckpoint(path_).status()));
  ExpectFallBack();
}

TEST_F(Damage, AManifestOfAnotherStep) {
  std::filesystem::copy_file(older_path_ + "/manifest.json", manifest_path_,
                             std::filesystem::copy_options::overwrite_existing);
  const absl::Status status = OpenCheckpoint(path_).status();
  EXPECT_TRUE(absl::IsDataLoss(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("is the manifest of step 10"));
  ExpectFallBack();
}

TEST_F(Damage, ADamagedModelViewIsReportedButNotNeeded) {
  const std::string view = path_ + "/model.h5";
  Write(view, "not HDF5");
  EXPECT_THAT(std::string(VerifyCheckpoint(path_).status().message()), HasSubstr(view));
  EXPECT_TRUE(Compare(path_, contents_).ok());
  std::filesystem::remove(view);
  EXPECT_TRUE(Compare(path_, contents_).ok());
}

TEST_F(Damage, NoCheckpointLeft) {
  std::filesystem::remove(shard_);
  std::filesystem::remove(older_path_ + "/shard-00000.h5");
  const absl::Status status = FindLatest(run_.path()).status();
  EXPECT_TRUE(absl::IsNotFound(status));
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr(path_), HasSubstr(older_path_)));
}

}  // namespace
}  // namespace choir::checkpoint_test
