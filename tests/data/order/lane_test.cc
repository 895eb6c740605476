#include "data/order/lane.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <numeric>

#include "data/order/skip.h"
#include "data/shard/token_corpus.h"
#include "tests/data/test_corpus.h"

namespace choir {
namespace {

std::shared_ptr<const LaneContext> MakeContext(const DataConfig& config) {
  auto corpus = TokenCorpus::Open(config.path).value();
  std::vector<DocumentStream> streams = corpus->Streams(Split::kTrain, config.mixture.by_source);
  DataPlan plan;
  plan.mixture =
      PlanMixture(config.mixture, streams, corpus->languages(), corpus->sources()).value();
  PlanSkips(config.skip, plan);
  return std::make_shared<const LaneContext>(std::move(corpus), config, std::move(streams),
                                             std::move(plan));
}

DataConfig ConfigWithLanes(int64_t lanes) {
  DataConfig config = testing_data::FixtureDataConfig();
  config.lanes = lanes;
  return config;
}

// Documents drawn by all lanes, by language: the epoch is that of the document's place in its
// language's stream. More lanes than documents of a language are no special case.
TEST(Lane, EveryDocumentIsDrawnOnceAnEpoch) {
  for (const int64_t lanes : {1, 3, 4, 64}) {
    const auto context = MakeContext(ConfigWithLanes(lanes));
    const auto& corpus = dynamic_cast<const TokenCorpus&>(*context->corpus);
    const auto languages = static_cast<int32_t>(corpus.languages().size());
    // counts[language][document]: of the first three epochs.
    std::vector<std::vector<std::vector<int>>> counts(languages);
    for (int32_t l = 0; l < languages; ++l) {
      counts[l].assign(3, std::vector<int>(corpus.NumDocuments(Split::kTrain, l), 0));
    }
    for (int64_t index = 0; index < lanes; ++index) {
      Lane lane(context, index);
      std::vector<int64_t> drawn(languages, 0);
      // Until this lane is past the third epoch of every language.
      const auto past = [&](int32_t l) {
        return drawn[l] * lanes + index >= 3 * corpus.NumDocuments(Split::kTrain, l);
      };
      for (int32_t slowest = 0; slowest < languages;) {
        if (past(slowest)) {
          ++slowest;
          continue;
        }
        const Piece piece = lane.Draw().value();
        const int64_t k = drawn[piece.stream]++ * lanes + index;
        const int64_t epoch = k / corpus.NumDocuments(Split::kTrain, piece.stream);
        if (epoch < 3) ++counts[piece.stream][epoch][piece.document];
      }
    }
    for (int32_t l = 0; l < languages; ++l) {
      for (const std::vector<int>& epoch : counts[l]) {
        EXPECT_THAT(epoch, ::testing::Each(1))
            << corpus.languages()[l] << ", " << lanes << " lanes";
      }
    }
  }
}

TEST(Lane, EpochsAndSeedsHaveTheirOwnOrder) {
  DataConfig config = ConfigWithLanes(1);
  config.mixture.weights = {{"en", 1.0}};
  const auto order = [&](int64_t skip, int64_t seed) {
    config.seed = seed;
    const auto context = MakeContext(config);
    Lane lane(context, 0);
    const int32_t en = [&] {
      int32_t l = 0;
      while (context->corpus->languages()[l] != "en") ++l;
      return l;
    }();
    const int64_t n = context->streams[en].documents;
    std::vector<int64_t> documents;
    for (int64_t k = 0; k < (skip + 1) * n; ++k) {
      const int64_t document = lane.Draw()->document;
      if (k >= skip * n) documents.push_back(document);
    }
    return documents;
  };
  EXPECT_EQ(order(0, 1), order(0, 1));
  EXPECT_NE(order(0, 1), order(1, 1));
  EXPECT_NE(order(0, 1), order(0, 2));
}

TEST(Lane, SharesStayWithinOneDocument) {
  const auto context = MakeContext(ConfigWithLanes(3));
  const auto& corpus = dynamic_cast<const TokenCorpus&>(*context->corpus);
  const std::vector<int64_t>& weights = context->plan.mixture.phases[0].weights;
  double longest = 0;
  for (int32_t l = 0; l < static_cast<int32_t>(weights.size()); ++l) {
    for (int64_t d = 0; d < corpus.NumDocuments(Split::kTrain, l); ++d) {
      longest = std::max(longest,
                         static_cast<double>(corpus.GetDocument(Split::kTrain, l, d)->length - 1));
    }
  }
  Lane lane(context, 1);
  const std::vector<int64_t> phase = LanePhase(*context, 1);
  double tokens = 0;
  for (int step = 0; step < 5000; ++step) {
    tokens += static_cast<double>(lane.Draw()->length);
    for (size_t l = 0; l < weights.size(); ++l) {
      const double target =
          tokens * static_cast<double>(weights[l]) /
          static_cast<double>(std::accumulate(weights.begin(), weights.end(), int64_t{0}));
      ASSERT_LE(std::abs(static_cast<double>(lane.state().drawn[l] - phase[l]) - target), longest);
    }
  }
}

TEST(Lane, PhasesAreSmallAndBalanceOverTheLanes) {
  const auto context = MakeContext(ConfigWithLanes(16));
  const auto languages = static_cast<int32_t>(context->corpus->languages().size());
  std::vector<int64_t> sum(languages, 0);
  for (int64_t lane = 0; lane < 16; ++lane) {
    const std::vector<int64_t> phase = LanePhase(*context, lane);
    for (int32_t l = 0; l < languages; ++l) {
      const int64_t mean = context->streams[l].labels / context->streams[l].documents;
      EXPECT_LE(2 * std::abs(phase[l]), mean);
      sum[l] += phase[l];
    }
  }
  for (const int64_t s : sum) EXPECT_EQ(s, 0);
  EXPECT_NE(LanePhase(*context, 0), LanePhase(*context, 1));
}

// What a lane gave and what it holds back are together the documents it drew, whole.
TEST(Lane, NothingIsLostBetweenDrawingAndRows) {
  const auto context = MakeContext(ConfigWithLanes(4));
  Lane lane(context, 2);
  std::vector<int64_t> positions = LanePhase(*context, 2);  // LaneState::drawn starts from it
  const auto count = [&](const auto& rows) {
    for (const PackedRow& row : rows) {
      for (const Piece& piece : row.pieces) positions[piece.stream] += piece.length;
    }
  };
  for (int n = 0; n < 500; ++n) count(std::vector<PackedRow>{lane.NextRow().value()});
  count(lane.state().packer.ready);
  for (const Piece& piece : lane.state().packer.waiting) {
    positions[piece.stream] += piece.length;
  }
  EXPECT_EQ(positions, lane.state().drawn);
}

TEST(Lane, ContinuesFromItsStateOnly) {
  const auto context = MakeContext(ConfigWithLanes(4));
  Lane lane(context, 2);
  for (int n = 0; n < 137; ++n) ASSERT_TRUE(lane.NextRow().ok());
  LaneState state;
  ASSERT_EQ(ParseLaneState(LaneStateToNumbers(lane.state()), *context, state), absl::OkStatus());
  EXPECT_EQ(state, lane.state());
  Lane other(context, 2);
  other.SetState(state);
  for (int n = 0; n < 300; ++n) ASSERT_EQ(other.NextRow().value(), lane.NextRow().value());
  EXPECT_EQ(other.state(), lane.state());
}

TEST(Lane, RefusesNumbersThatAreNoState) {
  const auto context = MakeContext(ConfigWithLanes(4));
  Lane lane(context, 0);
  for (int n = 0; n < 20; ++n) ASSERT_TRUE(lane.NextRow().ok());
  const std::vector<int64_t> sound = LaneStateToNumbers(lane.state());
  LaneState state;
  for (size_t at = 0; at < sound.size(); at += 3) {
    std::vector<int64_t> damaged = sound;
    damaged[at] = -(int64_t{1} << 60);
    EXPECT_FALSE(ParseLaneState(damaged, *context, state).ok()) << at;
    damaged[at] = int64_t{1} << 60;
    EXPECT_FALSE(ParseLaneState(damaged, *context, state).ok()) << at;
    damaged.resize(at);
    EXPECT_FALSE(ParseLaneState(damaged, *context, state).ok()) << at;
  }
  std::vector<int64_t> longer = sound;
  longer.push_back(0);
  EXPECT_FALSE(ParseLaneState(longer, *context, state).ok());
}

}  // namespace
}  // namespace choir
