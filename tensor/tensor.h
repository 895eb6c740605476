// A contiguous row-major array on one device: a view (offset, shape, dtype) of shared storage.
// Copying a Tensor copies the view, never the data.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "tensor/dtype.h"
#include "tensor/memory.h"
#include "tensor/shape.h"

namespace choir {

struct TensorOptions {
  DType dtype = DType::kF32;
  Device device = Device::kCpu;
  MemoryCategory category = MemoryCategory::kActivations;
};

class Tensor {
 public:
  Tensor() = default;  // undefined
  static Tensor Empty(const Shape& shape, const TensorOptions& options);
  static Tensor Zeros(const Shape& shape, const TensorOptions& options);
  // On the CPU, from values in row-major order.
  template <class T>
  static Tensor From(const Shape& shape, std::span<const T> values,
                     MemoryCategory category = MemoryCategory::kActivations);

  bool defined() const { return storage_ != nullptr; }
  const Shape& shape() const { return shape_; }
  int64_t dim(int i) const { return shape_.dim(i); }
  int64_t NumElements() const { return shape_.NumElements(); }
  int64_t bytes() const { return NumElements() * SizeOf(dtype_); }
  DType dtype() const { return dtype_; }
  Device device() const { return storage_->device(); }
  MemoryCategory category() const { return storage_->category(); }
  // Same dtype and device, another category if given.
  TensorOptions options() const { return {dtype_, device(), category()}; }
  TensorOptions options(MemoryCategory category) const { return {dtype_, device(), category}; }

  // CHECKs that T is the element type and that the tensor has memory (not meta).
  template <class T>
  T* data() const;
  template <class T>
  std::span<T> span() const {
    return {data<T>(), static_cast<size_t>(NumElements())};
  }
  void* raw() const;

  // Views of the same storage.
  Tensor Reshape(const Shape& shape) const;
  // Rows [begin, begin + count) of dim 0.
  Tensor Rows(int64_t begin, int64_t count) const;

  // A copy with its own storage.
  Tensor Clone(MemoryCategory category) const;
  Tensor Clone() const { return Clone(category()); }
  void Zero() const;
  // Copies the elements of `from` (same shape and dtype; either may be on the GPU).
  void CopyFrom(const Tensor& from) const;

  bool SharesStorageWith(const Tensor& other) const { return storage_ == other.storage_; }
  // Expires with the last Tensor of this storage.
  std::weak_ptr<const Storage> WeakStorage() const { return storage_; }
  // True when no other Tensor refers to this storage, so that it may be overwritten.
  bool Unique() const { return storage_.use_count() == 1; }

 private:
  std::shared_ptr<Storage> storage_;
  int64_t offset_ = 0;  // bytes
  Shape shape_;
  DType dtype_ = DType::kF32;
};

template <class T>
T* Tensor::data() const {
  CHECK(defined());
  CHECK(dtype_ == DTypeOf<T>());
  CHECK(device() != Device::kMeta) << "a meta tensor has no data";
  return static_cast<T*>(raw());
}

template <class T>
Tensor Tensor::From(const Shape& shape, std::span<const T> values, MemoryCategory category) {
  CHECK(shape.NumElements() == static_cast<int64_t>(values.size()));
  Tensor t = Empty(shape, {DTypeOf<T>(), Device::kCpu, category});
  std::copy(values.begin(), values.end(), t.data<T>());
  return t;
}

}  // namespace choir
