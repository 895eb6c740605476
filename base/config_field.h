// What a config field may be, and how its value is named and printed:
//
//   bool, int, int64_t, double, std::string, an enum with EnumNames,
//   std::optional of a field (unset prints as `auto`), std::vector of scalars or of sections,
//   std::map<std::string, double>, and sections: plain structs that describe themselves,
//
//     struct ParallelConfig {
//       int tensor = 1;
//       void Visit(auto&& v) {
//         v("tensor", tensor, "ranks that split each weight matrix", AtLeast(1));
//       }
//     };
//
// Every field is listed once, with help and limits (base/config_limits.h); loading, docs, dump,
// diff and hash all read this list.
#pragma once

#include <concepts>
#include <cstdint>
#include <iterator>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/check.h"
#include "base/strings.h"

namespace choir {

// The names of an enum's values in configs. Specialise once beside the enum:
//
//   template <>
//   struct EnumNames<Numerics> {
//     static constexpr EnumName<Numerics> kAll[] = {{Numerics::kFast, "fast"}, ...};
//   };
template <class E>
struct EnumName {
  E value;
  const char* name;
};
template <class E>
struct EnumNames;

template <class E>
concept NamedEnum = std::is_enum_v<E> && requires {
  std::begin(EnumNames<E>::kAll);
};

template <NamedEnum E>
const char* EnumToString(E value) {
  for (const auto& entry : EnumNames<E>::kAll) {
    if (entry.value == value) return entry.name;
  }
  CHECK(false) << "an enum value without a name: " << static_cast<int64_t>(value);
  return "";
}

template <NamedEnum E>
std::optional<E> EnumFromString(std::string_view name) {
  for (const auto& entry : EnumNames<E>::kAll) {
    if (name == entry.name) return entry.value;
  }
  return std::nullopt;
}

namespace internal {
struct VisitProbe {
  void operator()(auto&&...) const {}
};
template <class T>
inline constexpr bool kIsOptional = false;
template <class T>
inline constexpr bool kIsOptional<std::optional<T>> = true;
template <class T>
inline constexpr bool kIsVector = false;
template <class T>
inline constexpr bool kIsVector<std::vector<T>> = true;
}  // namespace internal

template <class T>
concept ConfigSection = requires(T& section, internal::VisitProbe v) {
  section.Visit(v);
};
template <class T>
concept ConfigScalar = std::same_as<T, bool> || std::same_as<T, int> || std::same_as<T, int64_t> ||
    std::same_as<T, double> || std::same_as<T, std::string> || NamedEnum<T>;
template <class T>
concept ConfigOptional = internal::kIsOptional<T>;
template <class T>
concept ConfigList = internal::kIsVector<T>;
template <class T>
concept ConfigMap = std::same_as<T, std::map<std::string, double>>;

// The fewest digits that read back as the same double: 0.1, 3e-4, 1e+20.
std::string ShortestDouble(double value);

// As YAML: plain if it is one harmless word, otherwise in double quotes.
std::string QuotedText(std::string_view text);

// A scalar as the dump writes it.
template <ConfigScalar T>
std::string ScalarText(const T& value) {
  if constexpr (std::same_as<T, bool>) {
    return value ? "true" : "false";
  } else if constexpr (std::same_as<T, double>) {
    return ShortestDouble(value);
  } else if constexpr (std::same_as<T, std::string>) {
    return QuotedText(value);
  } else if constexpr (NamedEnum<T>) {
    return EnumToString(value);
  } else {
    return StrCat(value);
  }
}

// A section that may also be given as one word, kWord: SetByWord() then sets its fields.
template <class T>
concept WordSection = ConfigSection<T> && requires(T section) {
  { T::kWord } -> std::convertible_to<std::string>;
  section.SetByWord();
};

// `fast or invariant`, `a, b or c`.
std::string JoinAlternatives(const std::vector<std::string>& names);

template <NamedEnum E>
std::vector<std::string> AllEnumNames() {
  std::vector<std::string> names;
  for (const auto& entry : EnumNames<E>::kAll) names.push_back(entry.name);
  return names;
}

// What a value of the type is, as in "must be an integer, got 'x'".
template <class T>
std::string ConfigTypeName() {
  if constexpr (std::same_as<T, bool>) {
    return "true or false";
  } else if constexpr (std::integral<T>) {
    return "an integer";
  } else if constexpr (std::same_as<T, double>) {
    return "a number";
  } else if constexpr (std::same_as<T, std::string>) {
    return "text";
  } else if constexpr (NamedEnum<T>) {
    return JoinAlternatives(AllEnumNames<T>());
  } else if constexpr (ConfigOptional<T>) {
    return "auto or " + ConfigTypeName<typename T::value_type>();
  } else if constexpr (ConfigList<T>) {
    return "a list like [a, b]";
  } else if constexpr (ConfigMap<T>) {
    return "a mapping from names to numbers";
  } else {
    static_assert(ConfigSection<T>, "not a type for a config field");
    if constexpr (WordSection<T>) return StrCat(T::kWord, " or a section of keys");
    return "a section of keys";
  }
}

}  // namespace choir
