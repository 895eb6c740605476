// Singular values in double, for tests of small matrices.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace choir {

// Of a row-major [rows, columns] matrix, descending: one-sided Jacobi on the smaller side (Golub
// and Van Loan, Matrix Computations, 8.6), until every pair is orthogonal to within 1e-14.
inline std::vector<double> SingularValues(const std::vector<double>& a, int64_t rows,
                                          int64_t columns) {
  const int64_t n = std::min(rows, columns), m = std::max(rows, columns);
  std::vector<std::vector<double>> v(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < m; ++j) {
      const int64_t at = rows <= columns ? i * columns + j : j * columns + i;
      v[static_cast<size_t>(i)].push_back(a[static_cast<size_t>(at)]);
    }
  }
  const auto dot = [](const std::vector<double>& x, const std::vector<double>& y) {
    double sum = 0;
    for (size_t i = 0; i < x.size(); ++i) sum += x[i] * y[i];
    return sum;
  };
  for (bool turned = true; turned;) {
    turned = false;
    for (size_t p = 0; p < v.size(); ++p) {
      for (size_t q = p + 1; q < v.size(); ++q) {
        const double pp = dot(v[p], v[p]), qq = dot(v[q], v[q]), pq = dot(v[p], v[q]);
        if (std::abs(pq) <= 1e-14 * std::sqrt(pp * qq)) continue;
        turned = true;
        const double zeta = (qq - pp) / (2 * pq);
        const double t = (zeta >= 0 ? 1 : -1) / (std::abs(zeta) + std::sqrt(1 + zeta * zeta));
        const double c = 1 / std::sqrt(1 + t * t), s = c * t;
        for (size_t i = 0; i < v[p].size(); ++i) {
          const double x = v[p][i], y = v[q][i];
          v[p][i] = c * x - s * y;
          v[q][i] = s * x + c * y;
        }
      }
    }
  }
  std::vector<double> values;
  for (const auto& row : v) values.push_back(std::sqrt(dot(row, row)));
  std::sort(values.rbegin(), values.rend());
  return values;
}

}  // namespace choir
