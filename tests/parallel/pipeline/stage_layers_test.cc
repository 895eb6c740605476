#include "parallel/pipeline/stage_layers.h"

#include <gmock/gmock.h>

#include <algorithm>

namespace choir {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<int> Counts(const StageSplit& split) {
  const auto stages = SplitLayers(split);
  EXPECT_TRUE(stages.ok()) << stages.status().message();
  std::vector<int> counts;
  if (stages.ok()) {
    for (const StageLayers& stage : *stages) counts.push_back(stage.count());
  }
  return counts;
}

std::string Error(const StageSplit& split) {
  return std::string(SplitLayers(split).status().message());
}

TEST(StageLayersTest, StagesFollowEachOtherAndCoverTheModel) {
  for (int layers = 1; layers <= 20; ++layers) {
    for (int stages = 1; stages <= layers; ++stages) {
      const auto split = SplitLayers({.layers = layers, .stages = stages});
      ASSERT_TRUE(split.ok());
      ASSERT_EQ(split->size(), static_cast<size_t>(stages));
      int next = 0, least = layers, most = 0;
      for (size_t s = 0; s < split->size(); ++s) {
        const StageLayers& stage = (*split)[s];
        EXPECT_EQ(stage.begin, next);
        next = stage.end;
        least = std::min(least, stage.count());
        most = std::max(most, stage.count());
        EXPECT_EQ(stage.embedding, s == 0);
        EXPECT_EQ(stage.head, s + 1 == split->size());
      }
      EXPECT_EQ(next, layers);
      EXPECT_LE(most - least, 1);
      EXPECT_GE(least, 1);
    }
  }
}

TEST(StageLayersTest, LaterStagesGetMore) {
  EXPECT_THAT(Counts({.layers = 10, .stages = 4}), ElementsAre(2, 2, 3, 3));
}

TEST(StageLayersTest, EmbeddingAndHeadCount) {
  EXPECT_THAT(Counts({.layers = 10, .stages = 4, .embedding_cost = 1, .head_cost = 1}),
              ElementsAre(2, 3, 3, 2));
  EXPECT_THAT(Counts({.layers = 6, .stages = 3, .head_cost = 3}), ElementsAre(3, 3, 0));
}

// The twin: all ways to cut the layers.
double LeastMaximum(const StageSplit& split, int stage, int left) {
  double extra = (stage == 0 ? split.embedding_cost : 0);
  if (stage + 1 == split.stages) return left + extra + split.head_cost;
  double best = 1e30;
  for (int n = 0; n <= left; ++n) {
    best = std::min(best, std::max(n + extra, LeastMaximum(split, stage + 1, left - n)));
  }
  return best;
}

TEST(StageLayersTest, NoSplitHasACheaperLargestStage) {
  for (int layers = 4; layers <= 9; ++layers) {
    for (double embedding : {0.0, 0.4, 1.5}) {
      for (double head : {0.0, 0.7, 2.5}) {
        const StageSplit split{layers, 4, {}, embedding, head};
        const std::vector<int> counts = Counts(split);
        ASSERT_EQ(counts.size(), 4u);
        double most = 0;
        for (int s = 0; s < 4; ++s) {
          most = std::max(most, counts[static_cast<size_t>(s)] + (s == 0 ? embedding : 0) +
                                    (s == 3 ? head : 0));
        }
        EXPECT_EQ(most, LeastMaximum(split, 0, layers))
            << layers << " " << embedding << " " << head;
      }
    }
  }
}

TEST(StageLayersTest, ListIsTaken) {
  EXPECT_THAT(Counts({.layers = 6, .stages = 3, .counts = {1, 3, 2}}), ElementsAre(1, 3, 2));
  EXPECT_THAT(Counts({.layers = 4, .stages = 3, .counts = {0, 4, 0}}), ElementsAre(0, 4, 0));
}

TEST(StageLayersTest, ErrorsSayTheNumbers) {
  EXPECT_THAT(Error({.layers = 3, .stages = 4}),
              HasSubstr("stage 0 of 4 would have none of the 3 layers [0, 1, 1, 1]"));
  EXPECT_THAT(Error({.layers = 6, .stages = 3, .counts = {3, 3}}),
              HasSubstr("[3, 3] has 2 entries for 3 stages"));
  EXPECT_THAT(Error({.layers = 6, .stages = 2, .counts = {3, 4}}),
              HasSubstr("[3, 4] adds up to 7, the model has 6"));
  EXPECT_THAT(Error({.layers = 6, .stages = 2, .counts = {-1, 7}}), HasSubstr("-1 layers"));
  EXPECT_THAT(Error({.layers = 6, .stages = 3, .counts = {3, 0, 3}}), HasSubstr("stage 1 of 3"));
  EXPECT_THAT(Error({.layers = 6, .stages = 0}), HasSubstr("6 layers over 0 stages"));
  EXPECT_THAT(Error({.layers = 6, .stages = 2, .head_cost = -1}), HasSubstr("0 and -1 layers"));
}

}  // namespace
}  // namespace choir
