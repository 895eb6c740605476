#include <algorithm>
#include <cmath>
#include <mutex>
#include <numbers>

#include "ops/rotary.h"

namespace choir {
namespace {

constexpr int kLevels = 4, kDigits = 256;

// Index of the frequency that makes `turns` turns over the original context.
double IndexOfTurns(double turns, const RotaryOptions& options) {
  const double length = options.yarn->original_length;
  return options.dims * std::log(length / (turns * 2 * std::numbers::pi)) /
         (2 * std::log(options.base));
}

std::vector<double> Frequencies(const RotaryOptions& options) {
  std::vector<double> frequencies(static_cast<size_t>(options.dims / 2));
  for (size_t i = 0; i < frequencies.size(); ++i) {
    frequencies[i] = std::pow(options.base, -2.0 * static_cast<double>(i) / options.dims);
  }
  if (!options.yarn) return frequencies;
  const YarnOptions& yarn = *options.yarn;
  CHECK(yarn.factor >= 1);
  CHECK(yarn.original_length > 0);
  CHECK(yarn.beta_fast >= yarn.beta_slow && yarn.beta_slow > 0);
  const double last = options.dims - 1;
  const double low = std::clamp(std::floor(IndexOfTurns(yarn.beta_fast, options)), 0.0, last);
  double high = std::clamp(std::ceil(IndexOfTurns(yarn.beta_slow, options)), 0.0, last);
  if (low == high) high += 0.001;  // a step instead of a division by zero
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const double slowed = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    frequencies[i] *= slowed / yarn.factor + (1 - slowed);
  }
  return frequencies;
}

// [levels][digits][2][n], of RotaryTable::digits_.
std::vector<double> Digits(const std::vector<double>& frequencies) {
  const size_t n = frequencies.size();
  std::vector<double> digits(kLevels * kDigits * 2 * n);
  double* row = digits.data();
  for (int level = 0; level < kLevels; ++level) {
    for (int digit = 0; digit < kDigits; ++digit, row += 2 * n) {
      const double position = std::ldexp(digit, 8 * level);
      for (size_t i = 0; i < n; ++i) {
        row[i] = std::cos(position * frequencies[i]);
        row[n + i] = std::sin(position * frequencies[i]);
      }
    }
  }
  return digits;
}

using Numbers = std::shared_ptr<const std::vector<double>>;

// The last one that was made.
struct MadeTable {
  std::mutex mutex;
  RotaryOptions options;
  Numbers frequencies, digits;
};

}  // namespace

RotaryTable::RotaryTable(const RotaryOptions& options) : options_(options) {
  CHECK(options.dims >= 0);
  CHECK(options.dims % 2 == 0) << "rotary dims come in pairs";
  CHECK(options.base > 1);
  if (options.yarn)
    mscale_ = options.yarn->mscale.value_or(0.1 * std::log(options.yarn->factor) + 1);
  static MadeTable& last = *new MadeTable;
  const std::lock_guard lock(last.mutex);
  if (last.digits == nullptr || last.options != options) {
    last.options = options;
    last.frequencies = std::make_shared<const std::vector<double>>(Frequencies(options));
    last.digits = std::make_shared<const std::vector<double>>(Digits(*last.frequencies));
  }
  frequencies_ = last.frequencies;
  digits_ = last.digits;
}

void RotaryTable::CosSin(int32_t position, std::span<double> cos, std::span<double> sin) const {
  CHECK(position >= 0) << "a rotary position";
  const size_t n = frequencies_->size();
  auto row = [&](int level) {
    const int digit = (position >> (8 * level)) % kDigits;
    return digits_->data() + static_cast<size_t>(level * kDigits + digit) * 2 * n;
  };
  const double* first = row(0);
  for (size_t i = 0; i < n; ++i) {
    cos[i] = mscale_ * first[i];
    sin[i] = mscale_ * first[n + i];
  }
  for (int level = 1; level < kLevels && position >> (8 * level) != 0; ++level) {
    const double* more = row(level);
    for (size_t i = 0; i < n; ++i) {
      const double c = cos[i], s = sin[i];
      cos[i] = c * more[i] - s * more[n + i];
      sin[i] = s * more[i] + c * more[n + i];
    }
  }
}

}  // namespace choir
