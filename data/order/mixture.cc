#include "data/order/mixture.h"

#include <utility>

#include "base/check.h"

namespace choir {
namespace {

__extension__ using Int128 = __int128;

int64_t FloorDivide(Int128 a, Int128 b) {
  const Int128 quotient = a / b;
  return static_cast<int64_t>(quotient - (a % b != 0 && a < 0 ? 1 : 0));
}

// Of the streams that are read: what was drawn of others before does not count.
Int128 TokensRead(const std::vector<int64_t>& drawn, const std::vector<int64_t>& weights) {
  Int128 tokens = 0;
  for (size_t s = 0; s < drawn.size(); ++s) {
    if (weights[s] > 0) tokens += drawn[s];
  }
  return tokens;
}

}  // namespace

Mixture::Mixture(std::vector<int64_t> weights) : weights_(std::move(weights)) {
  for (const int64_t weight : weights_) total_ += weight;
}

int32_t Mixture::Choose(const std::vector<int64_t>& drawn,
                        const std::function<int64_t(int32_t)>& next_length) const {
  CHECK(drawn.size() == weights_.size());
  const Int128 tokens = TokensRead(drawn, weights_);
  int32_t best = -1;
  int64_t best_end = 0;
  for (int32_t s = 0; s < static_cast<int32_t>(weights_.size()); ++s) {
    if (weights_[s] == 0) continue;
    // Not ahead of its share: drawn / tokens <= weight / total. The leads sum to zero, so that some
    // stream always is.
    if (static_cast<Int128>(drawn[s]) * total_ > tokens * weights_[s]) continue;
    const int64_t end = drawn[s] + next_length(s);
    // end / weight < best_end / best_weight
    if (best < 0 ||
        static_cast<Int128>(end) * weights_[best] < static_cast<Int128>(best_end) * weights_[s]) {
      best = s;
      best_end = end;
    }
  }
  CHECK(best >= 0);
  return best;
}

std::vector<int64_t> Mixture::Lead(const std::vector<int64_t>& drawn) const {
  const Int128 tokens = TokensRead(drawn, weights_);
  std::vector<int64_t> lead(drawn.size(), 0);
  for (size_t s = 0; s < drawn.size(); ++s) {
    if (weights_[s] > 0) lead[s] = drawn[s] - FloorDivide(tokens * weights_[s], total_);
  }
  return lead;
}

}  // namespace choir
