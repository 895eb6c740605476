// Errors of predictions and ranks.
#pragma once

#include <vector>

namespace choir::planner {

struct ErrorSummary {
  int count = 0;
  double mean = 0, max = 0;  // of |predicted / measured - 1|
  double bias = 0;           // mean of the signed errors
};
ErrorSummary Summarize(const std::vector<double>& errors);

// Spearman's rank correlation, equal values sharing their mean rank; 1 where all of one side are
// equal on both, 0 where on one.
double RankCorrelation(const std::vector<double>& a, const std::vector<double>& b);

double Median(std::vector<double> values);

}  // namespace choir::planner
