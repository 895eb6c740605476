// Where a tensor lives. `meta` allocates nothing and runs no kernel: shapes and byte counts only,
// which is how plans are exact.
#pragma once

#include <cstdint>
#include <ostream>
#include <string_view>

namespace choir {

enum class Device : uint8_t { kCpu, kMeta, kCuda };
inline constexpr int kNumDevices = 3;

std::string_view Name(Device device);
inline std::ostream& operator<<(std::ostream& s, Device device) { return s << Name(device); }

}  // namespace choir
