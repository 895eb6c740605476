#include "tensor/shape.h"

#include <algorithm>

namespace choir {

Shape::Shape(std::span<const int64_t> dims) : rank_(static_cast<int>(dims.size())) {
  CHECK(rank_ <= kMaxDims);
  for (int64_t d : dims) CHECK(d >= 0);
  std::copy(dims.begin(), dims.end(), dims_.begin());
}

int64_t Shape::dim(int i) const {
  const int at = i < 0 ? i + rank_ : i;
  CHECK(at >= 0 && at < rank_) << "dim " << i << " of " << ToString();
  return dims_[static_cast<size_t>(at)];
}

int64_t Shape::NumElements() const {
  int64_t n = 1;
  for (int64_t d : dims()) CHECK(!__builtin_mul_overflow(n, d, &n)) << ToString();
  return n;
}

Shape Shape::With(int i, int64_t size) const {
  Shape result = *this;
  dim(i);  // checks the index
  result.dims_[static_cast<size_t>(i < 0 ? i + rank_ : i)] = size;
  return result;
}

std::string Shape::ToString() const {
  std::string text = "[";
  for (int i = 0; i < rank_; ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(dims_[static_cast<size_t>(i)]);
  }
  return text + "]";
}

}  // namespace choir
