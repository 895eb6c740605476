#include "base/config_docs.h"

#include "absl/strings/str_replace.h"

namespace choir {

std::string DocsRow(const std::string& key, const std::string& type, const std::string& value,
                    const std::string& help) {
  const auto cell = [](const std::string& text) {
    return absl::StrReplaceAll(text, {{"|", "\\|"}, {"\n", " "}});
  };
  return StrCat("| `", cell(key), "` | ", cell(type), " | ", cell(value), " | ", cell(help),
                " |\n");
}

}  // namespace choir
