// When tensors are on the device, by policy: hand-made graphs, and what the ledger counts.
#include <gtest/gtest.h>

#include <functional>
#include <vector>

#include "base/fault.h"
#include "ops/compress.h"
#include "ops/elementwise.h"
#include "ops/tape.h"
#include "tests/ops/recompute_where.h"

namespace choir {
namespace {

using enum TensorPolicy;

constexpr int64_t kElements = 1024;
constexpr int64_t kUnit = kElements * 4;  // bytes of a tensor

// A ledger of this thread; bytes in tensors.
class Counted {
 public:
  explicit Counted(Device device = Device::kCpu) : scoped_(device, ledger_) {}
  double Activations() const { return Units(ledger_.Current(MemoryCategory::kActivations)); }
  double Peak() const { return Units(ledger_.PeakTotal()); }
  double Host() const { return Units(ledger_.Current(MemoryCategory::kHost)); }
  void ResetPeak() { ledger_.ResetPeak(); }

 private:
  static double Units(int64_t bytes) {
    return static_cast<double>(bytes) / static_cast<double>(kUnit);
  }
  MemoryLedger ledger_;
  ScopedLedger scoped_;
};

Tensor Ramp(double scale, Device device = Device::kCpu) {
  Tensor t = Tensor::Empty({kElements}, {DType::kF32, device});
  if (device == Device::kMeta) return t;
  for (int64_t i = 0; i < kElements; ++i) {
    t.data<float>()[i] = static_cast<float>(scale * (1 + static_cast<double>(i) / 700));
  }
  return t;
}

// y = a + b (b may be a). Backward reads `reads`, calls `look` if there is one, and hands the
// gradient on as it is.
struct OpOptions {
  std::vector<Saved> reads;
  std::function<void()> look;
};
Var Op(Tape& tape, const Var& a, const Var& b, const Tag& tag, OpOptions options = {}) {
  Var y = tape.Compute(tag, [as = a.Save(), bs = b.Save()] { return Sum(as.Get(), bs.Get()); });
  tape.Record({&y}, [options = std::move(options), ga = a.grad(), gb = b.grad()](Sink& sink) {
    for (const Saved& read : options.reads) read.Get();
    if (options.look) options.look();
    const Tensor dy = sink.OutputGrad(0);
    sink.Add(ga, dy);
    sink.Add(gb, dy);
  });
  return y;
}
Var Op(Tape& tape, const Var& a, const Tag& tag, OpOptions options = {}) {
  return Op(tape, a, a, tag, std::move(options));
}

RecomputePolicy Always(TensorPolicy policy) {
  return [policy](std::string_view, int) { return policy; };
}
RecomputePolicy OnTag(std::string_view wanted, TensorPolicy policy) {
  return [=](std::string_view tag, int) { return tag == wanted ? policy : kDefault; };
}

// What a node sees.
struct Look {
  double activations = -1, host = -1;
};
std::function<void()> LookInto(Look& look, const Counted& counted) {
  return [&] { look = {counted.Activations(), counted.Host()}; };
}
void Backward(Tape& tape, Var y) {
  const TensorOptions like = y.tensor().options();
  std::vector<Var> starts;
  starts.push_back(std::move(y));
  std::vector<Tensor> seeds;
  seeds.push_back(Ramp(1, like.device));
  tape.RunBackward(std::move(starts), std::move(seeds));
}

// x -> a -> b -> c, where only c's node reads, and only b: to make it, a is made, and dropped
// again.
TEST(TapePolicy, ALinkOfAChainIsDroppedAsSoonAsTheNextIsMade) {
  Counted counted;
  Tape tape;
  tape.SetRecomputePolicy(Always(kRecompute));
  Look look;
  Var c;
  {
    const Var b = Op(tape, Op(tape, tape.Input(Ramp(1)), "a"), "b");
    c = Op(tape, b, "c", {{b.Save()}, LookInto(look, counted)});
  }
  EXPECT_EQ(counted.Activations(), 2) << "x and c";
  counted.ResetPeak();
  Backward(tape, std::move(c));
  EXPECT_EQ(look.activations, 2)
      << "b and the seed: c was not read, x and a went with their kernels";
  EXPECT_EQ(counted.Peak(), 3) << "one link beside the next";
  EXPECT_EQ(counted.Activations(), 0);
  EXPECT_EQ(tape.recomputed(), 2);
}

// a is read by the nodes of b and d, b is dropped for good by then.
TEST(TapePolicy, FanOutIsMadeOnceAndLivesToItsLastReader) {
  Counted counted;
  Tape tape;
  tape.SetRecomputePolicy(Always(kRecompute));
  Look last, middle, first;
  Var y;
  {
    const Var x = tape.Input(Ramp(1), true);
    const Var a = Op(tape, x, "a", {{}, LookInto(first, counted)});
    const Var b = Op(tape, a, "b", {{a.Save()}, LookInto(middle, counted)});
    y = Op(tape, b, "d", {{a.Save()}, LookInto(last, counted)});
  }
  Backward(tape, std::move(y));
  EXPECT_EQ(tape.recomputed(), 1);
  EXPECT_EQ(last.activations, 2) << "a and the seed; x went with a's kernel";
  EXPECT_EQ(middle.activations, 2);
  EXPECT_EQ(first.activations, 1) << "a went with b's node";
}

// b is read by a node and made from a, which nothing else reads.
TEST(TapePolicy, AKeptTensorIsHeldForADroppedOneUntilThatIsMade) {
  Counted counted;
  Tape tape;
  tape.SetRecomputePolicy(OnTag("b", kRecompute));
  Look look;
  Var y;
  {
    const Var a = Op(tape, tape.Input(Ramp(1)), "a");
    const Var b = Op(tape, a, "b");
    y = Op(tape, b, "y", {{b.Save()}, LookInto(look, counted)});
  }
  EXPECT_EQ(counted.Activations(), 2) << "a, y";
  Backward(tape, std::move(y));
  EXPECT_EQ(look.activations, 2) << "b and the seed";
}

TEST(TapePolicy, AKeptTensorThatNobodyReadsGoesWithItsVar) {
  for (const TensorPolicy policy : {kKeep, kRecompute, kOffload, kBF16}) {
    Counted counted;
    Tape tape;
    tape.SetRecomputePolicy(Always(policy));
    Op(tape, tape.Input(Ramp(1)), "a");
    EXPECT_EQ(counted.Activations() + counted.Host(), 0);
  }
}

// Two results of one kernel: the one that is kept is not made again for the other's sake.
TEST(TapePolicy, OneKernelMakesTheMissingOnesOfItsResults) {
  for (const bool both : {false, true}) {
    Counted counted;
    Tape tape;
    tape.SetRecomputePolicy(
        RecomputeWhere([both](std::string_view tag, int) { return tag == "one" || both; }));
    int runs = 0;
    Saved one, two;
    {
      const std::vector<Var> made = tape.Compute({"one", "two"}, [&runs] {
        ++runs;
        return std::vector<Tensor>{Ramp(1), Ramp(2)};
      });
      one = made[0].Save();
      two = made[1].Save();
    }
    EXPECT_EQ(counted.Activations(), both ? 0 : 1);
    EXPECT_EQ(one.Get().data<float>()[0], 1);
    EXPECT_EQ(two.Get().data<float>()[0], 2);
    EXPECT_EQ(counted.Activations(), 2);
    EXPECT_EQ(runs, 2);
  }
}

// Through Reshape and through a kernel that hands its input on.
TEST(TapePolicy, ViewsShareOneStorage) {
  for (const TensorPolicy policy : {kKeep, kRecompute, kOffload, kBF16}) {
    Counted counted;
    Tape tape;
    tape.SetRecomputePolicy(OnTag("a", policy));
    Saved a, view, handed_on;
    {
      const Var made = Op(tape, tape.Input(Ramp(1)), "a");
      const Var shaped = tape.Reshape(made, {kElements / 2, 2});
      const Var same = tape.Compute("same", [s = shaped.Save()] { return s.Get(); });
      a = made.Save(), view = shaped.Save(), handed_on = same.Save();
    }
    tape.EndForward();
    const double left = policy == kBF16 ? 0.5 : policy == kOffload ? 0 : 1;
    EXPECT_EQ(counted.Activations(), left) << "recompute: x";
    const Tensor last = handed_on.Get();
    EXPECT_EQ(counted.Activations(), 1);
    EXPECT_TRUE(view.Get().SharesStorageWith(last));
    EXPECT_TRUE(a.Get().SharesStorageWith(last));
    EXPECT_EQ(a.Get().data<float>()[3], last.data<float>()[3]);
    EXPECT_EQ(tape.recomputed(), policy == kKeep ? 0 : policy == kRecompute ? 2 : 1);
  }
}

TEST(TapePolicy, AViewThatIsToStayKeepsItsSource) {
  Counted counted;
  Tape tape;
  tape.SetRecomputePolicy(
      [](std::string_view tag, int) { return tag == "same" ? kKeep : kRecompute; });
  Saved a, same;
  {
    const Var made = Op(tape, tape.Input(Ramp(1)), "a");
    a = made.Save();
    same = tape.Compute("same", [a] { return a.Get(); }).Save();
  }
  EXPECT_EQ(counted.Activations(), 1);
  EXPECT_TRUE(a.Get().SharesStorageWith(same.Get()));
  EXPECT_EQ(tape.recomputed(), 0);
}

// Five links, each read by the next one's node.
struct OffloadedChain {
  std::vector<double> forward, backward;  // activations after each op, in each node
  std::vector<double> host;               // in each node
  std::vector<float> gradient;
};
OffloadedChain RunChain(TensorPolicy policy, Device device) {
  OffloadedChain run;
  Counted counted(device);
  Tape tape;
  tape.SetRecomputePolicy([=](std::string_view tag, int) { return tag == "y" ? kKeep : policy; });
  const Var x = tape.Input(Ramp(1, device), true);
  Var y = x;
  for (int i = 0; i < 6; ++i) {
    const auto look = [&] {
      run.backward.push_back(counted.Activations());
      run.host.push_back(counted.Host());
    };
    y = Op(tape, y, i < 5 ? "link" : "y", {{y.Save()}, look});
    run.forward.push_back(counted.Activations());
  }
  tape.EndForward();
  run.forward.push_back(counted.Activations());
  Backward(tape, std::move(y));
  if (device == Device::kCpu) {
    const auto gradient = x.grad()->grad.span<float>();
    run.gradient.assign(gradient.begin(), gradient.end());
  }
  return run;
}

TEST(TapePolicyThreads, OffloadedTensorsLeaveAndComeBackInProgramOrder) {
  const OffloadedChain run = RunChain(kOffload, Device::kCpu);
  // x and the newest; then at most two links that are leaving.
  EXPECT_EQ(run.forward, (std::vector<double>{2, 3, 4, 4, 4, 4, 2}));
  // x, a gradient; the link that is read, and the two before it.
  EXPECT_EQ(run.backward, (std::vector<double>{5, 5, 5, 4, 3, 2}));
  EXPECT_EQ(run.host, (std::vector<double>{4, 3, 2, 1, 0, 0}));
  const OffloadedChain kept = RunChain(kKeep, Device::kCpu);
  EXPECT_EQ(run.gradient, kept.gradient);
  EXPECT_EQ(kept.forward.back(), 7);
}

TEST(TapePolicy, BytesAreThoseOfTheMetaDeviceAtEveryMoment) {
  for (const TensorPolicy policy : {kKeep, kRecompute, kOffload, kBF16, kE4M3}) {
    const OffloadedChain cpu = RunChain(policy, Device::kCpu);
    const OffloadedChain meta = RunChain(policy, Device::kMeta);
    EXPECT_EQ(cpu.forward, meta.forward);
    EXPECT_EQ(cpu.backward, meta.backward);
    EXPECT_EQ(cpu.host, meta.host);
  }
}

TEST(TapePolicyThreads, OffloadedTensorsThatNobodyReadAreForgotten) {
  Counted counted;
  {
    Tape tape;
    tape.SetRecomputePolicy(Always(kOffload));
    std::vector<Saved> saved;
    for (int i = 0; i < 9; ++i) saved.push_back(Op(tape, tape.Input(Ramp(i)), "a").Save());
    EXPECT_EQ(counted.Host(), 9);
    saved.resize(4);  // also some whose copies are under way
    EXPECT_EQ(saved[3].Get().data<float>()[0], 6);
    EXPECT_EQ(saved[0].Get().data<float>()[0], 0);
  }
  EXPECT_EQ(counted.Activations() + counted.Host(), 0);
}

TEST(TapePolicy, CompressedTensorsAreReadRounded) {
  Counted counted;
  Tape tape;
  tape.SetRecomputePolicy(OnTag("a", kE4M3));
  Saved a, b;
  {
    const Var made = Op(tape, tape.Input(Ramp(1)), "a");
    EXPECT_EQ(made.tensor().data<float>()[1], 2 * Ramp(1).data<float>()[1]) << "forward is exact";
    a = made.Save();
  }
  EXPECT_EQ(counted.Activations(), 0.25 + 64.0 / kUnit) << "and a factor for the row";
  const Tensor& rounded = a.Get();
  EXPECT_EQ(counted.Activations(), 1);
  const double bound = CompressionBound(NumberFormat::kE4M3, 5, 5);
  EXPECT_NE(rounded.data<float>()[1], 2 * Ramp(1).data<float>()[1]);
  for (int64_t i = 0; i < kElements; ++i) {
    EXPECT_NEAR(rounded.data<float>()[i], 2 * Ramp(1).data<float>()[i], bound);
  }
}

// Decisions and indices are no numbers to round.
TEST(TapePolicy, IntegersAndDecisionsStay) {
  for (const TensorPolicy policy : {kBF16, kE4M3}) {
    Counted counted;
    Tape tape;
    tape.SetRecomputePolicy(Always(policy));
    const Saved integers =
        tape.Compute("i", [] { return Tensor::Zeros({kElements}, {DType::kI32}); }).Save();
    const Saved decision = tape.Compute(Tag("d", true), [] { return Ramp(1); }).Save();
    EXPECT_EQ(counted.Activations(), 2);
    EXPECT_EQ(decision.Get().data<float>()[7], Ramp(1).data<float>()[7]);
  }
}

// Weight gradients that were put off hold what they read, each until it has run.
TEST(TapePolicy, QueuedWeightGradientsLetGoOneByOne) {
  Counted counted;
  Tape tape;
  tape.SetRecomputePolicy(Always(kRecompute));
  WeightGradQueue queue;
  tape.DeferWeightGrads(&queue);
  Parameter w;
  w.name = "w";
  w.value = Tensor::Zeros({1}, {DType::kF32, Device::kCpu, MemoryCategory::kParameters});
  Var y = tape.Input(Ramp(1), true);
  for (int i = 0; i < 3; ++i) {
    tape.Use(w);
    const Saved xs = y.Save();
    Var next = tape.Compute("y", [xs] { return Sum(xs.Get(), xs.Get()); });
    tape.Record({&next}, [xs, gx = y.grad(), &w](Sink& sink) {
      sink.Add(gx, sink.OutputGrad(0));
      sink.Weight(w, [x = xs.Get()](const Tensor&) { EXPECT_TRUE(x.defined()); });
    });
    y = std::move(next);
  }
  Backward(tape, std::move(y));
  EXPECT_EQ(queue.size(), 3u);
  double held = counted.Activations();
  EXPECT_EQ(held, 3) << "x and two links; gradients are gone";
  for (auto& run : queue) {
    run();
    run = nullptr;
    EXPECT_EQ(counted.Activations(), --held);
  }
}

TEST(TapePolicy, AnOffloadedTensorTakenForAnotherIsNoticed) {
  const OffloadedChain right = RunChain(kOffload, Device::kCpu);
  const ScopedFault fault(Fault::kOffloadOfNeighbour);
  Tape tape;
  tape.SetRecomputePolicy(Always(kOffload));
  std::vector<Saved> saved;
  for (int i = 0; i < 9; ++i) saved.push_back(Op(tape, tape.Input(Ramp(i)), "a").Save());
  tape.EndForward();
  EXPECT_NE(saved[5].Get().data<float>()[0], 10);
  EXPECT_GT(fault.hits(), 0);
}

}  // namespace
}  // namespace choir
