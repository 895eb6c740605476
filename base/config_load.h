// From tree to struct, strictly: unknown keys, wrong types, values outside their limits and broken
// cross-field rules are all reported at once, each with its place and what would be right.
//
//   ASSIGN_OR_RETURN(ConfigTree tree, ConfigTree::ParseFile("run.yaml"));
//   tree.Override(arguments);
//   ASSIGN_OR_RETURN(TrainConfig config, LoadConfig<TrainConfig>(tree));
#pragma once

#include <limits>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "base/config_field.h"
#include "base/config_limits.h"
#include "base/config_paths.h"
#include "base/config_tree.h"

namespace choir {

struct ConfigLoadOptions {
  // False to read a config whose files may be elsewhere (that of a stored checkpoint, say).
  bool check_paths = true;
};

namespace internal {

// What one LoadConfig knows. Paths are dotted from the root, items of lists counted in brackets:
// `data.sources[0].path`.
class LoadState {
 public:
  LoadState(const ConfigTree& tree, ConfigLoadOptions options, std::vector<std::string> paths);

  // Reports `PATH MESSAGE` and remembers that PATH has no sound value.
  void Fail(const std::string& path, const ConfigPlace& place, const std::string& message);
  // Fails with "must be TYPE, got ..."; returns false.
  bool FailType(const std::string& path, const ConfigNode& node, const std::string& type);
  bool IsFaulty(const std::string& path) const;
  // Reports the keys of a section's node that are not among its fields.
  void FailUnknown(const std::string& section, const ConfigNode& node,
                   const std::vector<std::string>& known);

  bool ReadInteger(const std::string& path, const ConfigNode& node, int64_t low, int64_t high,
                   int64_t& out);
  bool ReadDouble(const std::string& path, const ConfigNode& node, double& out);
  bool ReadText(const std::string& path, const ConfigNode& node, std::string& out);

  // Where the value of a path was written; the file without a line if nowhere.
  ConfigPlace PlaceOf(const std::string& path) const;

  const ConfigTree& tree() const { return tree_; }
  const ConfigLoadOptions& options() const { return options_; }
  ConfigErrorList& errors() { return errors_; }

 private:
  const ConfigTree& tree_;
  const ConfigLoadOptions options_;
  const std::vector<std::string> paths_;
  ConfigErrorList errors_;
  std::set<std::string> faulty_;
};

}  // namespace internal

// What a section's Check reports to. A section with rules between its fields has
//
//   void Check(ConfigErrors& errors) const {
//     if (warmup_steps > steps)
//       errors.Conflict({"warmup_steps", "steps"}, StrCat("must be at most steps, got ", ...));
//   }
//
// which is called after its fields and the sections inside it were loaded.
class ConfigErrors {
 public:
  ConfigErrors(internal::LoadState& state, std::string section,
               const std::vector<std::string>& fields);

  // Reports `SECTION.FIELD MESSAGE` at the place of the field's value, or at the file if its
  // default was used. `field` is a field of this section, or a path below one ("parallel.tensor",
  // "sources[1].path").
  void Add(const std::string& field, const std::string& message);
  // For a rule between several fields: named after the first, placed at the first that was given.
  // Not reported if one of the fields has no sound value, because the rule then judged a default.
  void Conflict(const std::vector<std::string>& fields, const std::string& message);

