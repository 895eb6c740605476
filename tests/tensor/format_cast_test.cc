// Casts against an exact twin in double, over every code and every 16-bit input, and against what
// ml_dtypes recorded.
#include "tensor/format_cast.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "tensor/cast.h"
#include "tensor/float16.h"
#include "tests/model/reference_fixture.h"

namespace choir {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr NumberFormat kFormats[] = {NumberFormat::kBF16, NumberFormat::kF16,  NumberFormat::kE4M3,
                                     NumberFormat::kE5M2, NumberFormat::kE2M1, NumberFormat::kE8M0};

bool Wide(NumberFormat format) {
  return format == NumberFormat::kBF16 || format == NumberFormat::kF16;
}
bool IsScale(NumberFormat format) { return format == NumberFormat::kE8M0; }

std::vector<uint32_t> EncodeAll(NumberFormat format, const std::vector<float>& x,
                                const CastOptions& options = {}) {
  const auto n = static_cast<int64_t>(x.size());
  std::vector<uint8_t> narrow(x.size());
  std::vector<uint16_t> wide(x.size());
  if (Wide(format)) {
    Encode(format, x.data(), wide.data(), n, options);
    return {wide.begin(), wide.end()};
  }
  Encode(format, x.data(), narrow.data(), n, options);
  return {narrow.begin(), narrow.end()};
}

std::vector<float> DecodeAll(NumberFormat format, const std::vector<uint32_t>& codes) {
  std::vector<float> x(codes.size());
  const auto n = static_cast<int64_t>(codes.size());
  const std::vector<uint8_t> narrow(codes.begin(), codes.end());
  const std::vector<uint16_t> wide(codes.begin(), codes.end());
  if (Wide(format)) {
    Decode(format, wide.data(), x.data(), n);
  } else {
    Decode(format, narrow.data(), x.data(), n);
  }
  return x;
}

std::vector<uint32_t> AllCodes(NumberFormat format) {
  const FormatBits f = BitsOf(format);
  std::vector<uint32_t> codes(IsScale(format) ? 256 : size_t{1} << f.bits());
  for (size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<uint32_t>(i);
  return codes;
}

// The value of a code by the definition in number_format.h.
double ValueOf(NumberFormat format, uint32_t code) {
  const FormatBits f = BitsOf(format);
  if (IsScale(format)) {
    return code == 255 ? std::nan("") : std::ldexp(1, static_cast<int>(code) - f.bias);
  }
  const uint32_t magnitude = code & ((1u << (f.bits() - 1)) - 1);
  const double sign = code >> (f.bits() - 1) != 0 ? -1 : 1;
  if (f.infinity != 0 && magnitude == f.infinity) return sign * kInf;
  if (magnitude > f.largest) return std::nan("");
  const auto exponent = static_cast<int>(magnitude >> f.mantissa_bits);
  const auto mantissa = static_cast<double>(magnitude & ((1u << f.mantissa_bits) - 1));
  const double unit = std::ldexp(1, -f.mantissa_bits);
  return sign * (exponent == 0 ? std::ldexp(mantissa * unit, 1 - f.bias)
                               : std::ldexp(1 + mantissa * unit, exponent - f.bias));
}

// The twin: searches all finite values of the format, and the one that would come next.
class Twin {
 public:
  explicit Twin(NumberFormat format) : format_(format), bits_(BitsOf(format)) {
    for (uint32_t code = 0; code <= bits_.largest; ++code) values_.push_back(ValueOf(format, code));
    const size_t n = values_.size();
    values_.push_back(IsScale(format) ? 2 * values_[n - 1] : 2 * values_[n - 1] - values_[n - 2]);
    if (format == NumberFormat::kBF16 || format == NumberFormat::kF16 ||
        format == NumberFormat::kE5M2) {
      EXPECT_EQ(values_[n], 2 * std::exp2(std::floor(std::log2(values_[n - 1]))));
    }
  }

  // `up` decides for x that lies the part f of the way from code `low` to the next.
  template <class Up>
  uint32_t Encode(float value, bool saturate, const Up& up) const {
    const double x = std::abs(static_cast<double>(value));
    const uint32_t sign = std::signbit(value) ? 1u << (bits_.bits() - 1) : 0;
    if (IsScale(format_) && !(value > 0 && x < kInf)) return bits_.nan;
    if (std::isnan(value)) return sign | (bits_.nan != 0 ? bits_.nan : bits_.largest);
    size_t code;
    if (x >= values_.back()) {
      code = values_.size() - 1;
    } else {
      const auto above = std::upper_bound(values_.begin(), values_.end(), x);
      code = above == values_.begin() ? 0 : static_cast<size_t>(above - values_.begin()) - 1;
      const double f = (x - values_[code]) / (values_[code + 1] - values_[code]);
      if (f > 0 && up(f, code)) ++code;
    }
    if (code > bits_.largest) code = Overflow(saturate);
    return sign | static_cast<uint32_t>(code);
  }

  uint32_t Nearest(float value, bool saturate) const {
    return Encode(value, saturate, [this](double f, size_t low) {
      return f > 0.5 || (f == 0.5 && (IsScale(format_) || low % 2 == 1));
    });
  }

 private:
  uint32_t Overflow(bool saturate) const {
    if (saturate || format_ == NumberFormat::kE2M1) return bits_.largest;
    return bits_.infinity != 0 ? bits_.infinity : bits_.nan;
  }

  NumberFormat format_;
  FormatBits bits_;
  std::vector<double> values_;  // by code, and one more
};

std::vector<float> AllOf16Bits(NumberFormat format) { return DecodeAll(format, AllCodes(format)); }

// Values of every order of magnitude that is not the same in all formats, and any bits.
std::vector<float> ManyFloats(uint64_t count) {
  const CounterRandom random(3, "floats");
  std::vector<float> x;
  for (uint64_t i = 0; i < count; ++i) {
    x.push_back(std::bit_cast<float>(static_cast<uint32_t>(random.Bits(i))));
    const auto spread = static_cast<int>(random.Bits(count + i) % 60) - 38;
    x.push_back(static_cast<float>(std::ldexp(random.Normal(2 * count + i), spread)));
  }
  return x;
}

// Whether two codes are the same, or NaN of one sign (payloads are nobody's promise).
bool Same(NumberFormat format, uint32_t a, uint32_t b) {
  if (a == b) return true;
  const uint32_t sign = IsScale(format) ? 0 : 1u << (BitsOf(format).bits() - 1);
  return std::isnan(ValueOf(format, a)) && std::isnan(ValueOf(format, b)) &&
         (a & sign) == (b & sign);
}

TEST(NumberFormat, Limits) {
  EXPECT_EQ(LargestValue(NumberFormat::kE4M3), 448);
  EXPECT_EQ(LargestValue(NumberFormat::kE5M2), 57344);
  EXPECT_EQ(LargestValue(NumberFormat::kE2M1), 6);
  EXPECT_EQ(LargestValue(NumberFormat::kF16), 65504);
  EXPECT_EQ(LargestValue(NumberFormat::kE8M0), std::ldexp(1, 127));
  EXPECT_EQ(SmallestValue(NumberFormat::kE4M3), std::ldexp(1, -9));
  EXPECT_EQ(SmallestValue(NumberFormat::kE5M2), std::ldexp(1, -16));
  EXPECT_EQ(SmallestValue(NumberFormat::kE2M1), 0.5);
  EXPECT_EQ(SmallestValue(NumberFormat::kE8M0), std::ldexp(1, -127));
}

TEST(FormatCast, EveryCodeHasItsValueAndComesBack) {
  for (const NumberFormat format : kFormats) {
    const std::vector<uint32_t> codes = AllCodes(format);
    const std::vector<float> x = DecodeAll(format, codes);
    const CounterRandom random(1, "back");
    const CastOptions options[] = {{}, {.saturate = true}, {.random = &random, .first_index = 5}};
    for (const CastOptions& o : options) {
      const std::vector<uint32_t> again = EncodeAll(format, x, o);
      for (size_t i = 0; i < codes.size(); ++i) {
        const double value = ValueOf(format, codes[i]);
        if (std::isnan(value)) {
          ASSERT_TRUE(std::isnan(x[i])) << Name(format) << " " << i;
        } else {
          ASSERT_EQ(static_cast<double>(x[i]), value) << Name(format) << " " << i;
        }
        if (!IsScale(format)) {
          ASSERT_EQ(std::signbit(x[i]), i >= codes.size() / 2) << Name(format) << " " << i;
        }
        if (o.saturate && std::isinf(value)) continue;
        ASSERT_TRUE(Same(format, again[i], codes[i])) << Name(format) << " " << i;
      }
    }
  }
}

TEST(FormatCast, ToNearestAsTheTwin) {
  const std::vector<float> brain = AllOf16Bits(NumberFormat::kBF16);
  const std::vector<float> half = AllOf16Bits(NumberFormat::kF16), any = ManyFloats(20'000);
  for (const NumberFormat format : kFormats) {
    const Twin twin(format);
    for (const bool saturate : {false, true}) {
      for (const std::vector<float>* x : {&brain, &half, &any}) {
        const std::vector<uint32_t> codes = EncodeAll(format, *x, {.saturate = saturate});
        for (size_t i = 0; i < codes.size(); ++i) {
          const uint32_t wanted = twin.Nearest((*x)[i], saturate);
          ASSERT_TRUE(Same(format, codes[i], wanted))
              << Name(format) << " of " << (*x)[i] << ": " << codes[i] << ", not " << wanted;
        }
      }
    }
  }
}

TEST(FormatCast, TiesAndTheirNeighbours) {
  for (const NumberFormat format : kFormats) {
    const Twin twin(format);
    std::vector<float> x;
    for (uint32_t code = 0; code <= BitsOf(format).largest; ++code) {
      // Past the last one, the value that the next exponent would have.
      const double here = ValueOf(format, code);
      const double next = code < BitsOf(format).largest ? ValueOf(format, code + 1)
                          : IsScale(format)             ? 2 * here
                                                        : 2 * here - ValueOf(format, code - 1);
      const auto tie = static_cast<float>((here + next) / 2);
      ASSERT_EQ(static_cast<double>(tie), (here + next) / 2) << "a tie is a float";
      for (const float v : {tie, std::nextafter(tie, 0.0f), std::nextafter(tie, INFINITY)}) {
        x.push_back(v);
        x.push_back(-v);
      }
    }
    for (const bool saturate : {false, true}) {
      const std::vector<uint32_t> codes = EncodeAll(format, x, {.saturate = saturate});
      for (size_t i = 0; i < x.size(); ++i) {
        ASSERT_EQ(codes[i], twin.Nearest(x[i], saturate)) << Name(format) << " of " << x[i];
      }
    }
  }
}

TEST(FormatCast, SixteenBitsAsOneByOne) {
  const std::vector<float> x = ManyFloats(20'000);
  const std::vector<uint32_t> brain = EncodeAll(NumberFormat::kBF16, x);
  const std::vector<uint32_t> half = EncodeAll(NumberFormat::kF16, x);
  for (size_t i = 0; i < x.size(); ++i) {
    ASSERT_EQ(brain[i], ToBFloat16(x[i]).bits) << x[i];
    ASSERT_TRUE(Same(NumberFormat::kF16, half[i], ToFloat16(x[i]).bits)) << x[i];
  }
}

TEST(FormatCast, RoundToIsEncodeAndDecode) {
  const std::vector<float> x = ManyFloats(5'000);
  const CounterRandom random(2, "round");
  for (const NumberFormat format : kFormats) {
    for (const CastOptions& o : {CastOptions{}, CastOptions{.saturate = true},
                                 CastOptions{false, &random, 3}, CastOptions{true, &random, 3}}) {
      std::vector<float> rounded = x;
      RoundTo(format, rounded.data(), rounded.data(), static_cast<int64_t>(x.size()), o);
      const std::vector<float> twin = DecodeAll(format, EncodeAll(format, x, o));
      for (size_t i = 0; i < x.size(); ++i) {
        if (std::isnan(x[i]) && format == NumberFormat::kE2M1) {
          ASSERT_TRUE(std::isnan(rounded[i]));
        } else {
          ASSERT_EQ(std::bit_cast<uint32_t>(rounded[i]), std::bit_cast<uint32_t>(twin[i]))
              << Name(format) << " of " << x[i];
        }
      }
    }
  }
}

// --- stochastic ------------------------------------------------------------------------------

TEST(FormatCastStochastic, AsTheTwinHoweverItIsCut) {
  const std::vector<float> x = ManyFloats(5'000);
  const CounterRandom random(8, "cut", 2);
  const uint64_t first = 1'000'003;
  for (const NumberFormat format : kFormats) {
    const Twin twin(format);
    const std::vector<uint32_t> codes = EncodeAll(format, x, {false, &random, first});
    for (size_t i = 0; i < x.size(); ++i) {
      const uint32_t draw = StochasticBits(random, first + i);
      const uint32_t wanted = twin.Encode(
          x[i], false, [draw](double f, size_t) { return std::floor(f * 65536) + draw >= 65536; });
      ASSERT_TRUE(Same(format, codes[i], wanted)) << Name(format) << " of " << x[i];
    }
    for (const size_t step : {size_t{1}, size_t{37}, size_t{128}}) {
      for (size_t i = 0; i < 400; i += step) {
        const std::vector<float> part(x.begin() + static_cast<int64_t>(i),
                                      x.begin() + static_cast<int64_t>(i + step));
        const std::vector<uint32_t> cut = EncodeAll(format, part, {false, &random, first + i});
        for (size_t j = 0; j < step; ++j) ASSERT_EQ(cut[j], codes[i + j]) << Name(format);
      }
    }
  }
}

// With one draw, a larger input never becomes a smaller value.
TEST(FormatCastStochastic, IsMonotone) {
  const CounterRandom random(4, "monotone");
  std::vector<float> x = ManyFloats(3'000);
  std::erase_if(x, [](float v) { return std::isnan(v); });
  std::sort(x.begin(), x.end());
  for (const NumberFormat format : kFormats) {
    for (uint64_t index = 0; index < 20; ++index) {
      double last = -kInf;
      for (const float v : x) {
        if (IsScale(format) && !(v > 0)) continue;
        float y;
        RoundTo(format, &v, &y, 1, {true, &random, index});
        if (std::isnan(y)) continue;  // E8M0 of infinity
        ASSERT_GE(static_cast<double>(y), last) << Name(format) << " of " << v;
        last = static_cast<double>(y);
      }
    }
  }
}

// Six standard deviations of the mean of n draws with chance p: sqrt(p (1 - p) / n), and the 2^-16
// by which p may be short.
TEST(FormatCastStochastic, IsUnbiased) {
  constexpr size_t kDraws = 1 << 14;
  for (const NumberFormat format : kFormats) {
    for (const uint32_t code : {1u, 2u, BitsOf(format).largest - 1}) {
      const double low = ValueOf(format, code), high = ValueOf(format, code + 1);
      for (const double f : {0.0, 0.001, 0.25, 0.5, 0.9, 0.9999}) {
        const auto x = static_cast<float>(low + f * (high - low));
        const double p = (static_cast<double>(x) - low) / (high - low);
        const CounterRandom random(code, "mean", static_cast<uint64_t>(f * 1e6));
        double sum = 0;
        for (const float y : DecodeAll(
                 format, EncodeAll(format, std::vector<float>(kDraws, x), {false, &random}))) {
          ASSERT_TRUE(y == low || y == high);
          sum += (static_cast<double>(y) - low) / (high - low);
        }
        const double bound = 6 * std::sqrt(p * (1 - p) / kDraws) + 0x1p-16;
        EXPECT_NEAR(sum / kDraws, p, bound) << Name(format) << " " << code;
      }
    }
  }
}

// --- ml_dtypes -------------------------------------------------------------------------------

TEST(FormatCastReference, AsMlDtypes) {
  const ReferenceFixture fixture("casts");
  const auto values = fixture.Values<float>("values");
  ASSERT_GT(values.size(), 1900u);
  for (const NumberFormat format : kFormats) {
    const std::string name(Name(format));
    const auto wanted = fixture.Values<int32_t>(name + ".codes");
    const std::vector<uint32_t> codes = EncodeAll(format, values);
    ASSERT_EQ(wanted.size(), codes.size());
    for (size_t i = 0; i < codes.size(); ++i) {
      ASSERT_EQ(codes[i], static_cast<uint32_t>(wanted[i])) << name << " of " << values[i];
    }
    if (Wide(format)) continue;
    const auto decoded = fixture.Values<float>(name + ".decoded");
    const std::vector<float> own = DecodeAll(format, AllCodes(format));
    ASSERT_EQ(decoded.size(), own.size());
    for (size_t i = 0; i < own.size(); ++i) {
      if (std::isnan(decoded[i])) {
        ASSERT_TRUE(std::isnan(own[i])) << name << " " << i;
      } else {
        ASSERT_EQ(std::bit_cast<uint32_t>(own[i]), std::bit_cast<uint32_t>(decoded[i])) << name;
      }
    }
  }
  const std::vector<float> brain = AllOf16Bits(NumberFormat::kBF16);
  for (const NumberFormat format : {NumberFormat::kE4M3, NumberFormat::kE5M2}) {
    const auto wanted = fixture.Values<uint8_t>(std::string(Name(format)) + ".brain");
    const std::vector<uint32_t> codes = EncodeAll(format, brain);
    for (size_t i = 0; i < codes.size(); ++i) {
      ASSERT_TRUE(Same(format, codes[i], wanted[i])) << Name(format) << " " << i;
    }
  }
}

}  // namespace
}  // namespace choir
