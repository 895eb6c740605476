// What may change while a run goes on, and what any number of ranks make of the same order.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/random.h"
#include "data/loader/loader.h"
#include "tests/data/loader/open_loader.h"
#include "tests/data/test_corpus.h"

namespace choir {
namespace {

using ::testing::HasSubstr;
using testing_data::FixtureDataConfig;
using testing_data::OpenLoader;

std::vector<int32_t> Row(const Tensor& tensor, size_t slot, int64_t length) {
  const int32_t* const begin = tensor.data<int32_t>() + static_cast<int64_t>(slot) * length;
  return {begin, begin + length};
}

// Rank `rank` of `ranks` trains on every ranks-th row.
StepRowsOf EveryRow(int64_t rows, int64_t rank, int64_t ranks) {
  return [=](int64_t) { return StepRows{rows, [=](int64_t row) { return row % ranks == rank; }}; };
}

void ExpectRowsOf(const Batch& part, const Batch& whole) {
  ASSERT_EQ(part.digest, whole.digest);
  ASSERT_EQ(part.segments, whole.segments);
  ASSERT_EQ(part.cu_seqlens, whole.cu_seqlens);
  ASSERT_EQ(part.num_labels, whole.num_labels);
  for (size_t i = 0; i < part.stored.size(); ++i) {
    const auto row = static_cast<size_t>(part.stored[i]);
    for (const auto tensor :
         {&Batch::tokens, &Batch::labels, &Batch::positions, &Batch::language}) {
      ASSERT_EQ(Row(part.*tensor, i, part.length), Row(whole.*tensor, row, whole.length));
    }
  }
}

// Interrupted at random steps, and continued each time by another number of ranks, with other
// shares, with the ends of epochs and a phase of the mixture in the range: every token of every
// batch is that of the run that was never interrupted.
TEST(Ledger, AnyRanksConsumeTheSameBatches) {
  constexpr int64_t kSteps = 520;
  DataConfig config = FixtureDataConfig();
  config.batch_sequences = 8;
  config.mixture.schedule.resize(1);
  config.mixture.schedule[0].from_tokens = 100'000;
  config.mixture.schedule[0].alpha = 1.0;
  const auto whole = OpenLoader(config);
  const CounterRandom random(5, "ranks");
  std::string state = whole->SaveState();
  uint64_t draw = 0;
  for (int64_t step = 0; step < kSteps;) {
    const int64_t ranks = int64_t{1} << random.Below(draw++, 4);
    const auto until = std::min(kSteps, step + 1 + static_cast<int64_t>(random.Below(draw++, 90)));
    std::vector<std::unique_ptr<BatchLoader>> loaders;
    for (int64_t rank = 0; rank < ranks; ++rank) {
      config.prefetch_rows = static_cast<int64_t>(random.Below(draw++, 50));
      config.threads = 1 + static_cast<int64_t>(random.Below(draw++, 3));
      loaders.push_back(OpenLoader(config));
      ASSERT_EQ(loaders.back()->RestoreState(state), absl::OkStatus());
      loaders.back()->SetRows(EveryRow(8, rank, ranks));
    }
    for (; step < until; ++step) {
      const Batch want = whole->Next().value();
      size_t stored = 0;
      for (const auto& loader : loaders) {
        const Batch part = loader->Next().value();
        stored += part.stored.size();
        ExpectRowsOf(part, want);
      }
      ASSERT_EQ(stored, 8u);
    }
    state = loaders.back()->SaveState();
    ASSERT_EQ(state, whole->SaveState());
  }
  const std::vector<double> epochs = whole->Epochs();
  EXPECT_GT(*std::max_element(epochs.begin(), epochs.end()), 1);
  EXPECT_GT(whole->counters().labels, 200'000);
}

// A change is entered where it is made, and the ledger alone makes the same batches again.
TEST(Ledger, ChangesAreEnteredAndCanBeReplayed) {
  DataConfig config = FixtureDataConfig();
  const auto first = OpenLoader(config);
  std::vector<Hash128> digests;
  for (int step = 0; step < 40; ++step) digests.push_back(first->Next()->digest);
  DataConfig edited = config;
  edited.mixture.weights = {{"de", 1}, {"en", 2}};
  edited.skip.batches = {"50-52"};
  auto second = OpenLoader(edited);
  ASSERT_EQ(second->RestoreState(first->SaveState()), absl::OkStatus());
  ASSERT_EQ(second->ledger().size(), 2u);
  EXPECT_EQ(second->ledger()[1].step, 40);
  for (int step = 40; step < 70; ++step) digests.push_back(second->Next()->digest);
  EXPECT_EQ(second->counters().steps, 70);
  EXPECT_EQ(second->counters().batches, 73);
  const std::string end = second->SaveState();
  // Resumed without a change, nothing is entered.
  second = OpenLoader(edited);
  ASSERT_EQ(second->RestoreState(end), absl::OkStatus());
  EXPECT_EQ(second->ledger().size(), 2u);
  EXPECT_EQ(second->SaveState(), end);

  const DataLedger ledger = second->ledger();
  auto replayed = BatchLoader::Open(config, ledger[0].plan).value();
  for (int64_t step = 0; step < 70; ++step) {
    if (step == ledger[1].step) {
      const std::string state = replayed->SaveState();
      replayed = BatchLoader::Open(config, ledger[1].plan).value();
      ASSERT_EQ(replayed->RestoreState(state), absl::OkStatus());
    }
    ASSERT_EQ(replayed->Next()->digest, digests[step]) << step;
  }
  EXPECT_EQ(replayed->SaveState(), end);
}

TEST(Ledger, SharesMoveToTheNewOnes) {
  DataConfig config = FixtureDataConfig();
  config.batch_sequences = 64;
  const auto before = OpenLoader(config);
  for (int step = 0; step < 10; ++step) ASSERT_TRUE(before->Next().ok());
  config.mixture.weights = {{"de", 1}, {"en", 3}};
  const auto after = OpenLoader(config);
  ASSERT_EQ(after->RestoreState(before->SaveState()), absl::OkStatus());
  // What waited in the windows comes first.
  for (int step = 0; step < 60; ++step) ASSERT_TRUE(after->Next().ok());
  std::vector<int64_t> tokens(after->languages().size(), 0);
  int64_t labels = 0;
  for (int step = 0; step < 40; ++step) {
    const Batch batch = after->Next().value();
    labels += batch.num_labels;
    for (size_t l = 0; l < tokens.size(); ++l) tokens[l] += batch.language_tokens[l];
  }
  for (size_t l = 0; l < tokens.size(); ++l) {
    EXPECT_NEAR(static_cast<double>(tokens[l]) / static_cast<double>(labels), after->shares()[l],
                0.03)
        << after->languages()[l];
  }
}

TEST(Ledger, SkippedBatchesAreDrawnAndNotGiven) {
  DataConfig config = FixtureDataConfig();
  const auto all = OpenLoader(config);
  std::vector<std::vector<BatchSegment>> batches;
  for (int b = 0; b < 30; ++b) batches.push_back(all->Next()->segments);
  config.skip.batches = {"0", "5-9", "28"};
  const auto some = OpenLoader(config);
  for (int b = 0; b < 30; ++b) {
    if (b == 0 || (b >= 5 && b <= 9) || b == 28) continue;
    ASSERT_EQ(some->Next()->segments, batches[b]) << b;
  }
  EXPECT_EQ(some->counters().steps, 23);
  EXPECT_EQ(some->counters().rows, 30 * 6);
}

TEST(Ledger, WhatIsPastCannotBeSkipped) {
  DataConfig config = FixtureDataConfig();
  const auto loader = OpenLoader(config);
  for (int step = 0; step < 20; ++step) ASSERT_TRUE(loader->Next().ok());
  const std::string state = loader->SaveState();
  config.skip.batches = {"19-30"};
  const absl::Status status = OpenLoader(config)->RestoreState(state);
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("batch 19 was trained on already, this run is at batch 20"));
  config.skip.batches = {"20-30"};
  EXPECT_EQ(OpenLoader(config)->RestoreState(state), absl::OkStatus());
}

TEST(Ledger, SkippedDocumentsNeverCome) {
  DataConfig config = FixtureDataConfig();
  const auto all = OpenLoader(config);
  std::vector<BatchSegment> seen = all->Next()->segments;
  std::set<uint64_t> skipped;
  for (size_t i = 0; i < seen.size(); i += 3) {
    skipped.insert(seen[i].document_id);
    config.skip.documents.push_back("#" + ToHex(seen[i].document_id));
  }
  const auto some = OpenLoader(config);
  std::string state;
  std::vector<Hash128> digests;
  for (int step = 0; step < 300; ++step) {
    if (step == 120) state = some->SaveState();
    const Batch batch = some->Next().value();
    digests.push_back(batch.digest);
    for (const BatchSegment& s : batch.segments) ASSERT_FALSE(skipped.contains(s.document_id));
  }
  const auto resumed = OpenLoader(config);
  ASSERT_EQ(resumed->RestoreState(state), absl::OkStatus());
  for (int step = 120; step < 300; ++step) ASSERT_EQ(resumed->Next()->digest, digests[step]);
  EXPECT_EQ(resumed->SaveState(), some->SaveState());
}

// Each document at most max_epochs times, every one of a stream that was used up exactly so often.
TEST(Ledger, EpochCapsAreExact) {
  DataConfig config = FixtureDataConfig();
  config.mixture.weights = {{"de", 1}, {"en", 1}, {"th", 6}};
  config.mixture.max_epochs = 2;
  const auto loader = OpenLoader(config);
  std::map<std::pair<int32_t, uint64_t>, int> begins;
  absl::Status status;
  std::string state;
  for (int64_t step = 0; status.ok(); ++step) {
    ASSERT_LT(step, 100'000);
    if (step == 20) state = loader->SaveState();
    const absl::StatusOr<Batch> batch = loader->Next();
    status = batch.status();
    if (!batch.ok()) break;
    for (const BatchSegment& s : batch->segments) {
      if (s.offset == 0) ++begins[{s.language, s.document_id}];
    }
  }
  EXPECT_TRUE(absl::IsOutOfRange(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("read every document 2 times"));
  for (const auto& [of, count] : begins) EXPECT_LE(count, 2);
  const std::vector<double> epochs = loader->Epochs();
  for (size_t l = 0; l < epochs.size(); ++l) {
    const std::string& name = loader->languages()[l];
    EXPECT_LE(epochs[l], 2) << name;
    if (name == "th") {
      EXPECT_EQ(epochs[l], 2);
    }
  }
}

TEST(Ledger, SourcesAreStreamsOfTheirOwn) {
  DataConfig config = FixtureDataConfig();
  config.mixture.by_source = true;
  config.batch_sequences = 64;
  const auto loader = OpenLoader(config);
  std::map<std::pair<int32_t, int32_t>, int64_t> labels;
  for (int step = 0; step < 60; ++step) {
    const Batch batch = loader->Next().value();
    for (const BatchSegment& s : batch.segments) {
      labels[{s.language, s.source}] += s.length;
    }
  }
  EXPECT_EQ(labels, loader->counters().stream_labels);
  EXPECT_GT(loader->streams().size(), loader->languages().size());
  const MixturePhase& phase = loader->ledger()[0].plan.mixture.phases[0];
  double total = 0;
  for (const int64_t weight : phase.weights) total += static_cast<double>(weight);
  const auto slack = static_cast<double>(config.lanes * (2000 + 2 * 64 * 64));
  for (size_t s = 0; s < loader->streams().size(); ++s) {
    const DocumentStream& stream = loader->streams()[s];
    const double want = static_cast<double>(phase.weights[s]) / total *
                        static_cast<double>(loader->counters().labels);
    EXPECT_NEAR(static_cast<double>(labels[std::pair(stream.language, stream.source)]), want, slack)
        << stream.name;
  }
}

}  // namespace
}  // namespace choir
