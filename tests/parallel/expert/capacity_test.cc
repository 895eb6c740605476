#include "parallel/expert/capacity.h"

#include <gtest/gtest.h>

#include <map>

#include "ops/dispatch.h"
#include "tests/parallel/expert/layer_run.h"

namespace choir::expert_test {
namespace {

TEST(ExpertCapacityTest, RoundsUp) {
  EXPECT_EQ(ExpertCapacity(1, 48, 3, 8), 18);
  EXPECT_EQ(ExpertCapacity(1, 49, 3, 8), 19);
  EXPECT_EQ(ExpertCapacity(0.5, 48, 3, 8), 9);
  EXPECT_EQ(ExpertCapacity(1.1, 10, 1, 1), 11) << "1.1 is a little more in binary";
  EXPECT_EQ(ExpertCapacity(1e-6, 48, 3, 8), 1);
}

struct Kept {
  std::vector<int32_t> indices, dropped;
};

Kept Keep(const LayerSizes& size, const std::vector<float>& valid, const TokenPart& part,
          int64_t capacity, const Place& place) {
  Tape tape;
  const Tensor chosen =
      part.Of(Tensor::From<int32_t>({size.tokens, size.top_k}, Choices(size, false)));
  const Tensor mask = part.Of(Tensor::From<float>({size.tokens}, valid));
  const KeptChoices kept =
      KeepWithinCapacity(tape, tape.Input(chosen), {capacity, size.experts, mask}, place);
  const auto indices = kept.indices.tensor().span<const int32_t>();
  return {{indices.begin(), indices.end()}, kept.dropped};
}

// Against a loop over all tokens; one rank, and tokens over ranks of both token axes.
TEST(KeepWithinCapacityTest, FirstComeFirstServedOnAnyRanks) {
  const LayerSizes size;
  const std::vector<int32_t> choices = Choices(size, false);
  std::vector<float> valid(static_cast<size_t>(size.tokens), 1);
  for (size_t t : {3, 17, 46, 47}) valid[t] = 0;
  for (int64_t capacity : {1, 7, 18, 1000}) {
    SCOPED_TRACE(capacity);
    Kept want;
    std::map<int32_t, int64_t> taken;
    want.dropped.resize(static_cast<size_t>(size.tokens));
    for (size_t i = 0; i < choices.size(); ++i) {
      const size_t t = i / static_cast<size_t>(size.top_k);
      const bool keep = valid[t] == 0 || ++taken[choices[i]] <= capacity;
      want.indices.push_back(keep ? choices[i] : kAbsent);
      want.dropped[t] += !keep;
    }
    const Kept one = Keep(size, valid, PartOfTokens(size.tokens, 1, 0), capacity, Place());
    EXPECT_EQ(one.indices, want.indices);
    EXPECT_EQ(one.dropped, want.dropped);
    for (const auto& [context, tensor] :
         std::vector<std::pair<int, int>>{{1, 2}, {2, 1}, {2, 2}, {2, 4}}) {
      Degrees degrees;
      degrees.context = context;
      degrees.tensor = tensor;
      const int ranks = context * tensor;
      std::vector<Kept> parts(static_cast<size_t>(ranks));
      const absl::Status job = RunLocal(ranks, {}, [&](World& world) {
        const Place place(Mesh(degrees), &world, Numerics::kFast);
        parts[static_cast<size_t>(world.rank())] =
            Keep(size, valid, PartOfTokens(size.tokens, ranks, world.rank()), capacity, place);
      });
      ASSERT_TRUE(job.ok()) << job;
      Kept got;
      for (const Kept& part : parts) {
        got.indices.insert(got.indices.end(), part.indices.begin(), part.indices.end());
        got.dropped.insert(got.dropped.end(), part.dropped.begin(), part.dropped.end());
      }
      EXPECT_EQ(got.indices, want.indices);
      EXPECT_EQ(got.dropped, want.dropped);
    }
  }
}

}  // namespace
}  // namespace choir::expert_test
