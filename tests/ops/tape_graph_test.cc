// The recorder, on tapes made by hand.
#include "ops/tape_graph.h"

#include <gtest/gtest.h>

#include <deque>
#include <tuple>
#include <utility>
#include <vector>

#include "ops/elementwise.h"

namespace choir {
namespace {

constexpr int64_t kBytes = 4096;

Tensor Empty() { return Tensor::Empty({kBytes / 4}, {DType::kF32, Device::kMeta}); }

using Indices = std::vector<int>;

// x -> a -> view of a, handed on -> b; a decision that only a closure holds; b's node reads the
// view and b.
TEST(TapeGraph, HasKernelsTensorsAndReaders) {
  MemoryLedger ledger;
  const ScopedLedger scoped(Device::kMeta, ledger);
  std::deque<TapeGraph> graphs;
  {
    const ScopedTapeRecording recording(graphs, Device::kMeta);
    Tape tape;
    std::vector<Var> starts;
    {
      const Var x = tape.Input(Empty(), true);
      tape.SetLayer(3);
      const Var a = tape.Compute("a", [xs = x.Save()] {
        const Tensor scratch = Tensor::Empty({512}, {DType::kF32, Device::kMeta});
        RecordWork({.name = "a", .flops = 7});
        return Sum(xs.Get(), xs.Get());
      });
      const Var shaped = tape.Reshape(a, {2, kBytes / 8});
      const Var same = tape.Compute("same", [s = shaped.Save()] { return s.Get(); });
      const Tensor decision = tape.Compute(Tag("decision", true), [] { return Empty(); }).tensor();
      Var b = tape.Compute("b", [s = same.Save()] { return Sum(s.Get(), s.Get()); });
      tape.Record({&b}, [s = same.Save(), bs = b.Save(), decision, gx = x.grad()](Sink& sink) {
        s.Get();
        bs.Get();
        const Tensor scratch = Empty();
        RecordWork({.name = "node", .flops = 9});
        sink.Add(gx, sink.OutputGrad(0));
      });
      starts.push_back(std::move(b));
    }
    tape.EndForward();
    std::vector<Tensor> seeds;
    seeds.push_back(Empty());
    tape.RunBackward(std::move(starts), std::move(seeds));
  }
  ASSERT_EQ(graphs.size(), 1u);
  const TapeGraph& g = graphs[0];
  ASSERT_EQ(g.tensors.size(), 6u);
  const auto& [x, a, shaped, same, decision, b] =
      std::tie(g.tensors[0], g.tensors[1], g.tensors[2], g.tensors[3], g.tensors[4], g.tensors[5]);
  EXPECT_EQ(x.tag + shaped.tag, "");
  EXPECT_EQ(a.tag + same.tag + decision.tag + b.tag, "asamedecisionb");
  EXPECT_EQ(a.layer, 3);
  EXPECT_EQ((Indices{x.kernel, a.kernel, shaped.kernel, same.kernel, decision.kernel, b.kernel}),
            (Indices{-1, 0, -1, 1, 2, 3}));
  EXPECT_EQ((Indices{a.view_of, shaped.view_of, same.view_of, b.view_of}), (Indices{-1, 1, 1, -1}));
  EXPECT_EQ(a.bytes + b.bytes, 2 * kBytes);
  EXPECT_EQ(shaped.bytes + same.bytes, 0);
  EXPECT_TRUE(decision.decision && !a.decision);
  EXPECT_EQ(decision.released, 2);
  EXPECT_EQ(a.released, 3);
  EXPECT_EQ(b.released, 4) << "alive until the pass ends";

  ASSERT_EQ(g.kernels.size(), 4u);
  EXPECT_EQ(g.kernels[0].inputs, Indices{0});
  EXPECT_EQ(g.kernels[0].outputs, Indices{1});
  EXPECT_EQ(g.kernels[0].workspace, 2048);
  EXPECT_EQ(g.kernels[0].work.front().flops, 7);
  EXPECT_EQ(g.kernels[1].inputs, Indices{2});
  EXPECT_EQ(g.kernels[3].inputs, Indices{3});
  EXPECT_EQ(g.kernels[3].workspace, 0);

  ASSERT_EQ(g.backward.size(), 1u);
  EXPECT_EQ(g.backward[0].reads, (Indices{3, 5, 4})) << "the decision by its death";
  EXPECT_EQ(g.backward[0].read_bytes, kBytes) << "the seed";
  EXPECT_EQ(g.backward[0].peak_bytes, 2 * kBytes);
  EXPECT_EQ(g.backward[0].work.back().flops, 9);
}

// Weight gradients that were put off are nodes; each reads what it held to the last.
TEST(TapeGraph, DeferredWeightGradientsAreNodes) {
  std::deque<TapeGraph> graphs;
  {
    const ScopedTapeRecording recording(graphs, Device::kMeta);
    Parameter w;
    w.name = "w";
    w.value = Tensor::Empty({1}, {DType::kF32, Device::kMeta, MemoryCategory::kParameters});
    WeightGradQueue queue;
    Tape tape;
    tape.DeferWeightGrads(&queue);
    std::vector<Var> starts{tape.Input(Empty(), true)};
    for (int i = 0; i < 2; ++i) {
      tape.Use(w);
      const Var x = std::move(starts[0]);
      Var y = tape.Compute("y", [xs = x.Save()] { return Sum(xs.Get(), xs.Get()); });
      tape.Record({&y}, [xs = x.Save(), gx = x.grad(), &w](Sink& sink) {
        sink.Add(gx, sink.OutputGrad(0));
        sink.Weight(w, [x = xs.Get()](const Tensor&) {});
      });
      starts[0] = std::move(y);
    }
    std::vector<Tensor> seeds;
    seeds.push_back(Empty());
    tape.RunBackward(std::move(starts), std::move(seeds));
    for (auto& run : queue) {
      run();
      run = nullptr;
    }
  }
  const TapeGraph& g = graphs.at(0);
  ASSERT_EQ(g.backward.size(), 4u);
  EXPECT_EQ(g.backward[0].reads, Indices{1});
  EXPECT_EQ(g.backward[1].reads, Indices{0});
  EXPECT_EQ(g.backward[2].reads, Indices{1});
  EXPECT_EQ(g.backward[3].reads, Indices{0});
}

// Each tape has a graph; what others hold meanwhile is none of its bytes.
TEST(TapeGraph, TapesOfAPipelineAreApart) {
  MemoryLedger ledger;
  const ScopedLedger scoped(Device::kMeta, ledger);
  std::deque<TapeGraph> graphs;
  {
    const ScopedTapeRecording recording(graphs, Device::kMeta);
    Tape tapes[2];
    std::vector<Var> ends;
    for (Tape& tape : tapes) {
      const Var x = tape.Input(Empty(), true);
      Var y = tape.Compute("y", [xs = x.Save()] { return Sum(xs.Get(), xs.Get()); });
      tape.Record({&y}, [xs = x.Save(), gx = x.grad()](Sink& sink) {
        xs.Get();
        sink.Add(gx, sink.OutputGrad(0));
      });
      ends.push_back(std::move(y));
      tape.EndForward();
    }
    for (int i = 0; i < 2; ++i) {
      std::vector<Var> starts;
      starts.push_back(std::move(ends[static_cast<size_t>(i)]));
      std::vector<Tensor> seeds;
      seeds.push_back(Empty());
      tapes[i].RunBackward(std::move(starts), std::move(seeds));
    }
  }
  ASSERT_EQ(graphs.size(), 2u);
  for (const TapeGraph& g : graphs) {
    ASSERT_EQ(g.backward.size(), 1u);
    EXPECT_EQ(g.backward[0].read_bytes, kBytes);
    EXPECT_EQ(g.kernels[0].workspace, 0);
  }
}

}  // namespace
}  // namespace choir
