#include "parallel/pipeline/runner.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "parallel/pipeline/schedule_check.h"
#include "tests/parallel/pipeline/all_specs.h"
#include "tests/parallel/pipeline/post_office.h"

namespace choir {
namespace {

using pipeline_test::AllSpecs;
using pipeline_test::Describe;
using pipeline_test::PostCommunicator;
using pipeline_test::PostOffice;

// Whole numbers, so that sums of any order are equal.
constexpr int64_t kPrime = 1009;
constexpr TensorOptions kNumbers{DType::kF64, Device::kCpu, MemoryCategory::kActivations};

using Numbers = std::vector<int64_t>;
size_t LengthOf(int microbatch) { return static_cast<size_t>(2 + microbatch % 3); }
Numbers SourceOf(int microbatch) {
  Numbers x(LengthOf(microbatch));
  for (size_t i = 0; i < x.size(); ++i) x[i] = 7 * microbatch + static_cast<int64_t>(i);
  return x;
}
// The model: y = 3 x + stage + 1, loss gradient y + 5 behind the last stage, dx = 5 dy + x, and
// dw = sum of x dy, each modulo a prime.
Numbers ForwardOf(int stage, Numbers x) {
  for (int64_t& v : x) v = (3 * v + stage + 1) % kPrime;
  return x;
}
Numbers InputGradOf(const Numbers& x, Numbers dy) {
  for (size_t i = 0; i < dy.size(); ++i) dy[i] = (5 * dy[i] + x[i]) % kPrime;
  return dy;
}
int64_t WeightGradOf(const Numbers& x, const Numbers& dy) {
  int64_t sum = 0;
  for (size_t i = 0; i < dy.size(); ++i) sum += x[i] * dy[i] % kPrime;
  return sum;
}
Numbers LossGradOf(Numbers y) {
  for (int64_t& v : y) v += 5;
  return y;
}

struct Gradients {
  std::map<int, int64_t> weights;  // by stage
  std::map<int, Numbers> inputs;   // of the first stage, by microbatch
  bool operator==(const Gradients&) const = default;
};

// The twin: one microbatch after another through the whole model.
Gradients PlainGradients(int stages, int microbatches) {
  Gradients result;
  for (int m = 0; m < microbatches; ++m) {
    std::vector<Numbers> x = {SourceOf(m)};
    for (int s = 0; s < stages; ++s) x.push_back(ForwardOf(s, x.back()));
    Numbers dy = LossGradOf(x.back());
    for (int s = stages - 1; s >= 0; --s) {
      const Numbers& input = x[static_cast<size_t>(s)];
      result.weights[s] += WeightGradOf(input, dy);
      dy = InputGradOf(input, dy);
    }
    result.inputs[m] = dy;
  }
  return result;
}

Tensor ToTensor(const Numbers& numbers) {
  const std::vector<double> values(numbers.begin(), numbers.end());
  return Tensor::From<double>({static_cast<int64_t>(values.size())}, values);
}
Numbers ToNumbers(const Tensor& tensor) {
  const auto values = tensor.span<double>();
  return {values.begin(), values.end()};
}

// The stages of one rank; writes into the rank's log what it does.
class FakeStages : public StageWork {
 public:
  FakeStages(const ScheduleSpec& spec, std::vector<std::string>& log) : spec_(spec), log_(log) {}

  Tensor Forward(int stage, int microbatch, Tensor input) override {
    log_.push_back(StrCat("F", stage, ".", microbatch));
    EXPECT_EQ(input.defined(), stage > 0);
    CheckArrival(false, stage, microbatch, input);
    Numbers x = stage > 0 ? ToNumbers(input) : SourceOf(microbatch);
    EXPECT_EQ(x.size(), LengthOf(microbatch));
    EXPECT_TRUE(inputs_.emplace(std::pair{stage, microbatch}, x).second);
    const Numbers y = ForwardOf(stage, std::move(x));
    if (stage + 1 < spec_.stages()) return Leaving(false, stage + 1, microbatch, y);
    loss_grads_[microbatch] = LossGradOf(y);
    return {};
  }

