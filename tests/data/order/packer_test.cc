#include "data/order/packer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "base/random.h"

namespace choir {
namespace {

Piece Document(int64_t id, int64_t length) { return {0, id, 0, length}; }

TEST(Packer, FillsTheRowThatFitsBestAndFinishesTheFullest) {
  const Packer packer(10, 2);  // fewer than the first limit
  PackerState state;
  packer.Add(Document(0, 6), state);
  packer.Add(Document(1, 7), state);  // no room in row of 0
  ASSERT_EQ(state.open.size(), 2u);
  packer.Add(Document(2, 3), state);  // fills the row of 1
  ASSERT_EQ(state.ready.size(), 1u);
  EXPECT_EQ(state.ready[0].pieces, (std::vector<Piece>{Document(1, 7), Document(2, 3)}));
  packer.Add(Document(3, 8), state);
  packer.Add(Document(4, 5), state);  // fits nowhere: the fullest, of 3, is finished
  ASSERT_EQ(state.ready.size(), 2u);
  EXPECT_EQ(state.ready[1].pieces, (std::vector<Piece>{Document(3, 8)}));
  EXPECT_EQ(state.open[0].pieces, (std::vector<Piece>{Document(0, 6)}));
  EXPECT_EQ(state.open[1].pieces, (std::vector<Piece>{Document(4, 5)}));
  packer.Flush(state);
  EXPECT_EQ(state.ready.size(), 4u);
  EXPECT_TRUE(state.open.empty());
}

TEST(Packer, CutsWhatIsLongerThanARow) {
  const Packer packer(10, 4);
  PackerState state;
  packer.Add(Document(0, 25), state);
  packer.Add(Document(1, 20), state);
  ASSERT_EQ(state.ready.size(), 4u);
  EXPECT_EQ(state.ready[0].pieces, (std::vector<Piece>{{0, 0, 0, 10}}));
  EXPECT_EQ(state.ready[1].pieces, (std::vector<Piece>{{0, 0, 10, 10}}));
  EXPECT_EQ(state.ready[3].pieces, (std::vector<Piece>{{0, 1, 10, 10}}));
  ASSERT_EQ(state.open.size(), 1u);
  EXPECT_EQ(state.open[0].pieces, (std::vector<Piece>{{0, 0, 20, 5}}));
}

// Whatever comes in, every position comes out exactly once, rows are never too long, and documents
// that fit a row are never cut.
TEST(Packer, KeepsEveryPositionOnce) {
  for (uint64_t trial = 0; trial < 20; ++trial) {
    const CounterRandom random(trial, "packer_test");
    const int64_t length = 2 + static_cast<int64_t>(random.Below(0, 300));
    const int64_t bins = 1 + static_cast<int64_t>(random.Below(1, 20));
    const Packer packer(length, bins);
    PackerState state;
    std::map<int64_t, int64_t> lengths;
    for (int64_t d = 0; d < 2000; ++d) {
      const auto n = static_cast<int64_t>(std::exp(7 * random.Uniform(10 + d)));
      lengths[d] = n;
      packer.Add(Document(d, n), state);
      ASSERT_LE(static_cast<int64_t>(state.open.size()), bins);
    }
    packer.Flush(state);
    std::map<int64_t, std::vector<bool>> seen;
    for (const PackedRow& row : state.ready) {
      int64_t used = 0;
      for (const Piece& piece : row.pieces) {
        used += piece.length;
        if (lengths[piece.document] <= length) {
          EXPECT_EQ(piece.length, lengths[piece.document]);
        }
        auto& positions = seen.try_emplace(piece.document, lengths[piece.document]).first->second;
        for (int64_t i = piece.offset; i < piece.offset + piece.length; ++i) {
          ASSERT_FALSE(positions.at(i));
          positions[i] = true;
        }
      }
      ASSERT_EQ(used, row.used);
      ASSERT_LE(used, length);
    }
    ASSERT_EQ(seen.size(), lengths.size());
    for (const auto& [d, positions] : seen) {
      ASSERT_EQ(std::count(positions.begin(), positions.end(), true), lengths[d]);
    }
  }
}

TEST(Packer, AYoungPackerHoldsFewRowsBack) {
  const Packer packer(10, 64);
  EXPECT_EQ(packer.BinLimit(0), 4);
  EXPECT_EQ(packer.BinLimit(20), 10);
  EXPECT_EQ(packer.BinLimit(1000), 64);
  PackerState state;
  for (int64_t d = 0; d < 200; ++d) {
    packer.Add(Document(d, 7), state);
    const auto open = static_cast<int64_t>(state.open.size());
    ASSERT_LE(open, packer.BinLimit(state.finished));
    ASSERT_EQ(open + state.finished, d + 1);
    ASSERT_EQ(state.finished, static_cast<int64_t>(state.ready.size()));
  }
  EXPECT_EQ(state.open.size(), 64u);
}

// Lengths as in a web corpus (lognormal, mean about 970 tokens).
TEST(Packer, LeavesLittlePadding) {
  const CounterRandom random(1, "padding");
  const Packer packer(2048, 64);
  PackerState state;
  int64_t positions = 0, rows = 0;
  for (uint64_t d = 0; d < 100'000; ++d) {
    const auto n = static_cast<int64_t>(
        std::max(8.0, std::min(200'000.0, std::exp(6.1 + 1.25 * random.Normal(d)))));
    packer.Add(Document(static_cast<int64_t>(d), n), state);
    positions += n;
    rows += static_cast<int64_t>(state.ready.size());
    state.ready.clear();
  }
  packer.Flush(state);
  rows += static_cast<int64_t>(state.ready.size());
  const double padding = 1 - static_cast<double>(positions) / static_cast<double>(rows * 2048);
  EXPECT_LT(padding, 0.01);
  RecordProperty("padding", std::to_string(padding));
}

}  // namespace
}  // namespace choir
