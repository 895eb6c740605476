// The reference table of a config, from the same list of fields that loads it.
#pragma once

#include <string>
#include <utility>

#include "base/config_dump.h"
#include "base/config_field.h"
#include "base/config_limits.h"
#include "base/config_paths.h"

namespace choir {

// One row of a Markdown table; `|` in the cells is escaped.
std::string DocsRow(const std::string& key, const std::string& type, const std::string& value,
                    const std::string& help);

namespace internal {

template <class T>
std::string DocsType() {
  if constexpr (std::same_as<T, bool>) {
    return "bool";
  } else if constexpr (std::integral<T>) {
    return "integer";
  } else if constexpr (std::same_as<T, double>) {
    return "number";
  } else if constexpr (std::same_as<T, std::string>) {
    return "text";
  } else if constexpr (NamedEnum<T>) {
    return ConfigTypeName<T>();
  } else if constexpr (ConfigOptional<T>) {
    return DocsType<typename T::value_type>() + " or auto";
  } else if constexpr (ConfigList<T>) {
    return "list of " + DocsType<typename T::value_type>();
  } else if constexpr (ConfigMap<T>) {
    return "mapping of number";
  } else {
    return "section";
  }
}

template <class T>
std::string DocsDefault(const T& value) {
  if constexpr (ConfigSection<T>) {
    return "";
  } else if constexpr (ConfigMap<T>) {
    std::string out;
    for (const auto& [key, item] : value) {
      out += (out.empty() ? "" : ", ") + QuotedText(key) + ": " + ScalarText(item);
    }
    return "`{" + out + "}`";
  } else if constexpr (ConfigOptional<T>) {
    return value.has_value() ? DocsDefault(*value) : "`auto`";
  } else if constexpr (ConfigList<T>) {
    if constexpr (ConfigSection<typename T::value_type>) {
      return value.empty() ? "`[]`" : StrCat(value.size(), " items");
    } else {
      return "`" + InlineText(value) + "`";
    }
  } else {
    return "`" + ScalarText(value) + "`";
  }
}

class DocsWriter {
 public:
  DocsWriter(std::string section, std::string& out) : section_(std::move(section)), out_(out) {}

  template <class T, class... Limits>
  void operator()(const char* name, T& field, const char* help, const Limits&... limits) {
    const std::string path = JoinPath(section_, name);
    std::string type = DocsType<T>();
    (AppendLimit(limits, type), ...);
    const bool required = (std::same_as<Limits, Required> || ...);
    out_ += DocsRow(path, type, required ? "required" : DocsDefault(field), help);
    Inner(path, field);
  }

 private:
  template <class Limit>
  static void AppendLimit(const Limit& limit, std::string& type) {
    if constexpr (!std::same_as<Limit, Required>) type += ", " + limit.Describe();
  }

  // The rows of the sections in a field.
  template <class T>
  void Inner(const std::string& path, T& field) {
    if constexpr (ConfigSection<T>) {
      field.Visit(DocsWriter(path, out_));
    } else if constexpr (ConfigList<T>) {
      typename T::value_type item{};
      Inner(path + "[]", item);
    } else if constexpr (ConfigOptional<T>) {
      typename T::value_type item{};
      Inner(path, item);
    }
  }

  const std::string section_;
  std::string& out_;
};

}  // namespace internal

// A Markdown table with one row for each key: key, type and limits, default, help. Keys of the
// items of a list are written `data.sources[].path`.
template <ConfigSection T>
std::string ConfigDocs() {
  std::string out = "| key | type | default | meaning |\n|---|---|---|---|\n";
  T().Visit(internal::DocsWriter("", out));
  return out;
}

}  // namespace choir