  Tensor Backward(int stage, int microbatch, Tensor output_grad, bool defer_weights) override {
    log_.push_back(StrCat(defer_weights ? "I" : "B", stage, ".", microbatch));
    const bool last = stage + 1 == spec_.stages();
    EXPECT_EQ(output_grad.defined(), !last);
    CheckArrival(true, stage, microbatch, output_grad);
    const Numbers dy = last ? loss_grads_.at(microbatch) : ToNumbers(output_grad);
    const Numbers& x = inputs_.at({stage, microbatch});
    const Numbers dx = InputGradOf(x, dy);
    if (defer_weights) {
      EXPECT_TRUE(deferred_.emplace(std::pair{stage, microbatch}, dy).second);
    } else {
      gradients.weights[stage] += WeightGradOf(x, dy);
    }
    if (stage > 0) return Leaving(true, stage - 1, microbatch, dx);
    gradients.inputs[microbatch] = dx;
    return {};
  }

  void WeightGrad(int stage, int microbatch) override {
    log_.push_back(StrCat("W", stage, ".", microbatch));
    const auto at = deferred_.find({stage, microbatch});
    ASSERT_NE(at, deferred_.end());
    gradients.weights[stage] += WeightGradOf(inputs_.at({stage, microbatch}), at->second);
    deferred_.erase(at);
  }

  Gradients gradients;
  size_t deferred() const { return deferred_.size(); }
  int without_copy = 0;

 private:
  // Remembers where the result lies, not the result: the runner alone keeps it alive.
  Tensor Leaving(bool gradient, int to_stage, int microbatch, const Numbers& numbers) {
    Tensor tensor = ToTensor(numbers);
    made_[{gradient, to_stage, microbatch}] = tensor.raw();
    return tensor;
  }
  // Between stages of this rank the very same memory arrives; and nobody else holds it.
  void CheckArrival(bool gradient, int stage, int microbatch, const Tensor& tensor) {
    if (!tensor.defined()) return;
    EXPECT_TRUE(tensor.Unique());
    const auto at = made_.find({gradient, stage, microbatch});
    if (at == made_.end()) return;
    EXPECT_EQ(tensor.raw(), at->second);
    ++without_copy;
  }

