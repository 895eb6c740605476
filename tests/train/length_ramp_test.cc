#include "train/length_ramp.h"

#include <gtest/gtest.h>

#include "tests/train/run_fixture.h"

namespace choir::train_test {
namespace {

RunConfig Ramp(int64_t start_length, int64_t steps) {
  RunConfig config;
  config.data.sequence_length = 64;
  config.train.length_ramp = {start_length, steps};
  return config;
}

TEST(LengthRampTest, LengthsDoubleAtEqualTimes) {
  std::vector<int64_t> pieces;
  for (int64_t step = 0; step < 8; ++step) pieces.push_back(LengthPieces(Ramp(16, 6), step));
  EXPECT_EQ(pieces, (std::vector<int64_t>{4, 4, 4, 2, 2, 2, 1, 1}));
  EXPECT_EQ(LengthPieces(Ramp(16, 0), 0), 1);
}

// Arrays, because GCC 12 reads lists of braces from a wrong address here with AddressSanitizer.
constexpr int32_t kTokens[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
constexpr int32_t kLabels[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, -1, -1};
constexpr int32_t kPositions[] = {0, 1, 2, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 5, 0, 1};

TEST(LengthRampTest, DocumentsEndAtACutAndPositionsStartAgain) {
  Batch batch;
  batch.rows = 2;
  batch.length = 8;
  batch.stored = {0, 1};
  batch.tokens = Tensor::From<int32_t>({16}, kTokens);
  batch.labels = Tensor::From<int32_t>({16}, kLabels);
  batch.positions = Tensor::From<int32_t>({16}, kPositions);
  batch.cu_seqlens = {0, 3, 8, 14, 16};
  batch.segments = {{0, 0, 3, 0, 71, 0}, {0, 3, 5, 2, 72, 1}, {1, 0, 6, 9, 73, 0}};
  batch.num_labels = 14;
  const Batch cut = CutRows(batch, 2);
  EXPECT_EQ(cut.rows, 4);
  EXPECT_EQ(cut.length, 4);
  EXPECT_EQ(cut.num_labels, 14);
  EXPECT_EQ(cut.cu_seqlens, (std::vector<int32_t>{0, 3, 4, 8, 12, 14, 16}));
  const std::span<int32_t> positions = cut.positions.span<int32_t>();
  EXPECT_EQ(std::vector<int32_t>(positions.begin(), positions.end()),
            (std::vector<int32_t>{0, 1, 2, 0, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 0, 1}));
  EXPECT_TRUE(cut.tokens.SharesStorageWith(batch.tokens));
  EXPECT_TRUE(cut.labels.SharesStorageWith(batch.labels));
  const std::vector<BatchSegment> want = {{0, 0, 3, 0, 71, 0},
                                          {0, 3, 1, 2, 72, 1},
                                          {1, 0, 4, 3, 72, 1},
                                          {2, 0, 4, 9, 73, 0},
                                          {3, 0, 2, 13, 73, 0}};
  EXPECT_EQ(cut.segments, want);
  // A rank that trains on the second row only.
  Batch mine = batch;
  mine.stored = {1};
  mine.tokens = batch.tokens.Rows(8, 8);
  mine.positions = batch.positions.Rows(8, 8);
  const Batch half = CutRows(mine, 2);
  EXPECT_EQ(half.stored, (std::vector<int64_t>{2, 3}));
  const std::span<int32_t> own = half.positions.span<int32_t>();
  EXPECT_EQ(std::vector<int32_t>(own.begin(), own.end()),
            (std::vector<int32_t>{0, 1, 2, 3, 0, 1, 0, 1}));
  // One piece changes nothing.
  EXPECT_EQ(CutRows(batch, 1).cu_seqlens, batch.cu_seqlens);
}

TEST(LengthRampTest, DataAndLabelsAreThoseOfARunWithoutIt) {
  const std::string with = FreshPath("ramp"), without = FreshPath("plain");
  const ProcessResult ramp = Choir(TrainArgs(
      "tiny", with,
      {"--train.steps=6", "--train.length_ramp.start_length=16", "--train.length_ramp.steps=4"}));
  ASSERT_EQ(ramp.exit, 0) << ramp.err;
  ASSERT_EQ(Choir(TrainArgs("tiny", without, {"--train.steps=6"})).exit, 0);
  const Metrics a = ReadMetrics(with), b = ReadMetrics(without);
  ASSERT_EQ(a.steps.size(), 6u);
  for (size_t i = 0; i < a.steps.size(); ++i) {
    EXPECT_EQ(a.steps[i]["tokens"], b.steps[i]["tokens"]);
    EXPECT_EQ(a.steps[i]["data_digest"], b.steps[i]["data_digest"]);
  }
  EXPECT_NE(a.losses[0], b.losses[0]);
}

TEST(LengthRampTest, WhatCannotBeIsRefused) {
  const auto refused = [](std::vector<std::string> more, const char* key) {
    const ProcessResult result = Choir(TrainArgs("tiny", FreshPath("bad"), more));
    EXPECT_EQ(result.exit, 2);
    EXPECT_NE(result.err.find(key), std::string::npos) << result.err;
  };
  const std::string start = "--train.length_ramp.start_length=";
  refused({start + "24", "--train.length_ramp.steps=4"}, "over a power of two");
  refused({start + "16"}, "needs train.length_ramp.steps");
  refused({"--train.length_ramp.steps=4"}, "over a power of two");
  refused({start + "2", "--train.length_ramp.steps=4", "--parallel.context=2"},
          "at least two tokens");
}

}  // namespace
}  // namespace choir::train_test
