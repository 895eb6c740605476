// Plain tables on a terminal.
#pragma once

#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

namespace choir {

// 1234567 -> "1,234,567".
std::string WithCommas(int64_t number);
// With two decimals; "-" for 0 / 0.
std::string RatioText(int64_t numerator, int64_t denominator);

class TextTable {
 public:
  explicit TextTable(std::vector<std::string> header) { rows_.push_back(std::move(header)); }
  void Add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  // The first column flush left, the others flush right, two spaces between.
  void Print(std::ostream& out) const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace choir
