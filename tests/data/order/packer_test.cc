#include "data/order/packer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "base/random.h"

namespace choir {
namespace {

Piece Document(int64_t id, int64_t length) { return {0, id, 0, 0, length}; }

// A window that is past the row that begins with the oldest.
PackerState Chosen() {
  PackerState state;
  state.chosen = 1;
  return state;
}

TEST(Packer, ChoosesTheFullestRowOfTheLongestPieces) {
  const Packer packer(10, 4);
  PackerState state = Chosen();
  for (const int64_t length : {3, 4, 9, 4, 2, 6}) {
    packer.Add(Document(static_cast<int64_t>(state.waiting.size()), length), state);
  }
  EXPECT_TRUE(packer.HasChoice(state));
  packer.ChooseRow(state);
  // 10 = 6 + 4 = 4 + 4 + 2: the longest first, the older of equals.
  ASSERT_EQ(state.ready.size(), 1u);
  EXPECT_EQ(state.ready[0].used, 10);
  EXPECT_EQ(state.ready[0].pieces, (std::vector<Piece>{Document(1, 4), Document(5, 6)}));
  packer.ChooseRow(state);  // of 3, 9, 4, 2
  EXPECT_EQ(state.ready[1].pieces, (std::vector<Piece>{Document(2, 9)}));
  packer.Flush(state);
  ASSERT_EQ(state.ready.size(), 3u);
  EXPECT_EQ(state.ready[2].used, 9);
  EXPECT_TRUE(state.waiting.empty());
}

TEST(Packer, NeedsEnoughToChooseFrom) {
  const Packer packer(10, 3);
  PackerState state;
  packer.Add(Document(0, 9), state);
  packer.Add(Document(1, 9), state);
  EXPECT_FALSE(packer.HasChoice(state));  // two pieces
  packer.Add(Document(2, 1), state);
  EXPECT_FALSE(packer.HasChoice(state));  // 19 positions
  packer.Add(Document(3, 1), state);
  EXPECT_TRUE(packer.HasChoice(state));
}

TEST(Packer, NoPieceWaitsForEver) {
  const Packer packer(100, 8);
  PackerState state;
  packer.Add(Document(-1, 50), state);  // two of 50 would fill a row, but there is no other
  int64_t rows = 0;
  const auto holds = [](const PackedRow& row) {
    return std::ranges::any_of(row.pieces, [](const Piece& piece) { return piece.document == -1; });
  };
  state.chosen = 1;
  while (state.ready.empty() || !holds(state.ready.back())) {
    while (!packer.HasChoice(state)) {
      packer.Add(Document(0, 99), state);
      packer.Add(Document(0, 1), state);
    }
    packer.ChooseRow(state);
    ++rows;
  }
  EXPECT_EQ(rows, Packer::kOldestEvery);
}

TEST(Packer, CutsWhatIsLongerThanARow) {
  const Packer packer(10, 4);
  PackerState state;
  packer.Add(Document(0, 25), state);
  packer.Add(Document(1, 20), state);
  ASSERT_EQ(state.ready.size(), 4u);
  EXPECT_EQ(state.ready[0].pieces, (std::vector<Piece>{{0, 0, 0, 0, 10}}));
  EXPECT_EQ(state.ready[1].pieces, (std::vector<Piece>{{0, 0, 0, 10, 10}}));
  EXPECT_EQ(state.ready[3].pieces, (std::vector<Piece>{{0, 1, 0, 10, 10}}));
  EXPECT_EQ(state.waiting, (std::vector<Piece>{{0, 0, 0, 20, 5}}));
}

// The simpler twin: every subset tried.
TEST(Packer, FillsRowsAsWellAsAnySubset) {
  for (uint64_t trial = 0; trial < 200; ++trial) {
    const CounterRandom random(trial, "subsets");
    const auto length = static_cast<int64_t>(2 + random.Below(0, 200));
    const Packer packer(length, 1);
    PackerState state = Chosen();
    const uint64_t n = 1 + random.Below(1, 12);
    for (uint64_t d = 0; d < n; ++d) {
      const auto longest = static_cast<uint64_t>(length - 1);
      packer.Add(
          Document(static_cast<int64_t>(d), static_cast<int64_t>(1 + random.Below(2 + d, longest))),
          state);
    }
    int64_t best = 0;
    for (uint64_t subset = 0; subset < uint64_t{1} << n; ++subset) {
      int64_t sum = 0;
      for (uint64_t d = 0; d < n; ++d) sum += (subset >> d & 1) ? state.waiting[d].length : 0;
      if (sum <= length) best = std::max(best, sum);
    }
    packer.ChooseRow(state);
    ASSERT_EQ(state.ready.at(0).used, best) << "trial " << trial;
  }
}

// Whatever comes in, every position comes out exactly once, rows are never too long, and documents
// that fit a row are never cut.
TEST(Packer, KeepsEveryPositionOnce) {
  for (uint64_t trial = 0; trial < 20; ++trial) {
    const CounterRandom random(trial, "packer_test");
    // The last trials have rows that are beyond the exact table.
    const int64_t length = (trial < 17 ? 2 : 20'000) + static_cast<int64_t>(random.Below(0, 300));
    const Packer packer(length, 1 + static_cast<int64_t>(random.Below(1, 20)));
    PackerState state;
    std::map<int64_t, int64_t> lengths;
    for (int64_t d = 0; d < 2000; ++d) {
      const auto n =
          static_cast<int64_t>(std::exp(7 * random.Uniform(10 + static_cast<uint64_t>(d))));
      lengths[d] = n;
      packer.Add(Document(d, n), state);
      while (packer.HasChoice(state)) packer.ChooseRow(state);
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

// Padding of a long stream of documents whose lengths are lognormal, e^(mu + 1.25 normal).
double Padding(int64_t row, double mu) {
  const CounterRandom random(1, "padding");
  const Packer packer(row, 64);  // the default of packing.look_ahead
  PackerState state;
  int64_t used = 0, rows = 0;
  for (uint64_t d = 0; d < 60'000; ++d) {
    const double n = std::clamp(std::exp(mu + 1.25 * random.Normal(d)), 8.0, 200'000.0);
    packer.Add(Document(static_cast<int64_t>(d), static_cast<int64_t>(n)), state);
    while (packer.HasChoice(state)) packer.ChooseRow(state);
    for (const PackedRow& ready : state.ready) used += ready.used;
    rows += static_cast<int64_t>(state.ready.size());
    state.ready.clear();
  }
  return 1 - static_cast<double>(used) / static_cast<double>(rows * row);
}

// Lengths as in a web corpus (mean about 970 tokens) and in short documents (about 390): what the
// issue demands with the default settings.
TEST(Packer, LeavesLittlePadding) {
  EXPECT_LE(Padding(2048, 6.1), 0.0025);
  EXPECT_LE(Padding(8192, 6.1), 0.001);
  EXPECT_LE(Padding(2048, 5.2), 0.0025);
  EXPECT_LE(Padding(8192, 5.2), 0.001);
  EXPECT_LE(Padding(65536, 6.1), 0.001);
}

}  // namespace
}  // namespace choir
