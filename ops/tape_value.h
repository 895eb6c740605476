// What Vars and Saveds refer to: a tensor, or the way to get it back. Private to the tape.
#pragma once

#include <memory>
#include <vector>

#include "ops/compress.h"
#include "ops/offload.h"
#include "ops/tape.h"

namespace choir::internal {

class TapeRecorder;

// The kernel that makes one or more values again. Gone once it has: what it read is then free.
struct Recipe {
  Tape::MultiKernel kernel;
  std::vector<std::weak_ptr<Value>> outputs;
  std::shared_ptr<int64_t> counter;
};

struct Value {
  Tensor tensor;
  int live = 0;       // Vars that refer to it
  int observed = -1;  // the observer's number
  int recorded = -1;  // the recorder's
  std::shared_ptr<TapeRecorder> recorder;
  TensorPolicy policy = TensorPolicy::kKeep;
  std::shared_ptr<OffloadQueue> queue;  // kOffload
  // Where the tensor is while it is not here.
  std::shared_ptr<Recipe> recipe;  // kRecompute
  CompressedTensor compressed;
  std::shared_ptr<OffloadedTensor> offloaded;

  // After the last use in the forward pass; not called where backward reads nothing of it.
  void Leave();
  // Makes `tensor` defined.
  void Return();
  // Stays, whatever the policy was.
  void Keep();
};

// The values that kernels of this thread read, while it lives: not those that a replay inside reads
// to make one of them again. Innermost first.
class ReadScope {
 public:
  ReadScope();
  ~ReadScope();
  ReadScope(const ReadScope&) = delete;

  static void Add(Value* value);
  const std::vector<Value*>& values() const { return values_; }

 private:
  std::vector<Value*> values_;
  ReadScope* outer_;
};

}  // namespace choir::internal
