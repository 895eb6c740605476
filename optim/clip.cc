#include "optim/clip.h"

#include <cmath>

#include "ops/elementwise.h"

namespace choir {

double GlobalGradNorm(std::span<Parameter* const> parameters) {
  double sum = 0;
  for (const Parameter* p : parameters) sum += SumOfSquares(p->grad);
  return std::sqrt(sum);
}

double ClipScale(double norm, std::optional<double> limit) {
  return limit && norm > *limit ? *limit / norm : 1;
}

}  // namespace choir
