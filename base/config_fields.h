// Catches a field that its section's Visit forgot. In the test of each config:
//
//   EXPECT_EQ(CountFields<OptimConfig>(), CountVisited<OptimConfig>());
//   EXPECT_EQ(ForgottenFields<TrainConfig>(), "");   // the section and all sections inside
#pragma once

#include <set>
#include <string>

#include "base/config_field.h"
#include "base/config_paths.h"

namespace choir {
namespace internal {

// Converts to any field. Not to std::optional itself, which would be ambiguous: its converting
// constructor takes AnyField too.
struct AnyField {
  template <class T>
  requires(!kIsOptional<T>) operator T() const;
};

}  // namespace internal

// The number of members of a struct: the longest list that initialises it as an aggregate.
template <class T, class... Fields>
consteval int CountFields() {
  static_assert(std::is_aggregate_v<T>, "a config section is a struct without constructors");
  if constexpr (requires { T{Fields{}..., internal::AnyField{}}; }) {
    return CountFields<T, Fields..., internal::AnyField>();
  } else {
    return sizeof...(Fields);
  }
}

// The number of different members that Visit lists; -1 if it gives a name twice.
template <ConfigSection T>
int CountVisited() {
  T section{};
  std::set<const void*> members;
  std::set<std::string> names;
  bool twice = false;
  section.Visit([&](const char* name, auto& field, auto&&...) {
    members.insert(&field);
    twice = twice || !names.insert(name).second;
  });
  // The first member of a nested section shares its address with the section, but only the
  // section itself is visited here.
  return twice ? -1 : static_cast<int>(members.size());
}

// Empty, or one line for each section, from T down, whose Visit does not list every field.
template <ConfigSection T>
std::string ForgottenFields(const std::string& path = "") {
  std::string out;
  if (CountFields<T>() != CountVisited<T>()) {
    out = StrCat(path.empty() ? "the config" : path, " has ", CountFields<T>(),
                 " fields, Visit lists ", CountVisited<T>(), "\n");
  }
  T section{};
  section.Visit([&]<class F>(const char* name, F&, auto&&...) {
    const std::string inner = JoinPath(path, name);
    if constexpr (ConfigSection<F>) {
      out += ForgottenFields<F>(inner);
    } else if constexpr (ConfigList<F> || ConfigOptional<F>) {
      using Item = typename F::value_type;
      if constexpr (ConfigSection<Item>) out += ForgottenFields<Item>(inner + "[]");
    }
  });
  return out;
}

}  // namespace choir
