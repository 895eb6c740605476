// An eager tape: ops run at once, the tape only remembers how to go back.
//
// An op is a tape function over hand-written kernels:
//
//   Var Silu(Tape& tape, const Var& x) {
//     Saved xs = x.Save();
//     Var y = tape.Compute("silu", [xs] { return SiluForward(xs.Get()); });
//     tape.Record({&y}, [xs, gx = x.grad()](Sink& sink) {
//       sink.Add(gx, SiluBackward(xs.Get(), sink.OutputGrad(0)));
//     });
//     return y;
//   }
//
// What the closure of Record captures is the saved set. Compute is the only place that makes an
// op's results, so only it knows what becomes of them (TensorPolicy) when the last live handle
// (Var) is gone: a result stays, is dropped, moves to host memory or is kept in fewer bits.
// `Saved::Get` brings it back. A dropped result is made again by running the same closure, which
// asks its own inputs in turn: the smallest subgraph, just before the gradient that needs it; the
// closure is then forgotten, so that an input that nothing else reads is dropped at once. What came
// back stays until its last reader is gone. A view is rebuilt from its source, so shared storage is
// made once. Kernels are deterministic, so recomputation never changes a number.
//
// One tape per microbatch, one thread per tape.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "ops/numerics.h"
#include "ops/parameter.h"
#include "tensor/tensor.h"

namespace choir {

class Tape;

// What becomes of a result between its last use in the forward pass and its first in backward.
enum class TensorPolicy : uint8_t {
  kDefault,  // kept; a view goes with its source
  kKeep,
  kRecompute,
  kOffload,  // to host memory (ops/offload.h)
  // Kept in that format (ops/compress.h), which backward then reads: changes numbers. F32 results
  // only; others are kept.
  kBF16,
  kE4M3,
  kE5M2
};

// Names a result for the policy (a static string).
// `decision` marks results that decide which values are computed (routing): always kept, so that
// a decision is replayed and never taken again.
struct Tag {
  Tag(const char* name, bool decision = false) : name(name), decision(decision) {}
  std::string_view name;
  bool decision;
};

// Results that activation formats are about. Others are sums that go on (the residual stream, parts
// that ranks add up), or decide things (routing, losses): those stay F32.
bool IsActivation(std::string_view tag);

using RecomputePolicy = std::function<TensorPolicy(std::string_view tag, int layer)>;

// True inside of a kernel that makes a dropped result again.
bool Replaying();

// The gradient of one recorded value; empty until a consumer has added to it.
struct GradSlot {
  Tensor grad;
};
// Null when no gradient is wanted.
using GradRef = std::shared_ptr<GradSlot>;

class OffloadQueue;
namespace internal {
class TapeRecorder;
struct Value;
}  // namespace internal

// A handle kept for the backward pass. Does not keep a tensor on the device that has left.
class Saved {
 public:
  Saved() = default;
  explicit Saved(std::shared_ptr<internal::Value> value) : value_(std::move(value)) {}
  // The tensor, brought back if it has left; it then stays until the last Saved is gone.
  const Tensor& Get() const;

 private:
  std::shared_ptr<internal::Value> value_;
};

// A live handle to a result: its tensor is here while a Var refers to it.
class Var {
 public:
  Var() = default;
  Var(std::shared_ptr<internal::Value> value, GradRef grad);
  Var(const Var& other);
  Var(Var&& other) noexcept = default;
  Var& operator=(Var other) noexcept;
  ~Var();

  bool defined() const { return value_ != nullptr; }
  const Tensor& tensor() const;
  const Shape& shape() const { return tensor().shape(); }
  int64_t dim(int i) const { return tensor().dim(i); }
  Saved Save() const { return Saved(value_); }
  const GradRef& grad() const { return grad_; }

