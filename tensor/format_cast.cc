#include "tensor/format_cast.h"

#include <algorithm>

#include "base/check.h"
#include "tensor/round_element.h"
#include "tensor/stochastic.h"

namespace choir {
namespace {

// 2^-127, the value of code 0 of E8M0, as bits of a float: a subnormal one.
constexpr uint32_t kScaleLowest = 0x400000;

inline uint32_t EncodeScale(float x, uint32_t draw, bool stochastic, bool saturate) {
  const auto u = std::bit_cast<uint32_t>(x);
  // The way from one power of two to the next, in 2^-23.
  const bool subnormal = u < 0x800000;
  const uint32_t above_lowest = u > kScaleLowest ? u - kScaleLowest : 0;
  const uint32_t way = subnormal ? above_lowest * 2 : u & 0x7fffff;
  const uint32_t up = stochastic ? ((way >> 7) + draw) >> 16 : way >> 22;
  const uint32_t code = (subnormal ? 0 : u >> 23) + up;
  const uint32_t nan = BitsOf(NumberFormat::kE8M0).nan, largest = saturate ? nan - 1 : nan;
  // Negative numbers too: their bits are above those of infinity.
  return u == 0 || u >= kFloatInfinity ? nan : std::min(code, largest);
}

inline float DecodeScale(uint32_t code) {
  const uint32_t quiet = kFloatInfinity | 0x400000;
  return std::bit_cast<float>(code == 255 ? quiet : code == 0 ? kScaleLowest : code << 23);
}

// Calls f.operator()<format>().
template <class F>
void Dispatch(NumberFormat format, const F& f) {
  switch (format) {
    case NumberFormat::kBF16:
      return f.template operator()<NumberFormat::kBF16>();
    case NumberFormat::kF16:
      return f.template operator()<NumberFormat::kF16>();
    case NumberFormat::kE4M3:
      return f.template operator()<NumberFormat::kE4M3>();
    case NumberFormat::kE5M2:
      return f.template operator()<NumberFormat::kE5M2>();
    case NumberFormat::kE2M1:
      return f.template operator()<NumberFormat::kE2M1>();
    case NumberFormat::kE8M0:
      return f.template operator()<NumberFormat::kE8M0>();
  }
  CHECK(false) << "number format " << static_cast<int>(format);
}

// to[i] = element.operator()<format, stochastic>(from[i], draw of i).
template <NumberFormat kFormat, class To, class Element>
void Map(const float* from, To* to, int64_t n, const CastOptions& options, const Element& element) {
  if (options.random != nullptr) {
    ForEachStochasticRun(*options.random, options.first_index, n,
                         [&](int64_t begin, int64_t count, const uint32_t* draws) {
                           const float* x = from + begin;
                           To* y = to + begin;
                           for (int64_t i = 0; i < count; ++i) {
                             y[i] = element.template operator()<kFormat, true>(x[i], draws[i]);
                           }
                         });
    return;
  }
  for (int64_t i = 0; i < n; ++i) {
    to[i] = element.template operator()<kFormat, false>(from[i], 0u);
  }
}

template <class Code>
void CheckWidth(NumberFormat format) {
  const bool wide = format == NumberFormat::kBF16 || format == NumberFormat::kF16;
  CHECK(wide == (sizeof(Code) == 2)) << Name(format) << " in " << sizeof(Code) << " bytes";
}

template <class Code>
void EncodeAll(NumberFormat format, const float* from, Code* to, int64_t n,
               const CastOptions& options) {
  CheckWidth<Code>(format);
  const bool saturate = options.saturate;
  Dispatch(format, [&]<NumberFormat kFormat>() {
    Map<kFormat>(from, to, n, options,
                 [saturate]<NumberFormat k, bool kStochastic>(float x, uint32_t draw) {
                   if constexpr (k == NumberFormat::kE8M0) {
                     return static_cast<Code>(EncodeScale(x, draw, kStochastic, saturate));
                   } else {
                     return static_cast<Code>(EncodeElement<k, kStochastic>(x, draw, saturate));
                   }
                 });
  });
}

template <class Code>
void DecodeAll(NumberFormat format, const Code* from, float* to, int64_t n) {
  CheckWidth<Code>(format);
  Dispatch(format, [&]<NumberFormat kFormat>() {
    for (int64_t i = 0; i < n; ++i) {
      if constexpr (kFormat == NumberFormat::kE8M0) {
        to[i] = DecodeScale(from[i]);
      } else {
        to[i] = DecodeElement<kFormat>(from[i]);
      }
    }
  });
}

}  // namespace

void Encode(NumberFormat format, const float* from, uint8_t* to, int64_t n,
            const CastOptions& options) {
  EncodeAll(format, from, to, n, options);
}
void Encode(NumberFormat format, const float* from, uint16_t* to, int64_t n,
            const CastOptions& options) {
  EncodeAll(format, from, to, n, options);
}
void Decode(NumberFormat format, const uint8_t* from, float* to, int64_t n) {
  DecodeAll(format, from, to, n);
}
void Decode(NumberFormat format, const uint16_t* from, float* to, int64_t n) {
  DecodeAll(format, from, to, n);
}

void RoundTo(NumberFormat format, const float* from, float* to, int64_t n,
             const CastOptions& options) {
  const bool saturate = options.saturate;
  Dispatch(format, [&]<NumberFormat kFormat>() {
    Map<kFormat>(from, to, n, options,
                 [saturate]<NumberFormat k, bool kStochastic>(float x, uint32_t draw) {
                   if constexpr (k == NumberFormat::kE8M0) {
                     return DecodeScale(EncodeScale(x, draw, kStochastic, saturate));
                   } else {
                     return RoundElement<k, kStochastic>(x, draw, saturate);
                   }
                 });
  });
}

}  // namespace choir
