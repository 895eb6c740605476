#include "base/config_tree.h"

#include <algorithm>
#include <charconv>
#include <tuple>

#include "base/config_parser.h"
#include "base/file.h"
#include "base/status.h"
#include "base/strings.h"

namespace choir {

std::string ConfigPlace::ToString() const {
  if (is_argument) return StrCat("argument:", line);
  if (line == 0) return file;
  return StrCat(file, ":", line, ":", column);
}

void ConfigErrorList::Add(ConfigPlace place, std::string message) {
  errors_.push_back({std::move(place), std::move(message)});
}

void ConfigErrorList::Add(const ConfigErrorList& other) {
  errors_.insert(errors_.end(), other.errors_.begin(), other.errors_.end());
}

absl::Status ConfigErrorList::ToStatus() const {
  if (errors_.empty()) return absl::OkStatus();
  std::vector<Error> sorted = errors_;
  std::ranges::stable_sort(sorted, {}, [](const Error& e) {
    return std::tie(e.place.is_argument, e.place.file, e.place.line, e.place.column);
  });
  std::string text;
  for (const Error& error : sorted) {
    if (!text.empty()) text += '\n';
    text += StrCat(error.place.ToString(), ": ", error.message);
  }
  return absl::InvalidArgumentError(text);
}

const ConfigNode* ConfigNode::Find(std::string_view key) const {
  if (kind != Kind::kMapping) return nullptr;
  const auto found = std::ranges::find(keys, key, &ConfigKey::name);
  return found == keys.end() ? nullptr : &items[found - keys.begin()];
}

ConfigNode* ConfigNode::Find(std::string_view key) {
  return const_cast<ConfigNode*>(std::as_const(*this).Find(key));
}

absl::StatusOr<ConfigTree> ConfigTree::ParseFile(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  return ParseString(text, path);
}

absl::StatusOr<ConfigTree> ConfigTree::ParseString(std::string_view text, const std::string& file) {
  ConfigTree tree = Empty(file);
  ConfigErrorList errors;
  ConfigNode root;
  if (!ParseConfigText(text, {.file = file}, root, errors)) return errors.ToStatus();
  if (root.kind == ConfigNode::Kind::kMapping) {
    tree.root_ = std::move(root);
  } else if (root.kind != ConfigNode::Kind::kNull) {
    errors.Add(root.place, "a config must consist of `key: value` lines");
    return errors.ToStatus();
  }
  tree.errors_ = std::move(errors);
  return tree;
}

ConfigTree ConfigTree::Empty(const std::string& file) {
  ConfigTree tree;
  tree.file_ = file;
  tree.root_.kind = ConfigNode::Kind::kMapping;
  tree.root_.place = {.file = file};
  return tree;
}

void ConfigTree::Override(const std::vector<std::string>& arguments, int first_number) {
  for (const std::string& argument : arguments) Override(argument, first_number++);
}

void ConfigTree::Override(std::string_view argument, int number) {
  const ConfigPlace place = {.file = file_, .line = number, .is_argument = true};
  const size_t equals = argument.find('=');
  if (!argument.starts_with("--") || equals == argument.npos || equals == 2) {
    errors_.Add(place, StrCat("'", argument, "' must have the form --section.key=value"));
    return;
  }
  const std::string_view path = argument.substr(2, equals - 2);
  if (StrCat(".", path, ".").find("..") != std::string::npos) {
    errors_.Add(place, StrCat("'", path, "' has an empty key"));
    return;
  }
  for (const ConfigKey& earlier : overridden_) {
    if (earlier.name == path) {
      errors_.Add(place, StrCat(path, " is already set by ", earlier.place.ToString()));
      return;
    }
    if (earlier.name.starts_with(StrCat(path, "."))) {
      errors_.Add(place, StrCat(path, " would replace ", earlier.name, ", which is set by ",
                                earlier.place.ToString(), "; give ", path, " first"));
      return;
    }
  }
  ConfigNode value;
  if (!ParseConfigText(argument.substr(equals + 1), place, value, errors_)) return;
  ConfigNode* const node = Reach(path, place);
  if (node == nullptr) return;
  *node = std::move(value);
  overridden_.push_back({std::string(path), place});
}

ConfigNode* ConfigTree::Reach(std::string_view path, const ConfigPlace& place) {
  ConfigNode* node = &root_;
  size_t begin = 0;
  while (begin <= path.size()) {
    const size_t dot = std::min(path.find('.', begin), path.size());
    const std::string_view name = path.substr(begin, dot - begin);
    const std::string_view parent = path.substr(0, begin == 0 ? 0 : begin - 1);
    begin = dot + 1;
    if (node->kind == ConfigNode::Kind::kSequence) {
      size_t index = 0;
      const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), index);
      if (error != std::errc() || end != name.data() + name.size() || index >= node->items.size()) {
        errors_.Add(place, StrCat(parent, " is a list with ", node->items.size(),
                                  " items (counted from 0), it has no item '", name, "'"));
        return nullptr;
      }
      node = &node->items[index];
      continue;
    }
    if (node->kind == ConfigNode::Kind::kScalar) {
      errors_.Add(place, StrCat(parent, " is a single value (", node->place.ToString(),
                                "), it has no key '", name, "'"));
      return nullptr;
    }
    if (node->kind == ConfigNode::Kind::kNull) {
      *node = ConfigNode{.kind = ConfigNode::Kind::kMapping, .place = place};
    }
    ConfigNode* child = node->Find(name);
    if (child == nullptr) {
      node->keys.push_back({std::string(name), place});
      child = &node->items.emplace_back(ConfigNode{.place = place});
    }
    node = child;
  }
  return node;
}

}  // namespace choir
