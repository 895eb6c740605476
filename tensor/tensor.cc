#include "tensor/tensor.h"

#include <cstring>

#include "tensor/cuda_device.h"

namespace choir {

Tensor Tensor::Empty(const Shape& shape, const TensorOptions& options) {
  Tensor t;
  t.storage_ = std::make_shared<Storage>(shape.NumElements() * SizeOf(options.dtype),
                                         options.device, options.category);
  t.shape_ = shape;
  t.dtype_ = options.dtype;
  return t;
}

Tensor Tensor::Zeros(const Shape& shape, const TensorOptions& options) {
  Tensor t = Empty(shape, options);
  t.Zero();
  return t;
}

void* Tensor::raw() const {
  if (storage_ == nullptr || storage_->data() == nullptr) return nullptr;
  return static_cast<char*>(storage_->data()) + offset_;
}

Tensor Tensor::Reshape(const Shape& shape) const {
  CHECK(shape.NumElements() == NumElements()) << shape_ << " as " << shape;
  Tensor t = *this;
  t.shape_ = shape;
  return t;
}

Tensor Tensor::Rows(int64_t begin, int64_t count) const {
  CHECK(begin >= 0 && count >= 0 && begin + count <= dim(0))
      << begin << " + " << count << " of " << shape_;
  Tensor t = *this;
  t.shape_ = shape_.With(0, count);
  const int64_t row = dim(0) == 0 ? 0 : NumElements() / dim(0);
  t.offset_ += begin * row * SizeOf(dtype_);
  return t;
}

Tensor Tensor::Clone(MemoryCategory category) const {
  Tensor t = Empty(shape_, options(category));
  t.CopyFrom(*this);
  return t;
}

void Tensor::Zero() const {
  if (bytes() == 0 || device() == Device::kMeta) return;
  if (device() == Device::kCuda) return CudaZero(raw(), bytes());
  std::memset(raw(), 0, static_cast<size_t>(bytes()));
}

void Tensor::CopyFrom(const Tensor& from) const {
  CHECK(shape_ == from.shape_);
  CHECK(dtype_ == from.dtype_);
  if (bytes() == 0 || device() == Device::kMeta || from.device() == Device::kMeta) return;
  const bool to_gpu = device() == Device::kCuda;
  const bool from_gpu = from.device() == Device::kCuda;
  if (!to_gpu && !from_gpu) {
    std::memcpy(raw(), from.raw(), static_cast<size_t>(bytes()));
    return;
  }
  CudaCopy(raw(), from.raw(), bytes(),
           to_gpu ? (from_gpu ? CopyKind::kDeviceToDevice : CopyKind::kHostToDevice)
                  : CopyKind::kDeviceToHost);
  if (!to_gpu) CudaSynchronize();  // the host reads it next
}

}  // namespace choir
