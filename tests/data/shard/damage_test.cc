// Damage to shards: every byte is covered, found when it is touched, and named.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <thread>

#include "base/file.h"
#include "base/hash.h"
#include "base/random.h"
#include "data/loader/loader.h"
#include "data/loader/validation.h"
#include "data/shard/hdf5_shard.h"
#include "data/shard/shard_reader.h"
#include "data/shard/token_corpus.h"
#include "data/shard/verify.h"
#include "tests/data/test_corpus.h"

namespace choir {
namespace {

using ::testing::HasSubstr;

// A corpus of one shard with several chunks of most arrays: 9000 documents in two languages.
class ShardDamageTest : public ::testing::Test {
 protected:
  static constexpr int64_t kDocuments = 9000;

  void SetUp() override {
    folder_ = testing_data::TempFolder("damage");
    CorpusIndex index;
    index.tokenizer = {"tokenizer.model", "none", 60000, 1, 2, 3};
    index.languages = {"de", "en"};
    index.sources = {"test"};
    for (auto& report : index.report) report.resize(2);
    ShardWriter writer(Split::kTrain, index.tokenizer);
    const CounterRandom random(1, "damage");
    for (int64_t d = 0; d < kDocuments; ++d) {
      std::vector<int32_t> tokens = {1};
      for (uint64_t i = 0; i < 20 + static_cast<uint64_t>(d) % 31; ++i) {
        tokens.push_back(
            static_cast<int32_t>(random.Below(static_cast<uint64_t>(d) << 8 | i, 60000)));
      }
      tokens.push_back(2);
      const auto id = static_cast<uint64_t>(1000 + d);
      writer.Add({d < 4000 ? 0 : 1, 0, 100 + d, id, id}, tokens);
    }
    index.shards.push_back(writer.Finish(folder_, "train-00000.h5", index).value());
    ASSERT_EQ(WriteCorpusIndex(folder_, index), absl::OkStatus());
    index_ = index;
    path_ = folder_ + "/train-00000.h5";
    whole_ = ReadFile(path_).value();
  }

  const ShardInfo& info() const { return index_.shards[0]; }
  ShardLayout layout() const { return ShardLayout::Of(info()).value(); }

  void Flip(int64_t byte, int bit) {
    std::string damaged = whole_;
    damaged[static_cast<size_t>(byte)] =
        static_cast<char>(damaged[static_cast<size_t>(byte)] ^ (1 << bit));
    testing_data::WriteText(path_, damaged);
  }

