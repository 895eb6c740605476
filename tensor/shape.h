// The sizes of a tensor's dims, outermost first; row-major and contiguous throughout.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <ostream>
#include <span>
#include <string>

#include "base/check.h"

namespace choir {

inline constexpr int kMaxDims = 6;

class Shape {
 public:
  Shape() = default;  // a scalar
  Shape(std::initializer_list<int64_t> dims) : Shape(std::span(dims.begin(), dims.size())) {}
  explicit Shape(std::span<const int64_t> dims);

  int rank() const { return rank_; }
  // Size of dim `i`; negative `i` counts from the last dim.
  int64_t dim(int i) const;
  std::span<const int64_t> dims() const { return {dims_.data(), static_cast<size_t>(rank_)}; }
  // Number of elements; 1 for a scalar.
  int64_t NumElements() const;
  // The same shape with dim `i` replaced.
  Shape With(int i, int64_t size) const;
  std::string ToString() const;  // "[2, 3]"

  friend bool operator==(const Shape&, const Shape&) = default;
  friend std::ostream& operator<<(std::ostream& s, const Shape& shape) {
    return s << shape.ToString();
  }

 private:
  int rank_ = 0;
  std::array<int64_t, kMaxDims> dims_{};
};

}  // namespace choir