 private:
  friend class Tape;
  std::shared_ptr<internal::Value> value_;
  GradRef grad_;
};

// Sees what tapes compute, to look at a run from outside (choir bisect). It must not change what it
// is shown, and copies what it wants to keep.
struct TapeObserver {
  std::function<void()> made;  // a tape was made
  // Compute has made a result (results made again in backward are not shown). A number that is not
  // negative asks for the result's gradient, ...
  std::function<int(std::string_view tag, int layer, const Tensor& result)> result;
  // ... shown with that number once complete; never if no gradient reaches the result.
  std::function<void(int number, const Tensor& gradient)> gradient;
};
// Tapes made on this thread from now on show themselves to `observer`, which outlives them and has
// all three functions. Null, as at first: to none.
void ObserveTapes(const TapeObserver* observer);

// Weight-gradient work that was put off (zero-bubble pipelines); run in order.
using WeightGradQueue = std::vector<std::function<void()>>;

// What a backward closure may do.
class Sink {
 public:
  // Gradient of the i-th recorded output; undefined when nothing depended on it.
  Tensor OutputGrad(int i) const;
  // Adds `grad` to an input's gradient. `grad` may be shared with other holders: it is never
  // written to unless this is its only owner.
  void Add(const GradRef& input, Tensor grad);
  // `accumulate` adds into `grad` what rows [begin, end) of this use contribute: now, or when the
  // queue of DeferWeightGrads is run. Called once for all `num_rows` rows, or once per leaf of
  // `rows` (the tape's rows() of the forward pass; null in fast mode) into a tensor of its own.
  using AccumulateRows = std::function<void(const Tensor& grad, int64_t begin, int64_t end)>;
  void Weight(Parameter& parameter, std::shared_ptr<const RowLeaves> rows, int64_t num_rows,
              AccumulateRows accumulate);
  // The same where rows are not in the order of tokens: called with leaf -1 for everything, or with
  // each i of `leaves`, the positions of the leaves in the step's tree.
  // For uses that cannot be cut into leaves (fast mode only).
  void Weight(Parameter& parameter, std::function<void(const Tensor& grad)> accumulate);
  using AccumulateLeaf = std::function<void(const Tensor& grad, int64_t leaf)>;
  void Weight(Parameter& parameter, std::vector<int64_t> leaves, AccumulateLeaf accumulate);

 private:
  friend class Tape;
  Sink(Tape& tape, std::span<const GradRef> outputs) : tape_(tape), outputs_(outputs) {}
  Tape& tape_;
  std::span<const GradRef> outputs_;
};

class Tape {
 public:
  using Backward = std::function<void(Sink&)>;
  using Kernel = std::function<Tensor()>;
  using MultiKernel = std::function<std::vector<Tensor>()>;

  // A tape that does not record computes the forward pass only.
  explicit Tape(bool recording = true);
  Tape(const Tape&) = delete;

  // Applies to results made from now on; by default everything is kept.
  void SetRecomputePolicy(RecomputePolicy policy) { policy_ = std::move(policy); }
  // The layer that the policy is asked about; -1 outside of layers.
  void SetLayer(int layer) { layer_ = layer; }

  // A value from outside; its gradient is wanted if `wants_grad`, and is then found in grad().
  Var Input(Tensor tensor, bool wants_grad = false);

  // Runs the kernel now and, if the policy drops the result, once more during backward.
  Var Compute(const Tag& tag, Kernel kernel);
  // Several results of one kernel, in the order of `tags`.
  std::vector<Var> Compute(std::initializer_list<Tag> tags, MultiKernel kernel);

  // Says how the gradients of `outputs` become gradients of inputs and parameters. The outputs get
  // their gradient slots here; `backward` runs at most once, and only if a gradient reached one.
  void Record(std::initializer_list<Var*> outputs, Backward backward);
  // Counts a use of a parameter by the forward pass; each must be matched by one Sink::Weight. When
  // all of this tape are, the parameter is told (Parameter::on_ready).
  void Use(Parameter& parameter);

  // The same storage under another shape.
  Var Reshape(const Var& x, const Shape& shape);

  // The forward pass is over: what moves to host memory has left the device. Without this call
  // RunBackward does it.
  void EndForward();

