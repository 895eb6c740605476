// A trained tensor with its gradient. Owned by the model; the tape and the optimizer refer to it.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "ops/grad_tree.h"
#include "ops/matmul_format.h"
#include "tensor/tensor.h"

namespace choir {

// A value that ranks keep in shards, and that is whole only while it is used
// (parallel/zero/weight_store.h). Parameters with one value share one of these.
struct ShardedValue {
  Shape shape;  // of the whole
  TensorOptions options;
  Tensor whole;                  // undefined while there are only the shards
  std::function<void()> gather;  // defines `whole`; blocks
};

// What a value stored as `storage` is computed in: F32 for 16-bit formats.
DType ComputeDType(DType storage);

struct Parameter {
  std::string name;  // "layers.3.attention.qkv"; keys initialisation, checkpoints and policies
  Tensor value;      // undefined where it is sharded
  std::shared_ptr<ShardedValue> sharded;  // null: `value` is always here
  // Same shape; backward adds into it. Where it is undefined, the first to add makes it.
  Tensor grad;
  MatmulPrecision matmul;  // of the products with it
  // `numerics: invariant`: backward adds here instead, leaf by leaf. Null otherwise.
  std::shared_ptr<GradTree> tree;

  // Uses in the forward pass whose gradient has not arrived yet, of all tapes.
  int pending = 0;
  // Called once by each tape, when the last contribution of its uses (a tied weight has several)
  // has been added.
  std::function<void(Parameter&)> on_ready;

  // Where ops read the value, in the dtype that they compute in: a copy where a narrower one is
  // stored. Gathers it if need be (a collective: all ranks that share the shards read in one
  // order); it may be dropped again as soon as the returned handle is gone.
  Tensor Value() const;
  // The same as it is stored.
  Tensor Stored() const;
  const Shape& shape() const { return sharded == nullptr ? value.shape() : sharded->shape; }
  // Of what is computed with the value, gradients say.
  TensorOptions options(MemoryCategory category) const;
};

}  // namespace choir
