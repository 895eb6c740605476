// Which tokens begin, end and pad a text.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace choir {

// Their names; empty where none is given.
struct SpecialNames {
  std::string bos;
  std::string eos;
  std::string pad;
};

struct SpecialIds {
  int32_t bos = -1;
  int32_t eos = -1;
  int32_t pad = -1;
};

// The names that a tokenizer_config.json or a special_tokens_map.json gives; empty where it gives
// none. `name` is what errors call the file.
absl::StatusOr<SpecialNames> ReadSpecialNames(const std::string& json, const std::string& name);

// `id_of` finds a token by its name. Of several sources the first that names a token counts, then
// the names that are common; the beginning and the padding are else the end. A named token that is
// not there, and an end that cannot be found, are InvalidArgument.
absl::StatusOr<SpecialIds> ResolveSpecialIds(
    const std::vector<SpecialNames>& sources,
    const std::function<std::optional<int32_t>(const std::string&)>& id_of,
    const std::string& name);

}  // namespace choir
