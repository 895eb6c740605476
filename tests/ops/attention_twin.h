// Double-precision inputs, and attention as its formula says it, for tests that compare.
#pragma once

#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/random.h"
#include "ops/parameter.h"
#include "tensor/tensor.h"

namespace choir {

// Uniform values in [-1, 1), in double.
inline Tensor RandomTensor(const Shape& shape, const std::string& name) {
  CounterRandom random(29, name);
  Tensor t = Tensor::Empty(shape, {DType::kF64});
  for (int64_t i = 0; i < t.NumElements(); ++i) {
    t.data<double>()[i] = 2 * random.Uniform(static_cast<uint64_t>(i)) - 1;
  }
  return t;
}

inline Parameter MakeParameter(const Shape& shape, const std::string& name) {
  Parameter p;
  p.name = name;
  p.value = RandomTensor(shape, name);
  p.grad = Tensor::Zeros(shape, {DType::kF64});
  return p;
}

inline Tensor IntTensor(const std::vector<int32_t>& values) {
  return Tensor::From<int32_t>({static_cast<int64_t>(values.size())}, values);
}

// softmax(scale * q k^T + mask) v with all T x T scores of a head, in loops. Tokens see each other
// if `document` (per token) is the same and the key is not later. `qkv` is f64 [T, G, R + 2, D].
inline std::vector<double> NaiveAttention(const Tensor& qkv, const std::vector<int>& document,
                                          double scale) {
  const int64_t tokens = qkv.dim(0), groups = qkv.dim(1), slots = qkv.dim(2), dim = qkv.dim(3);
  auto head = [&](int64_t t, int64_t g, int64_t slot) {
    return qkv.data<double>() + ((t * groups + g) * slots + slot) * dim;
  };
  std::vector<double> out;
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t g = 0; g < groups; ++g) {
      for (int64_t r = 0; r + 2 < slots; ++r) {
        std::vector<double> weight(static_cast<size_t>(tokens), 0.0), sum(static_cast<size_t>(dim));
        double total = 0;
        for (int64_t s = 0; s <= t; ++s) {
          if (document[static_cast<size_t>(s)] != document[static_cast<size_t>(t)]) continue;
          double score = 0;
          for (int64_t d = 0; d < dim; ++d) score += head(t, g, r)[d] * head(s, g, slots - 2)[d];
          weight[static_cast<size_t>(s)] = std::exp(scale * score);
          total += weight[static_cast<size_t>(s)];
        }
        for (int64_t s = 0; s < tokens; ++s) {
          for (int64_t d = 0; d < dim; ++d) {
            sum[static_cast<size_t>(d)] +=
                weight[static_cast<size_t>(s)] / total * head(s, g, slots - 1)[d];
          }
        }
        out.insert(out.end(), sum.begin(), sum.end());
      }
    }
  }
  return out;
}

}  // namespace choir
