// Unpacking: the same bytes or the same error in whatever pieces they are asked for, and bounded
// output (what zeros would unpack to is not read to the end).
#pragma once

#include <algorithm>
#include <string>
#include <string_view>

#include "base/check.h"
#include "data/text/byte_source.h"

namespace choir {

inline constexpr size_t kMaxUnpacked = size_t{1} << 20;

// What comes out before the end, an error or kMaxUnpacked; `error` tells which.
inline std::string Unpacked(Compression format, std::string_view packed, size_t piece,
                            bool& error) {
  const auto source = UnpackMemory("input", format, packed);
  std::string buffer(piece, 0), out;
  error = false;
  while (out.size() < kMaxUnpacked) {
    const absl::StatusOr<size_t> got = source->Read(buffer.data(), piece);
    error = !got.ok();
    CHECK(got.ok() || absl::IsDataLoss(got.status())) << got.status();
    if (error || *got == 0) break;
    CHECK(*got <= piece);
    out.append(buffer, 0, *got);
  }
  return out;
}

inline void CheckUnpacking(Compression format, std::string_view packed) {
  bool small_failed = false, large_failed = false;
  const std::string small = Unpacked(format, packed, 777, small_failed);
  const std::string large = Unpacked(format, packed, 65536, large_failed);
  const size_t both = std::min(small.size(), large.size());
  CHECK(small.compare(0, both, large, 0, both) == 0);
  if (small.size() < kMaxUnpacked && large.size() < kMaxUnpacked) {
    CHECK(small_failed == large_failed);
  }
}

}  // namespace choir
