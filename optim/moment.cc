#include "optim/moment.h"

#include "optim/moment_code.h"
#include "tensor/cast.h"

namespace choir {
namespace {

CodedBlock BlockAt(const Tensor& codes, const Tensor& scales, const ElementRun& run) {
  return {static_cast<uint8_t*>(codes.raw()) + run.begin, scales.data<float>() + run.block};
}

}  // namespace

Moment::Moment(MomentFormat format, MomentKind kind, const RunGrid& grid, const TensorOptions& like)
    : format_(format), kind_(kind) {
  CHECK(format == MomentFormat::kF32 || like.dtype == DType::kF32)
      << "moments of parameters in " << like.dtype << " are not rounded";
  TensorOptions options{like.dtype, like.device, MemoryCategory::kOptimizer};
  switch (format) {
    case MomentFormat::kF32:
      data_ = Tensor::Zeros({grid.size()}, options);
      return;
    case MomentFormat::kBF16:
      options.dtype = DType::kBF16;
      data_ = Tensor::Zeros({grid.size()}, options);
      return;
    case MomentFormat::kInt8:
      scales_ = Tensor::Zeros({grid.num_blocks()}, options);
      options.dtype = DType::kI32;
      data_ = Tensor::Zeros({(grid.size() + 3) / 4}, options);
      return;
  }
}

void Moment::Load(const ElementRun& run, float* values) const {
  if (format_ == MomentFormat::kBF16) {
    return ToFloats(data_.data<BFloat16>() + run.begin, values, run.count);
  }
  const CodedBlock block = BlockAt(data_, scales_, run);
  if (kind_ == MomentKind::kSigned) return DecodeSigned(block, run.count, values);
  DecodeRoots(block, run.count, values);
}

void Moment::Store(const ElementRun& run, const float* values, const CounterRandom& random) const {
  if (format_ == MomentFormat::kBF16) {
    return StochasticToBFloat16(values, data_.data<BFloat16>() + run.begin, run.count, random,
                                run.global);
  }
  const CodedBlock block = BlockAt(data_, scales_, run);
  if (kind_ == MomentKind::kSigned) {
    return EncodeSigned(values, run.count, block, random, run.global);
  }
  EncodeRoots(values, run.count, block, random, run.global);
}

void Moment::StoreNearest(const ElementRun& run, const float* values) const {
  if (format_ == MomentFormat::kBF16) {
    return RoundToBFloat16(values, data_.data<BFloat16>() + run.begin, run.count);
  }
  const CodedBlock block = BlockAt(data_, scales_, run);
  if (kind_ == MomentKind::kSigned) return EncodeSignedNearest(values, run.count, block);
  EncodeRootsNearest(values, run.count, block);
}

Tensor Moment::Read(const RunGrid& grid) const {
  if (format_ == MomentFormat::kF32) return data_;
  const Tensor values =
      Tensor::Empty({grid.size()}, {DType::kF32, data_.device(), MemoryCategory::kWorkspace});
  if (data_.device() == Device::kMeta) return values;
  for (int64_t i = 0; i < grid.size();) {
    const ElementRun run = grid.At(i, grid.size());
    Load(run, values.data<float>() + i);
    i += run.count;
  }
  return values;
}

void Moment::Write(const RunGrid& grid, const Tensor& values) const {
  CHECK(values.NumElements() == grid.size());
  if (format_ == MomentFormat::kF32) {
    if (!values.SharesStorageWith(data_)) data_.CopyFrom(values);
    return;
  }
  for (int64_t i = 0; i < grid.size();) {
    const ElementRun run = grid.At(i, grid.size());
    StoreNearest(run, values.data<float>() + i);
    i += run.count;
  }
}

int64_t Moment::bytes() const {
  return defined() ? data_.bytes() + (scales_.defined() ? scales_.bytes() : 0) : 0;
}

}  // namespace choir
