// JSON from outside. Unlike the library's own parser it refuses duplicate keys (the library keeps
// the last in silence), integers that do not fit 64 bits (it makes them floating point), and depth
// and size beyond bounds.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string_view>

#include "absl/status/statusor.h"

namespace choir {

struct JsonLimits {
  int max_depth = 64;
  int64_t max_values = 16'000'000;
};

// InvalidArgument says what is wrong, with the byte position where the parser knows it.
absl::StatusOr<nlohmann::json> ParseStrictJson(std::string_view text,
                                               const JsonLimits& limits = {});

}  // namespace choir
