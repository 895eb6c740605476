// Limits of config fields, listed behind the help text in Visit:
//
//   v("beta1", beta1, "decay of the first moment", AtLeast(0), Below(1));
//
// A limit on a list, a map or an optional holds for each value in it (NonEmpty: for the list or map
// itself). Limits are plain values, so that the docs print what the loader enforces. A limit has
//   Violation(value) -> empty, or what is wrong ("must be at least 1, got 0")
//   Describe()       -> for the docs (">= 1").
#pragma once

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/config_field.h"

namespace choir {

template <class T>
concept ConfigNumber = std::same_as<T, int> || std::same_as<T, int64_t> || std::same_as<T, double>;

namespace internal {

// Exact for two integers of any width; otherwise as doubles.
template <ConfigNumber A, ConfigNumber B>
bool IsLess(A a, B b) {
  if constexpr (std::integral<A> && std::integral<B>) {
    return std::cmp_less(a, b);
  } else {
    return static_cast<double>(a) < static_cast<double>(b);
  }
}

std::string Got(const auto& value) { return ", got " + ScalarText(value); }

}  // namespace internal

// value >= low
template <ConfigNumber N>
struct AtLeast {
  N low;
  explicit AtLeast(N low) : low(low) {}
  std::string Violation(const ConfigNumber auto& value) const {
    if (!internal::IsLess(value, low)) return {};
    return "must be at least " + ScalarText(low) + internal::Got(value);
  }
  std::string Describe() const { return ">= " + ScalarText(low); }
};

// value <= high
template <ConfigNumber N>
struct AtMost {
  N high;
  explicit AtMost(N high) : high(high) {}
  std::string Violation(const ConfigNumber auto& value) const {
    if (!internal::IsLess(high, value)) return {};
    return "must be at most " + ScalarText(high) + internal::Got(value);
  }
  std::string Describe() const { return "<= " + ScalarText(high); }
};

// value > low
template <ConfigNumber N>
struct Above {
  N low;
  explicit Above(N low) : low(low) {}
  std::string Violation(const ConfigNumber auto& value) const {
    if (internal::IsLess(low, value)) return {};
    return "must be above " + ScalarText(low) + internal::Got(value);
  }
  std::string Describe() const { return "> " + ScalarText(low); }
};

// value < high
template <ConfigNumber N>
struct Below {
  N high;
  explicit Below(N high) : high(high) {}
  std::string Violation(const ConfigNumber auto& value) const {
    if (internal::IsLess(value, high)) return {};
    return "must be below " + ScalarText(high) + internal::Got(value);
  }
  std::string Describe() const { return "< " + ScalarText(high); }
};

// low <= value <= high
template <ConfigNumber L, ConfigNumber H>
struct InRange {
  L low;
  H high;
  InRange(L low, H high) : low(low), high(high) {}
  std::string Violation(const ConfigNumber auto& value) const {
    if (!internal::IsLess(value, low) && !internal::IsLess(high, value)) return {};
    return "must be from " + ScalarText(low) + " to " + ScalarText(high) + internal::Got(value);
  }
  std::string Describe() const { return "from " + ScalarText(low) + " to " + ScalarText(high); }
};

struct MultipleOf {
  int64_t unit;
  explicit MultipleOf(int64_t unit) : unit(unit) {}
  template <std::integral T>
  std::string Violation(const T& value) const {
    if (value % unit == 0) return {};
    return "must be a multiple of " + ScalarText(unit) + internal::Got(value);
  }
  std::string Describe() const { return "multiple of " + ScalarText(unit); }
};

struct PowerOfTwo {
  template <std::integral T>
  std::string Violation(const T& value) const {
    if (value > 0 && (value & (value - 1)) == 0) return {};
    return "must be a power of two" + internal::Got(value);
  }
  std::string Describe() const { return "power of two"; }
};

// One of the listed values (enums list theirs by themselves).
template <ConfigScalar T>
struct OneOf {
  std::vector<T> values;
  OneOf(std::initializer_list<T> values) : values(values) {}
  std::string Violation(const T& value) const {
    for (const T& allowed : values) {
      if (allowed == value) return {};
    }
    return "must be " + Describe() + internal::Got(value);
  }
  std::string Describe() const {
    std::vector<std::string> names;
    for (const T& allowed : values) names.push_back(ScalarText(allowed));
    return JoinAlternatives(names);
  }
};
template <class T>
OneOf(std::initializer_list<T>) -> OneOf<T>;
OneOf(std::initializer_list<const char*>)->OneOf<std::string>;

// Text, a list or a map with something in it.
struct NonEmpty {
  std::string Violation(const auto& value) const requires requires { value.empty(); }
  { return value.empty() ? "must not be empty" : ""; }
  std::string Describe() const { return "not empty"; }
};

// The key must be written in the config; its default is never used.
struct Required {};

// A list that may also be written as one item without brackets.
struct OrOneItem {
  std::string Describe() const { return "or one item"; }
};

// A path, relative to the current folder, of a file or folder that is there; empty text means "not
// set" and passes. Skipped where ConfigLoadOptions::check_paths is false.
struct MustExist {
  std::string Violation(const std::string& path) const;
  std::string Describe() const { return "existing path"; }
};

}  // namespace choir