  // Runs the recorded closures in reverse, starting from d(loss) = `seed`, and forgets them.
  void RunBackward(const Var& loss, Tensor seed);
  // Several starting points at once. Handles and seeds that are moved here are gone before the
  // first closure runs.
  void RunBackward(std::vector<Var> outputs, std::vector<Tensor> seeds);

  // From now on Sink::Weight appends to `queue` (null: runs at once). Parameters then report
  // ready when the queue is run.
  void DeferWeightGrads(WeightGradQueue* queue) { deferred_ = queue; }

  // The order of sums, for ops made from now on. Invariant ops need SetRows.
  void SetNumerics(Numerics numerics) { numerics_ = numerics; }
  Numerics numerics() const { return numerics_; }
  bool invariant() const { return numerics_ == Numerics::kInvariant; }
  // The leaves that the rows of the ops made from now on belong to; null in fast mode.
  void SetRows(std::shared_ptr<const RowLeaves> rows) { rows_ = std::move(rows); }
  const std::shared_ptr<const RowLeaves>& rows() const { return rows_; }

  // What results made from now on are rounded to, in place of F32: those of norms, of projections
  // that no rank has a part of only, of activations and attention (IsActivation). kF32: nothing.
  void SetRounding(DType format) { rounding_ = format; }
  // What Compute does to a result. Takes over `result`.
  Tensor Rounded(const Tag& tag, Tensor result) const;

  // The model's parameters are used in units, one after another (blocks, say). `SetUnit` says which
  // unit the ops made from now on belong to; the hook is told before they run, and again before
  // their gradients are computed. A recomputed result may read other units in between.
  using UnitHook = std::function<void(int unit, bool backward)>;
  void SetUnitHook(UnitHook hook) { unit_hook_ = std::move(hook); }
  void SetUnit(int unit);

  // Called between kernels, forward and backward, so that communication makes progress while this
  // thread computes. May be empty.
  void SetPoll(std::function<void()> poll) { poll_ = std::move(poll); }

  bool recording() const { return recording_; }
  // Whether a TapeObserver looks at every result as soon as it is made.
  bool observed() const { return observer_ != nullptr; }
  // Whether a ScopedTapeRecording wants kernels as they run when made again (ops/tape_graph.h).
  bool recorded() const { return recorder_ != nullptr; }
  // Kernels run during backward to make dropped results again.
  int64_t recomputed() const { return *recomputed_; }

 private:
  friend class Sink;
  struct Node {
    std::vector<GradRef> outputs;
    Backward backward;
    int unit = -1;
    std::vector<int> observed;  // the observer's number of each output; empty without observer
  };
  void ShowGradients(const Node& node) const;
  void Run(const Node& node, Sink& sink);
  TensorPolicy PolicyOf(const Tag& tag, const Tensor& result, internal::Value* source) const;
  const std::shared_ptr<OffloadQueue>& Offloads();
  MultiKernel WithRounding(std::initializer_list<Tag> tags, MultiKernel kernel) const;

  bool recording_;
  const TapeObserver* observer_;
  std::shared_ptr<internal::TapeRecorder> recorder_;  // null: nobody records
  int layer_ = -1;
  Numerics numerics_ = Numerics::kFast;
  DType rounding_ = DType::kF32;
  std::shared_ptr<const RowLeaves> rows_;
  std::function<void()> poll_;
  UnitHook unit_hook_;
  int unit_ = -1;  // none yet
  RecomputePolicy policy_;
  std::shared_ptr<OffloadQueue> offloads_;  // made when first asked for
  std::vector<Node> nodes_;
  WeightGradQueue* deferred_ = nullptr;
  // Uses whose gradient has not arrived yet; shared with queues of weight gradients.
  std::shared_ptr<std::map<const Parameter*, int>> uses_ =
      std::make_shared<std::map<const Parameter*, int>>();
  std::shared_ptr<int64_t> recomputed_ = std::make_shared<int64_t>(0);
};

}  // namespace choir
