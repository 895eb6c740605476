// Strict YAML to ConfigNode; used by ConfigTree only.
#pragma once

#include <string_view>

#include "base/config_tree.h"

namespace choir {

inline constexpr size_t kMaxConfigBytes = 1'000'000;
inline constexpr size_t kMaxConfigDepth = 32;

// Reads one YAML document into `root` (kNull if there is none). `origin` names the file, or is the
// place of an argument, to which then everything is ascribed. Returns false if reading had to stop
// (the last error says why); otherwise `root` holds all but what `errors` complains about.
bool ParseConfigText(std::string_view text, const ConfigPlace& origin, ConfigNode& root,
                     ConfigErrorList& errors);

}  // namespace choir