 private:
  internal::LoadState& state_;
  const std::string section_;
  const std::vector<std::string>& fields_;
};

namespace internal {

template <class T>
void LoadSection(LoadState& state, const std::string& path, const ConfigNode* node, T& section);

// Reads one value; false if it was reported as wrong (`out` is then unspecified).
template <class T>
bool ReadValue(LoadState& state, const std::string& path, const ConfigNode& node, T& out) {
  using Kind = ConfigNode::Kind;
  if constexpr (std::same_as<T, double>) {
    return state.ReadDouble(path, node, out);
  } else if constexpr (std::same_as<T, std::string>) {
    return state.ReadText(path, node, out);
  } else if constexpr (std::same_as<T, bool>) {
    out = node.text == "true";
    const bool sound = node.kind == Kind::kScalar && !node.quoted && (out || node.text == "false");
    return sound || state.FailType(path, node, ConfigTypeName<T>());
  } else if constexpr (std::integral<T>) {
    int64_t value = 0;
    using Limits = std::numeric_limits<T>;
    if (!state.ReadInteger(path, node, Limits::min(), Limits::max(), value)) return false;
    out = static_cast<T>(value);
    return true;
  } else if constexpr (NamedEnum<T>) {
    const auto value = EnumFromString<T>(node.text);
    if (node.kind == Kind::kScalar && value) {
      out = *value;
      return true;
    }
    const std::string near = NearestName(node.text, AllEnumNames<T>());
    state.FailType(path, node,
                   ConfigTypeName<T>() + (near.empty() ? "" : " (did you mean '" + near + "'?)"));
    return false;
  } else if constexpr (ConfigOptional<T>) {
    out.reset();
    if (node.kind == Kind::kScalar && !node.quoted && node.text == "auto") return true;
    typename T::value_type value{};
    if (!ReadValue(state, path, node, value)) return false;
    out = std::move(value);
    return true;
  } else if constexpr (ConfigList<T>) {
    if (node.kind != Kind::kSequence) return state.FailType(path, node, ConfigTypeName<T>());
    out.clear();
    bool sound = true;
    for (size_t i = 0; i < node.items.size(); ++i) {
      typename T::value_type item{};
      sound &= ReadValue(state, StrCat(path, "[", i, "]"), node.items[i], item);
      out.push_back(std::move(item));
    }
    return sound;
  } else if constexpr (ConfigMap<T>) {
    if (node.kind != Kind::kMapping) return state.FailType(path, node, ConfigTypeName<T>());
    out.clear();
    bool sound = true;
    for (size_t i = 0; i < node.items.size(); ++i) {
      const std::string& key = node.keys[i].name;
      sound &= state.ReadDouble(StrCat(path, ".", key), node.items[i], out[key]);
    }
    return sound;
  } else {
    if constexpr (WordSection<T>) {
      if (node.kind == Kind::kScalar && !node.quoted && node.text == T::kWord) {
        out.SetByWord();
        return true;
      }
    }
    if (node.kind != Kind::kMapping && node.kind != Kind::kNull) {
      return state.FailType(path, node, ConfigTypeName<T>());
    }
    LoadSection(state, path, &node, out);
    return true;
  }
}

// Applies one limit to a value, or to the values in it.
template <class Limit, class T>
void ApplyLimit(LoadState& state, const std::string& path, const Limit& limit, const T& value) {
  if (state.IsFaulty(path)) return;
  if constexpr (std::same_as<Limit, Required> || std::same_as<Limit, OrOneItem>) {
    return;
  } else if constexpr (requires { limit.Violation(value); }) {
    if (std::same_as<Limit, MustExist> && !state.options().check_paths) return;
    const std::string violation = limit.Violation(value);
    if (!violation.empty()) state.Fail(path, state.PlaceOf(path), violation);
  } else if constexpr (ConfigOptional<T>) {
    if (value.has_value()) ApplyLimit(state, path, limit, *value);
  } else if constexpr (ConfigMap<T>) {
    for (const auto& [key, item] : value) {
      ApplyLimit(state, StrCat(path, ".", key), limit, item);
    }
  } else {
    static_assert(ConfigList<T>, "this limit does not fit the field's type");
    for (size_t i = 0; i < value.size(); ++i) {
      const typename T::value_type item = value[i];  // not a reference: vector<bool>
      ApplyLimit(state, StrCat(path, "[", i, "]"), limit, item);
    }
  }
}

// The visitor that loads the fields of one section.
class FieldLoader {
 public:
  FieldLoader(LoadState& state, const std::string& section, const ConfigNode* node)
      : state_(state), section_(section), node_(node) {}

  template <class T, class... Limits>
  void operator()(const char* name, T& field, const char*, const Limits&... limits) {
    fields_.push_back(name);
    const std::string path = JoinPath(section_, name);
    const ConfigNode* const value = node_ == nullptr ? nullptr : node_->Find(name);
    if (value != nullptr) {
      T loaded{};
      if constexpr (ConfigSection<T>) loaded = field;  // what is not written keeps its default
      if constexpr ((std::same_as<Limits, OrOneItem> || ...)) {
        if (!ReadItems(path, *value, loaded)) return;
      } else {
        if (!ReadValue(state_, path, *value, loaded)) return;
      }
      field = std::move(loaded);
    } else if constexpr ((std::same_as<Limits, Required> || ...)) {
      state_.Fail(path, section_.empty() ? state_.tree().root().place : state_.PlaceOf(section_),
                  "is required");
      return;
    } else if constexpr (ConfigSection<T>) {
      LoadSection(state_, path, nullptr, field);
    }
    (ApplyLimit(state_, path, limits, field), ...);
  }

  const std::vector<std::string>& fields() const { return fields_; }

 private:
  template <ConfigList T>
  bool ReadItems(const std::string& path, const ConfigNode& value, T& items) {
    if (value.kind != ConfigNode::Kind::kScalar) return ReadValue(state_, path, value, items);
    return ReadValue(state_, path, value, items.emplace_back());
  }

  LoadState& state_;
  const std::string& section_;
  const ConfigNode* const node_;
  std::vector<std::string> fields_;
};

// `node` is null where the section was not written: its defaults are still checked.
template <class T>
void LoadSection(LoadState& state, const std::string& path, const ConfigNode* node, T& section) {
  FieldLoader loader(state, path, node);
  section.Visit(loader);
  if (node != nullptr) state.FailUnknown(path, *node, loader.fields());
  if constexpr (requires(ConfigErrors & errors) { std::as_const(section).Check(errors); }) {
    ConfigErrors errors(state, path, loader.fields());
    std::as_const(section).Check(errors);
  }
}

}  // namespace internal

// The config of a tree; fields that are not written keep their defaults. On failure
// InvalidArgument, whose message holds one `place: what is wrong` a line, sorted by place.
template <ConfigSection T>
absl::StatusOr<T> LoadConfig(const ConfigTree& tree, ConfigLoadOptions options = {}) {
  internal::LoadState state(tree, options, ConfigPaths<T>());
  T config;
  internal::LoadSection(state, "", &tree.root(), config);
  if (absl::Status status = state.errors().ToStatus(); !status.ok()) return status;
  return config;
}

// Reads a file and `--section.key=value` arguments, of which the first is number `first_number` on
// the command line.
template <ConfigSection T>
absl::StatusOr<T> LoadConfigFile(const std::string& path,
                                 const std::vector<std::string>& arguments = {},
                                 int first_number = 1) {
  absl::StatusOr<ConfigTree> tree = ConfigTree::ParseFile(path);
  if (!tree.ok()) return tree.status();
  tree->Override(arguments, first_number);
  return LoadConfig<T>(*tree);
}

}  // namespace choir
