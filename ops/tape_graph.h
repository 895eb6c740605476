// What a tape computes, as a graph: kernels, the tensors between them, and the backward nodes that
// read these. Recorded by running a forward and a backward pass, on any device; on the meta device
// for plans, on a CPU for times.
//
// Record a tape that keeps everything, so that each kernel runs once. What kernels and nodes read
// is what they ask Saved::Get for.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "ops/tape.h"
#include "ops/work.h"

namespace choir {

struct TapeTensor {
  std::string tag;  // empty: from outside, or another shape of a tensor (Tape::Reshape)
  int layer = -1;
  int64_t bytes = 0;      // as the ledger counts them; 0 for a view
  int view_of = -1;       // the tensor whose storage it shares; that is no view
  int kernel = -1;        // that makes it; -1: none
  bool decision = false;  // always kept
  // The last kernel of the forward pass that runs while a Var refers to it; the number of kernels:
  // alive until the pass ends.
  int released = -1;
};

struct TapeKernel {
  std::vector<int> inputs;   // tensors, in the order in which it first reads them
  std::vector<int> outputs;  // tensors
  double seconds = 0;        // as measured; nothing on meta
  std::vector<Work> work;
  int64_t workspace = 0;  // most bytes besides inputs and outputs while it runs
};

// A closure of Tape::Record or, with weight gradients that are put off, one of them.
struct TapeNode {
  std::vector<int> reads;
  double seconds = 0;
  std::vector<Work> work;
  // Bytes besides those before the forward pass and the tensors of the graph: when it starts, and
  // the most of them.
  int64_t read_bytes = 0, peak_bytes = 0;
};

struct TapeGraph {
  std::vector<TapeTensor> tensors;
  std::vector<TapeKernel> kernels;  // in the order of the forward pass
  std::vector<TapeNode> backward;   // in its order
};

// While it lives, tapes made on this thread are recorded, each into a graph of its own. `graphs`
// outlives the tapes and their queues of weight gradients. Recording listens to RecordWork in place
// of other listeners, and resets peaks of the ledger of `device`.
class ScopedTapeRecording {
 public:
  ScopedTapeRecording(std::deque<TapeGraph>& graphs, Device device);
  ~ScopedTapeRecording();
  ScopedTapeRecording(const ScopedTapeRecording&) = delete;
};

namespace internal {

// Fills a graph. What happens between Begin and End of a kernel or node belongs to it.
class TapeRecorder {
 public:
  TapeRecorder(TapeGraph& graph, Device device);
  ~TapeRecorder();
  TapeRecorder(const TapeRecorder&) = delete;

  // A value from outside.
  void AddInput(Value& value);
  void BeginKernel();
  void EndKernel(const std::vector<Value*>& reads);
  // The results of the kernel that has just ended, and other shapes of tensors.
  void AddResult(const Tag& tag, int layer, Value& value, const Value* source);
  void AddView(Value& value, const Value& source);
  // No Var refers to it any more.
  void Release(const Value& value);
  // Nothing is released after it.
  void EndForward();

  void BeginNode();
  void EndNode(const std::vector<Value*>& reads);
  // The same for weight gradients that were put off, whose closures hold tensors, not values: one
  // read what goes with it.
  void BeginDeferred();
  void EndDeferred();

 private:
  struct Span;
  struct Held {
    std::weak_ptr<const Storage> storage;
    bool dead = false;  // noticed; or a view
  };
  void Begin();
  void Add(Value& value, TapeTensor tensor);
  int Root(const Value& value) const;
  static std::vector<int> Indices(const std::vector<Value*>& reads);
  void End(TapeNode& node);
  int64_t Alive() const;
  int64_t Others() const;
  void AddDeaths();

  TapeGraph& graph_;
  MemoryLedger& ledger_;
  int64_t base_;                // bytes that are there anyway
  int64_t seen_;                // bytes when the tape, or the last input, was made
  std::vector<Held> held_;      // by tensor
  std::unique_ptr<Span> span_;  // under way
  bool forward_ = true, deferred_ = false;
};

// Null without a ScopedTapeRecording.
std::shared_ptr<TapeRecorder> MakeTapeRecorder();

}  // namespace internal
}  // namespace choir