  const ScheduleSpec& spec_;
  std::vector<std::string>& log_;
  std::map<std::pair<int, int>, Numbers> inputs_, deferred_;
  std::map<int, Numbers> loss_grads_;
  std::map<std::tuple<bool, int, int>, void*> made_;
};

BoundaryTensor Boundary(const Handover& handover) {
  return {{static_cast<int64_t>(LengthOf(handover.microbatch))}, kNumbers};
}

struct Outcome {
  Gradients gradients;  // of all ranks
  std::vector<std::vector<std::string>> logs;
  int without_copy = 0;
};

// Every rank a thread.
Outcome RunThreads(const ScheduleSpec& spec) {
  Outcome outcome;
  const ScheduleRun paper = RunSchedule(spec, AllActions(spec), {});
  if (paper.deadlock()) {  // else the threads would wait for ever
    ADD_FAILURE() << Describe(spec) << "\n" << paper.DescribeBlocked();
    return outcome;
  }
  PostOffice office;
  outcome.logs.resize(static_cast<size_t>(spec.ranks));
  std::vector<std::unique_ptr<FakeStages>> stages;
  for (auto& log : outcome.logs) stages.push_back(std::make_unique<FakeStages>(spec, log));
  {
    std::vector<std::jthread> threads;
    for (int rank = 0; rank < spec.ranks; ++rank) {
      threads.emplace_back([&, rank] {
        const auto r = static_cast<size_t>(rank);
        PostCommunicator pipe(office, rank, spec.ranks, outcome.logs[r]);
        const std::vector<Action> actions = RankActions(spec, rank);
        RunActions(spec, actions, &pipe, Boundary, *stages[r]);
      });
    }
  }
  EXPECT_EQ(office.left(), 0u);
  EXPECT_EQ(office.dropped(), 0) << "sends whose tensor was dropped before they ended";
  for (const auto& rank : stages) {
    outcome.gradients.weights.merge(rank->gradients.weights);
    outcome.gradients.inputs.merge(rank->gradients.inputs);
    outcome.without_copy += rank->without_copy;
    EXPECT_EQ(rank->deferred(), 0u);
  }
  return outcome;
}

TEST(RunnerThreadTest, GradientsAreThoseOfOneRankWithoutAPipeline) {
  for (const ScheduleSpec& spec : AllSpecs(4)) {
    SCOPED_TRACE(Describe(spec));
    const Outcome outcome = RunThreads(spec);
    ASSERT_EQ(outcome.gradients, PlainGradients(spec.stages(), spec.microbatches));
    // Both ways at the turn of the V, or everywhere with one rank.
    const bool turn = spec.kind == PipelineKind::kDualPipeV;
    const int inside = spec.ranks == 1 ? spec.stages() - 1 : turn ? 1 : 0;
    EXPECT_EQ(outcome.without_copy, 2 * inside * spec.microbatches);
  }
}

TEST(RunnerThreadTest, ActionsRunInTheirOrder) {
  for (const ScheduleSpec& spec : AllSpecs(3)) {
    const Outcome outcome = RunThreads(spec);
    ASSERT_FALSE(testing::Test::HasFailure());
    for (int rank = 0; rank < spec.ranks; ++rank) {
      std::vector<std::string> expected, actual;
      for (const Action& a : RankActions(spec, rank)) {
        expected.push_back(StrCat(std::string(1, "FBIW"[static_cast<size_t>(a.kind)]), a.stage, ".",
                                  a.microbatch));
      }
      for (const std::string& line : outcome.logs[static_cast<size_t>(rank)]) {
        if (line.find(' ') == std::string::npos) actual.push_back(line);
      }
      EXPECT_EQ(actual, expected) << Describe(spec);
    }
  }
}

TEST(RunnerThreadTest, ReceivesArePostedOneActionAhead) {
  const Outcome outcome = RunThreads({PipelineKind::k1f1b, 2, 1, 2});
  ASSERT_EQ(outcome.logs.size(), 2u);
  EXPECT_EQ(outcome.logs[0],
            (std::vector<std::string>{"receive from 1", "F0.0", "send to 1", "F0.1", "send to 1",
                                      "receive from 1", "B0.0", "B0.1"}));
  EXPECT_EQ(outcome.logs[1],
            (std::vector<std::string>{"receive from 0", "receive from 0", "F1.0", "B1.0",
                                      "send to 0", "F1.1", "B1.1", "send to 0"}));
}

TEST(RunnerTest, TagsFitAndTellMessagesApart) {
  const ScheduleSpec largest{PipelineKind::kInterleaved, kMaxStages / 4, 4, 100};
  for (const ScheduleSpec& spec : {ScheduleSpec{PipelineKind::k1f1b, 3, 1, 1000}, largest}) {
    std::set<int> tags;
    const int apart = std::min(spec.microbatches, 8);
    for (int stage = 0; stage < spec.stages(); ++stage) {
      for (bool gradient : {false, true}) {
        for (int m = spec.microbatches - apart; m < spec.microbatches; ++m) {
          const int tag = HandoverTag(spec, {gradient, stage, m, 0, 1});
          EXPECT_GE(tag, 0);
          EXPECT_LT(tag, 1 << 16);
          EXPECT_TRUE(tags.insert(tag).second) << "stage " << stage << " microbatch " << m;
        }
      }
    }
  }
}

// One rank alone, with stages whose results are wrong.
void RunAlone(const ScheduleSpec& spec, const std::vector<Action>& actions,
              const BoundaryFunction& boundary) {
  PostOffice office;
  std::vector<std::string> log;
  PostCommunicator pipe(office, 0, 1, log);
  FakeStages stages(spec, log);
  RunActions(spec, actions, &pipe, boundary, stages);
}

TEST(RunnerDeathTest, WrongTensorsAndListsAreNamed) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  const ScheduleSpec spec{PipelineKind::kInterleaved, 1, 2, 2};
  const std::vector<Action> actions = RankActions(spec, 0);
  RunAlone(spec, actions, Boundary);
  auto longer = [](const Handover&) { return BoundaryTensor{{17}, kNumbers}; };
  EXPECT_DEATH(RunAlone(spec, actions, longer),
               "\\[2\\] vs \\[17\\]\\): forward of stage 0, microbatch 0");
  auto single = [](const Handover& h) {
    return BoundaryTensor{{static_cast<int64_t>(LengthOf(h.microbatch))}, {DType::kF32}};
  };
  EXPECT_DEATH(RunAlone(spec, actions, single), "forward of stage 0, microbatch 0");
  EXPECT_DEATH(RunAlone(spec, {actions[1]}, Boundary), "forward of stage 1, .* before its input");
  EXPECT_DEATH(RunAlone(spec, {actions[0]}, Boundary), "1 tensors that no action of this rank");
}

}  // namespace
}  // namespace choir
