#include "parallel/expert/exchange.h"

#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <mutex>
#include <set>

#include "tensor/tolerance.h"
#include "tests/ops/recompute_where.h"
#include "tests/parallel/expert/layer_run.h"

namespace choir::expert_test {
namespace {

RecomputePolicy Drops(std::set<std::string_view> tags) {
  return RecomputeWhere(
      [tags = std::move(tags)](std::string_view tag, int) { return tags.contains(tag); });
}

std::vector<LayerCase> Cases() {
  std::vector<LayerCase> cases;
  for (Numerics numerics : {Numerics::kFast, Numerics::kInvariant}) {
    for (const auto& [expert, parts] :
         std::vector<std::pair<int, int>>{{2, 1}, {4, 1}, {1, 2}, {2, 2}}) {
      cases.push_back(
          {.expert = expert, .expert_tensor = parts, .numerics = numerics, .absent = true});
    }
  }
  return cases;
}

std::string NameOf(const LayerCase& c) {
  return "expert " + std::to_string(c.expert) + " x " + std::to_string(c.expert_tensor) +
         (c.numerics == Numerics::kInvariant ? " invariant" : " fast") + ", " +
         std::to_string(c.exchange.pieces) + " pieces";
}

TEST(ExchangePiecesTest, ChangeNoBit) {
  for (LayerCase c : Cases()) {
    const std::vector<LayerResult> whole = RunLayer(c);
    for (int pieces = 2; pieces <= 8 / c.expert; ++pieces) {
      c.exchange.pieces = pieces;
      SCOPED_TRACE(NameOf(c));
      const std::vector<LayerResult> cut = RunLayer(c);
      for (size_t r = 0; r < whole.size(); ++r) ExpectSameResult(cut[r], whole[r]);
    }
  }
}

// Experts that do not divide by the ranks: members have pieces of other sizes.
TEST(ExchangePiecesTest, UnevenExperts) {
  const LayerSizes size{.tokens = 40, .experts = 7};
  LayerCase c{.expert = 2};
  const std::vector<LayerResult> whole = RunLayer(c, size);
  c.exchange.pieces = 3;
  const std::vector<LayerResult> cut = RunLayer(c, size);
  for (size_t r = 0; r < whole.size(); ++r) ExpectSameResult(cut[r], whole[r]);
}

TEST(ExchangePiecesTest, RecomputeChangesNoBit) {
  const std::map<std::string, RecomputePolicy> policies = {
      {"all", RecomputeWhere([](std::string_view, int) { return true; })},
      {"rows", Drops({"moe.to_experts"})},
      {"results", Drops({"moe.down"})},
      {"returned", Drops({"moe.from_experts"})},
      {"both", Drops({"moe.down", "moe.from_experts"})}};
  for (LayerCase c : Cases()) {
    c.exchange.pieces = 2;
    const std::vector<LayerResult> kept = RunLayer(c);
    for (const auto& [name, policy] : policies) {
      SCOPED_TRACE(NameOf(c) + ", " + name);
      c.recompute = policy;
      const std::vector<LayerResult> again = RunLayer(c);
      for (size_t r = 0; r < kept.size(); ++r) ExpectSameResult(again[r], kept[r]);
    }
  }
}

// One rank with all tokens and experts: the same bits in invariant mode, else within the bound.
TEST(ExchangePiecesTest, OneRankIsTheTwin) {
  for (LayerCase c : Cases()) {
    const LayerResult one = RunLayer({.numerics = c.numerics, .absent = true})[0];
    c.exchange.pieces = 2;
    SCOPED_TRACE(NameOf(c));
    const std::vector<LayerResult> many = RunLayer(c);
    for (auto member : {&LayerResult::y, &LayerResult::dx, &LayerResult::dweights}) {
      if (c.numerics == Numerics::kInvariant) {
        ExpectSameBits(Joined(many, member), one.*member);
      } else {
        const LayerSizes size;
        ExpectWithin(Joined(many, member), one.*member,
                     ErrorBound(DType::kF32, size.hidden + size.width * size.top_k));
      }
    }
  }
}

// Every piece is a call of its own: forward there and back, backward there and back; and one that
// says how many rows come.
TEST(ExchangePiecesTest, EachIsOneCall) {
  for (int pieces : {1, 4}) {
    LayerCase c{.expert = 2};
    c.exchange.pieces = pieces;
    for (const LayerResult& result : RunLayer(c)) {
      int64_t calls = 0;
      for (const CommCount& count : result.counts) {
        if (count.operation == "all_to_all") calls += count.calls;
      }
      EXPECT_EQ(calls, 4 * pieces + 1);
    }
  }
}

// Rank 0 goes on while rank 1 has not sent anything yet: otherwise both would wait for ever.
TEST(ExchangePiecesTest, RowsAreUnderWayWhenToExpertsReturns) {
  std::atomic<bool> returned = false;
  WorldOptions options;
  options.timeout_s = 20;
  const absl::Status job = RunLocal(2, options, [&](World& world) {
    Degrees degrees;
    degrees.tensor = degrees.expert = 2;
    const Place place(Mesh(degrees), &world, Numerics::kFast, ContextMethod::kUlysses,
                      {.pieces = 2});
    Tape tape;
    const std::vector<int32_t> chosen = {0, 3, 2, 1, 3, 0};
    const Dispatch dispatch =
        PlanDispatch(tape, tape.Input(Tensor::From<int32_t>({3, 2}, chosen)), 4);
    const auto exchange = std::make_shared<ExpertExchange>();
    exchange->plan = PlanExchange(tape, dispatch, AllMembers(place, 4));
    const Var x = tape.Input(RandomFloats({3, 5}, "x"));
    const Var sorted = Permute(tape, x, dispatch);
    while (world.rank() == 1 && !returned) world.Progress();
    const Var rows = ToExperts(tape, sorted, exchange, Reader::kAwaits);
    if (world.rank() == 0) returned = true;
    const Var arrived = AwaitRows(tape, rows, exchange, "moe.node_rows");
    // Both ranks have the same tokens. By (expert, rank, token):
    const std::vector<int64_t> tokens = world.rank() == 0 ? std::vector<int64_t>{0, 2, 0, 2, 1, 1}
                                                          : std::vector<int64_t>{1, 1, 0, 2, 0, 2};
    ASSERT_EQ(arrived.dim(0), 6);
    for (int64_t n = 0; n < 6; ++n) {
      ExpectSameBits(arrived.tensor().Rows(n, 1),
                     x.tensor().Rows(tokens[static_cast<size_t>(n)], 1));
    }
  });
  EXPECT_TRUE(job.ok()) << job;
}

// The last product's results leave run by run, not when all are done; the first one's gradients
// too.
TEST(ExchangePiecesTest, ResultsLeaveAsSoonAsARunIsDone) {
  const absl::Status job = RunLocal(2, {}, [](World& world) {
    Degrees degrees;
    degrees.tensor = degrees.expert = 2;
    const Place place(Mesh(degrees), &world, Numerics::kFast, ContextMethod::kUlysses,
                      {.pieces = 4});
    Tape tape;
    const std::vector<int32_t> chosen = {0, 1, 2, 3, 4, 5, 6, 7};
    const Dispatch dispatch =
        PlanDispatch(tape, tape.Input(Tensor::From<int32_t>({4, 2}, chosen)), 8);
    const auto exchange = std::make_shared<ExpertExchange>();
    exchange->plan = PlanExchange(tape, dispatch, AllMembers(place, 8));
    GroupedOptions first, last;
    OverlapExperts(exchange, first, last);
    const auto calls = [&world] {
      int64_t n = 0;
      for (const CommCount& count : world.Counts()) n += count.calls;
      return n;
    };
    const Tensor rows = Tensor::Zeros({exchange->plan.arriving_rows, 5}, {});
    for (auto& after : {last.forward.after, first.backward.after}) {
      const int64_t before = calls();
      for (int64_t run = 0; run < 4; ++run) {
        after(run, rows);
        EXPECT_EQ(calls(), before + run + 1);
      }
    }
    exchange->results.Collect(exchange->plan, rows);
    exchange->row_grads.Collect(exchange->plan, rows);
  });
  EXPECT_TRUE(job.ok()) << job;
}

// An observer sees every result and gradient at once, so rows must have arrived by then: it sees
// what it sees without pieces, and that is no copy of memory that nobody has written.
TEST(ExchangePiecesTest, AnObserverSeesWholeTensors) {
  const std::set<std::string> watched = {"moe.to_experts", "moe.down"};
  using Seen = std::map<std::string, std::vector<float>>;
  const auto observe = [&](int pieces) {
    std::mutex mutex;
    Seen seen;
    WorldOptions options;
    LayerCase c{.expert = 2};
    c.exchange.pieces = pieces;
    const absl::Status job = RunLocal(2, options, [&](World& world) {
      std::vector<std::string> names;
      const auto note = [&](const std::string& name, const Tensor& t) {
        const auto values = t.span<float>();
        const std::lock_guard lock(mutex);
        seen[name + " on rank " + std::to_string(world.rank())].assign(values.begin(),
                                                                       values.end());
      };
      const TapeObserver observer{[] {},
                                  [&](std::string_view tag, int, const Tensor& result) {
                                    if (!watched.contains(std::string(tag))) return -1;
                                    names.emplace_back(tag);
                                    note(names.back(), result);
                                    return static_cast<int>(names.size()) - 1;
                                  },
                                  [&](int number, const Tensor& gradient) {
                                    note("gradient of " + names[static_cast<size_t>(number)],
                                         gradient);
                                  }};
      ObserveTapes(&observer);
      internal::RunRank(c, {}, &world);
      ObserveTapes(nullptr);
    });
    EXPECT_TRUE(job.ok()) << job;
    return seen;
  };
  const Seen whole = observe(1), cut = observe(4);
  EXPECT_EQ(whole.size(), 8u);
  EXPECT_EQ(cut, whole);
  // The rows of rank 0 are tokens: each is found among all of them.
  const Tensor x = RandomFloats({48, 20}, "x");
  const auto& rows = cut.at("moe.to_experts on rank 0");
  for (size_t row = 0; row < rows.size(); row += 20) {
    bool found = false;
    for (int64_t t = 0; t < 48; ++t) {
      found |= std::equal(x.data<float>() + t * 20, x.data<float>() + (t + 1) * 20,
                          rows.begin() + static_cast<int64_t>(row));
    }
    ASSERT_TRUE(found) << row;
  }
}

}  // namespace
}  // namespace choir::expert_test
