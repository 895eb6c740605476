// Plain loops that say what collectives must give, from the inputs of all members.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <span>

#include "ops/numerics.h"
#include "parallel/comm/communicator.h"
#include "tensor/tolerance.h"

namespace choir::comm_test {

// Element `i` of what world rank `rank` hands in to call number `salt`: a fraction of 23 bits, so
// that sums round and their order shows.
template <class T>
T ValueOf(int rank, int64_t i, int salt) {
  uint64_t x = static_cast<uint64_t>(i) * 0x9e3779b97f4a7c15u +
               static_cast<uint64_t>(rank * 1009 + salt * 131 + 1) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 31)) * 0x94d049bb133111ebu;
  const int64_t bits = static_cast<int64_t>(x >> 41) - (1 << 22);
  if constexpr (std::is_same_v<T, int32_t>) {
    return static_cast<int32_t>(bits);
  } else if constexpr (std::is_floating_point_v<T>) {
    return static_cast<T>(bits) / 3 / (1 << 20);
  } else {
    return T{static_cast<uint16_t>(bits)};
  }
}

// `count` elements at an address that is no multiple of more than the element.
template <class T>
Tensor MakeInput(int rank, int64_t count, int salt) {
  const Tensor storage = Tensor::Empty({count + 1}, {DTypeOf<T>()});
  const Tensor x = storage.Rows(1, count);
  for (int64_t i = 0; i < count; ++i) x.data<T>()[i] = ValueOf<T>(rank, i, salt);
  return x;
}

template <class T>
T Apply(ReduceOp op, T a, T b) {
  return op == ReduceOp::kSum ? a + b : std::max(a, b);
}

template <class T>
T TreeTwin(ReduceOp op, std::span<const T> parts, int64_t lo, int64_t hi) {
  if (hi - lo == 1) return parts[static_cast<size_t>(lo)];
  const int64_t mid = lo + PieceBegin(hi - lo, 2, 1);
  return Apply(op, TreeTwin(op, parts, lo, mid), TreeTwin(op, parts, mid, hi));
}

// The segment of member s begins with member s + 1 and ends with s.
template <class T>
T RingTwin(ReduceOp op, std::span<const T> parts, int segment) {
  const int n = static_cast<int>(parts.size());
  T sum = parts[static_cast<size_t>((segment + 1) % n)];
  for (int i = 2; i <= n; ++i) {
    sum = Apply(op, sum, parts[static_cast<size_t>((segment + i) % n)]);
  }
  return sum;
}

// Element i (in segment `segment`) of the sum over the members of `group`.
template <class T>
T ReduceTwin(const World& world, const Communicator& group, ReduceOp op, int segment, int64_t i,
             int salt) {
  std::array<T, 16> values{};
  const std::span parts(values.data(), static_cast<size_t>(group.size()));
  double sum = 0, largest = 0;
  for (size_t m = 0; m < parts.size(); ++m) {
    parts[m] = ValueOf<T>(group.ranks()[m], i, salt);
    sum += static_cast<double>(parts[m]);
    largest = std::max(largest, std::abs(static_cast<double>(parts[m])));
  }
  const T twin = world.options().sum_order == SumOrder::kTree
                     ? TreeTwin<T>(op, parts, 0, group.size())
                     : RingTwin<T>(op, parts, segment);
  if constexpr (!std::is_same_v<T, int32_t>) {
    const double error = std::abs(static_cast<double>(twin) - sum);
    if (op == ReduceOp::kSum && i % 16 == 0) {
      EXPECT_LE(error, largest * group.size() * ErrorBound(DTypeOf<T>(), group.size()));
    }
  }
  return twin;
}

}  // namespace choir::comm_test
