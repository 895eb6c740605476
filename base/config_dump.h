// A config as text: YAML that loads back to an equal config, differences, and a hash.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/config_field.h"
#include "base/config_paths.h"
#include "base/hash.h"

namespace choir {
namespace internal {

// A value on one line: a scalar, `auto`, or a list of these. Not for maps and sections.
template <class T>
std::string InlineText(const T& value) {
  if constexpr (ConfigOptional<T>) {
    return value.has_value() ? InlineText(*value) : "auto";
  } else if constexpr (ConfigList<T>) {
    std::string out;
    for (auto&& item : value) {
      const typename T::value_type& element = item;  // vector<bool> yields no references
      out += (out.empty() ? "" : ", ") + InlineText(element);
    }
    return "[" + out + "]";
  } else {
    return ScalarText(value);
  }
}

// The visitor that writes the fields of one section, each line behind `indent` spaces.
class YamlWriter {
 public:
  YamlWriter(int indent, std::string& out) : indent_(indent), out_(out) {}

  template <class T>
  void operator()(const char* name, T& field, auto&&...) {
    out_ += std::string(indent_, ' ') + name + ":";
    Value(field);
  }

 private:
  template <class T>
  void Value(T& value) {
    if constexpr (ConfigSection<T>) {
      const std::string body = Body(value, indent_ + 2);
      out_ += body.empty() ? " {}\n" : "\n" + body;
    } else if constexpr (ConfigMap<T>) {
      out_ += value.empty() ? " {}\n" : "\n";
      for (const auto& [key, item] : value) {
        out_ += std::string(indent_ + 2, ' ') + QuotedText(key) + ": " + ScalarText(item) + "\n";
      }
    } else if constexpr (ConfigOptional<T>) {
      if (value.has_value()) {
        Value(*value);
      } else {
        out_ += " auto\n";
      }
    } else if constexpr (ConfigList<T>) {
      if constexpr (ConfigSection<typename T::value_type>) {
        out_ += value.empty() ? " []\n" : "\n";
        for (auto& item : value) {
          std::string body = Body(item, indent_ + 4);
          if (body.empty()) body = std::string(indent_ + 4, ' ') + "{}\n";
          body[indent_ + 2] = '-';
          out_ += body;
        }
      } else {
        out_ += " " + InlineText(value) + "\n";
      }
    } else {
      out_ += " " + InlineText(value) + "\n";
    }
  }

  template <class T>
  static std::string Body(T& section, int indent) {
    std::string body;
    section.Visit(YamlWriter(indent, body));
    return body;
  }

  const int indent_;
  std::string& out_;
};

// The visitor that lists (path, text) of every value.
class Flattener {
 public:
  using Entries = std::vector<std::pair<std::string, std::string>>;
  Flattener(std::string section, Entries& entries)
      : section_(std::move(section)), entries_(entries) {}

  void operator()(const char* name, auto& field, auto&&...) {
    Value(JoinPath(section_, name), field);
  }

 private:
  template <class T>
  void Value(const std::string& path, T& value) {
    if constexpr (ConfigSection<T>) {
      value.Visit(Flattener(path, entries_));
    } else if constexpr (ConfigMap<T>) {
      for (const auto& [key, item] : value) {
        entries_.emplace_back(JoinPath(path, key), ScalarText(item));
      }
    } else if constexpr (ConfigOptional<T>) {
      if (value.has_value()) {
        Value(path, *value);
      } else {
        entries_.emplace_back(path, "auto");
      }
    } else if constexpr (ConfigList<T>) {
      if constexpr (ConfigSection<typename T::value_type>) {
        for (size_t i = 0; i < value.size(); ++i) Value(StrCat(path, "[", i, "]"), value[i]);
      } else {
        entries_.emplace_back(path, InlineText(value));
      }
    } else {
      entries_.emplace_back(path, ScalarText(value));
    }
  }

  const std::string section_;
  Entries& entries_;
};

}  // namespace internal

// All keys and values as YAML, in the order of Visit. Loads back to an equal config (doubles with
// the fewest digits that read back the same); its bytes are stable.
template <ConfigSection T>
std::string ConfigDump(const T& config) {
  T copy = config;  // Visit is not const
  std::string out;
  copy.Visit(internal::YamlWriter(0, out));
  return out;
}

// Every value as (dotted path, text as in the dump), in the order of Visit.
template <ConfigSection T>
std::vector<std::pair<std::string, std::string>> ConfigFlatten(const T& config) {
  T copy = config;
  std::vector<std::pair<std::string, std::string>> entries;
  copy.Visit(internal::Flattener("", entries));
  return entries;
}

// A key whose value differs; "(not set)" where only the other config has it (an item of a list of
// sections, an entry of a map).
struct ConfigDifference {
  std::string key;
  std::string a;
  std::string b;
  bool operator==(const ConfigDifference&) const = default;
};

// Differences in the order of Visit, those that only `b` has last.
std::vector<ConfigDifference> DiffEntries(
    const std::vector<std::pair<std::string, std::string>>& a,
    const std::vector<std::pair<std::string, std::string>>& b);

template <ConfigSection T>
std::vector<ConfigDifference> ConfigDiff(const T& a, const T& b) {
  return DiffEntries(ConfigFlatten(a), ConfigFlatten(b));
}

// XXH3-128 of the dump, as 32 hexadecimal digits.
template <ConfigSection T>
std::string ConfigHash(const T& config) {
  return ToHex(HashOf128(ConfigDump(config)));
}

}  // namespace choir