  std::string folder_, path_, whole_;
  CorpusIndex index_;
};

TEST_F(ShardDamageTest, TheArraysAndTheSealCoverEveryByte) {
  const ShardLayout layout = this->layout();
  int64_t covered = 0;
  for (const ShardLayout::Range& range : layout.outside()) covered += range.end - range.begin;
  for (const ShardArray array : kAllShardArrays) covered += layout.array(array).bytes;
  EXPECT_EQ(covered, static_cast<int64_t>(whole_.size()));
  EXPECT_EQ(info().file_bytes, static_cast<int64_t>(whole_.size()));
  EXPECT_GT(layout.array(ShardArray::kTokens).NumChunks(), 5);
  EXPECT_EQ(layout.array(ShardArray::kOffset).NumChunks(), 2);
  // Each checksum is the one that docs/data.md describes.
  const auto* const table =
      reinterpret_cast<const uint64_t*>(whole_.data() + layout.checksums_begin());
  for (const ShardArray array : kAllShardArrays) {
    const ShardLayout::Place& place = layout.array(array);
    for (int64_t c = 0; c < place.NumChunks(); ++c) {
      const int64_t begin = place.begin + 65536 * c;
      const int64_t size = std::min<int64_t>(65536, place.begin + place.bytes - begin);
      EXPECT_EQ(table[place.first_chunk + c],
                HashOf64(std::string_view(whole_).substr(begin, size)));
    }
  }
}

TEST_F(ShardDamageTest, VerifyNamesEveryFlippedBit) {
  const VerifyReport sound = VerifyShards(folder_, index_, 2).value();
  EXPECT_TRUE(sound.damage.empty()) << sound.damage[0].what;
  EXPECT_EQ(sound.chunks, layout().num_chunks());
  const CounterRandom random(1, "flips");
  uint64_t trial = 0;
  for (const ShardArray array : kAllShardArrays) {
    const ShardLayout::Place place = layout().array(array);
    for (int n = 0; n < 8; ++n) {
      // First and last byte, then anywhere.
      const auto bytes = static_cast<uint64_t>(place.bytes);
      const auto at = static_cast<int64_t>(n == 0   ? 0
                                           : n == 1 ? bytes - 1
                                                    : random.Below(trial++, bytes));
      Flip(place.begin + at, static_cast<int>(random.Below(trial++, 8)));
      const VerifyReport report = VerifyShards(folder_, index_, 2).value();
      ASSERT_EQ(report.damage.size(), 1u);
      const ShardDamage& damage = report.damage[0];
      EXPECT_EQ(damage.file, "train-00000.h5");
      EXPECT_EQ(damage.dataset, ShardArrayName(array));
      EXPECT_EQ(damage.chunk, at / 65536);
      EXPECT_LE(damage.begin, place.begin + at);
      EXPECT_GT(damage.end, place.begin + at);
      const int64_t element = at / place.element_bytes;
      if (array == ShardArray::kTokens) {
        const auto corpus = TokenCorpus::Open(folder_).value();
        EXPECT_LE(damage.first_document, damage.last_document);
        EXPECT_FALSE(damage.languages.empty());
      } else {
        EXPECT_LE(damage.first_document, element);
        EXPECT_GE(damage.last_document, std::min(element, kDocuments - 1));
      }
      const bool german = damage.first_document < 4000, english = damage.last_document >= 4000;
      EXPECT_EQ(damage.languages.size(), static_cast<size_t>(german) + english);
    }
  }
}

TEST_F(ShardDamageTest, TheHeaderAndMetadataAreVerifiedOnOpening) {
  const CounterRandom random(1, "header");
  const std::vector<ShardLayout::Range> outside = layout().outside();
  for (uint64_t trial = 0; trial < 60; ++trial) {
    const ShardLayout::Range range = outside[trial % outside.size()];
    const int64_t at =
        trial == 0 ? 0
                   : range.begin + static_cast<int64_t>(random.Below(
                                       trial, static_cast<uint64_t>(range.end - range.begin)));
    Flip(at, static_cast<int>(random.Below(1000 + trial, 8)));
    const absl::Status status = TokenCorpus::Open(folder_).status();
    ASSERT_TRUE(absl::IsDataLoss(status)) << at << ": " << status;
    ASSERT_THAT(std::string(status.message()), HasSubstr(path_ + ": damaged: header, metadata"));
    ASSERT_EQ(VerifyShards(folder_, index_, 1).value().damage.size(), 1u);
  }
  testing_data::WriteText(path_, whole_.substr(0, whole_.size() - 1));
  EXPECT_THAT(std::string(TokenCorpus::Open(folder_).status().message()),
              HasSubstr(path_ + ": damaged: has"));
  EXPECT_EQ(VerifyShards(folder_, index_, 1).value().damage.at(0).dataset, "file");
  std::filesystem::remove(path_);
  EXPECT_TRUE(absl::IsNotFound(TokenCorpus::Open(folder_).status()));
  EXPECT_EQ(VerifyShards(folder_, index_, 1).value().damage.size(), 1u);
}

TEST_F(ShardDamageTest, DocumentsBesideTheDamageAreSound) {
  const ShardLayout::Place place = layout().array(ShardArray::kTokens);
  Flip(place.ChunkBegin(2) + 7, 3);
  const auto corpus = TokenCorpus::Open(folder_).value();
  EXPECT_EQ(corpus->GetDocument(Split::kTrain, 0, 0)->token(0), 1);
  // Lengths are not in the damaged array.
  for (int64_t d = 0; d < 4000; ++d) {
    ASSERT_EQ(corpus->GetHead(Split::kTrain, 0, d)->length, 22 + d % 31);
  }
  int64_t spoilt = 0;
  for (int64_t d = 0; d < 4000; ++d) {
    const absl::StatusOr<TokenDocument> document = corpus->GetDocument(Split::kTrain, 0, d);
    if (document.ok()) {
      ASSERT_EQ(document->token(0), 1);
      continue;
    }
    ++spoilt;
    ASSERT_TRUE(absl::IsDataLoss(document.status()));
    ASSERT_THAT(std::string(document.status().message()),
                HasSubstr(path_ + ": damaged: dataset 'tokens', chunk 2, bytes " +
                          std::to_string(place.ChunkBegin(2))));
  }
  // 32768 tokens in documents of 37.
  EXPECT_NEAR(static_cast<double>(spoilt), 32768 / 37.0, 10);
  EXPECT_EQ(corpus->GetDocument(Split::kTrain, 0, 0)->token(0), 1);
}

TEST_F(ShardDamageTest, NothingDamagedIsTrainedOn) {
  DataConfig config;
  config.path = folder_;
  config.sequence_length = 64;
  config.batch_sequences = 8;
  config.lanes = 2;
  config.packing.look_ahead = 4;
  const auto batches = [&](absl::Status& status) {
    std::vector<std::vector<BatchSegment>> out;
    const auto loader = BatchLoader::Open(config).value();
    for (int step = 0; step < 2000; ++step) {
      absl::StatusOr<Batch> batch = loader->Next();
      status = batch.status();
      if (!batch.ok()) {
        EXPECT_EQ(loader->Next().status(), status) << "and it stays so";
        break;
      }
      out.push_back(batch->segments);
    }
    return out;
  };
  absl::Status status;
  const auto sound = batches(status);
  ASSERT_EQ(status, absl::OkStatus());
  for (const ShardArray array : {ShardArray::kTokens, ShardArray::kOffset, ShardArray::kId}) {
    const ShardLayout::Place place = layout().array(array);
    Flip(place.ChunkBegin(0) + 4000, 2);
    const auto damaged = batches(status);
    ASSERT_TRUE(absl::IsDataLoss(status)) << status;
    EXPECT_THAT(std::string(status.message()),
                HasSubstr(std::string("dataset '") + ShardArrayName(array) + "', chunk 0"));
    ASSERT_LT(damaged.size(), sound.size());
    for (size_t s = 0; s < damaged.size(); ++s) ASSERT_EQ(damaged[s], sound[s]);
  }
}

TEST_F(ShardDamageTest, ManyThreadsTouchTheSameChunks) {
  Flip(layout().array(ShardArray::kTokens).ChunkBegin(1), 0);
  const auto corpus = TokenCorpus::Open(folder_).value();
  std::vector<std::thread> threads;
  std::vector<int64_t> spoilt(4, 0);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int64_t d = 0; d < 4000; ++d) {
        spoilt[t] += !corpus->GetDocument(Split::kTrain, 0, (d * 37 + 1000 * t) % 4000).ok();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(spoilt[0], 0);
  for (const int64_t count : spoilt) EXPECT_EQ(count, spoilt[0]);
}

TEST_F(ShardDamageTest, VerifyPrintsAndFails) {
  std::ostringstream out;
  Flip(layout().array(ShardArray::kGroup).begin, 0);
  const absl::Status status = VerifyCorpus(folder_, 1, out);
  EXPECT_TRUE(absl::IsDataLoss(status));
  EXPECT_THAT(out.str(), HasSubstr("dataset 'group', chunk 0"));
  EXPECT_THAT(out.str(), HasSubstr("documents 0 to 8191 of the shard: de, en"));
  EXPECT_THAT(out.str(), HasSubstr("tokenizer.model"));  // which was never there
}

TEST(Verify, AWholeCorpusIsClean) {
  std::ostringstream out;
  const std::string folder = testing_data::FixtureFolder() + "/shards";
  EXPECT_EQ(VerifyCorpus(folder, 0, out), absl::OkStatus());
  EXPECT_THAT(out.str(), HasSubstr(" chunks compared, 0 damaged"));
  EXPECT_TRUE(absl::IsNotFound(VerifyCorpus(folder + "/none", 0, out)));
}

}  // namespace
}  // namespace choir
