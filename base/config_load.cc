#include "base/config_load.h"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace choir {
namespace internal {
namespace {

constexpr size_t kMaxQuoted = 60;

std::string GotText(const ConfigNode& node) {
  switch (node.kind) {
    case ConfigNode::Kind::kNull:
      return "nothing";
    case ConfigNode::Kind::kSequence:
      return "a list";
    case ConfigNode::Kind::kMapping:
      return "a mapping";
    case ConfigNode::Kind::kScalar:
      break;
  }
  const bool long_text = node.text.size() > kMaxQuoted;
  const std::string text = long_text ? node.text.substr(0, kMaxQuoted) + "..." : node.text;
  return node.quoted ? "the quoted text \"" + text + "\"" : "'" + text + "'";
}

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// The digits of a plain integer, without the `_` that may stand between two of them; empty if
// `text` is not one. Leading zeros are refused, because YAML 1.1 reads them as octal.
std::string IntegerDigits(std::string_view text) {
  std::string digits;
  const size_t first = text.starts_with('-') ? 1 : 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '_' && i > first && i + 1 < text.size() && IsDigit(text[i - 1]) &&
        IsDigit(text[i + 1])) {
      continue;
    }
    if (!IsDigit(text[i]) && !(i == 0 && first == 1)) return {};
    digits += text[i];
  }
  if (digits.size() == first) return {};
  if (digits.size() > first + 1 && digits[first] == '0') return {};
  return digits;
}

}  // namespace

LoadState::LoadState(const ConfigTree& tree, ConfigLoadOptions options,
                     std::vector<std::string> paths)
    : tree_(tree), options_(options), paths_(std::move(paths)) {
  errors_.Add(tree.errors());
}

void LoadState::Fail(const std::string& path, const ConfigPlace& place,
                     const std::string& message) {
  errors_.Add(place, path + " " + message);
  faulty_.insert(path);
}

bool LoadState::FailType(const std::string& path, const ConfigNode& node, const std::string& type) {
  Fail(path, node.place, StrCat("must be ", type, ", got ", GotText(node)));
  return false;
}

bool LoadState::IsFaulty(const std::string& path) const {
  const auto holds = [](const std::string& outer, const std::string& inner) {
    return inner.starts_with(outer) && (inner.size() == outer.size() ||
                                        inner[outer.size()] == '.' || inner[outer.size()] == '[');
  };
  // Also if something inside it is (`sources[0].path` in `sources`), or it lies inside.
  return std::ranges::any_of(faulty_, [&](const std::string& faulty) {
    return holds(path, faulty) || holds(faulty, path);
  });
}

void LoadState::FailUnknown(const std::string& section, const ConfigNode& node,
                            const std::vector<std::string>& known) {
  for (size_t i = 0; i < node.keys.size(); ++i) {
    if (std::ranges::find(known, node.keys[i].name) != known.end()) continue;
    std::string path = JoinPath(section, node.keys[i].name);
    // An override's path is shown whole: --optm.lr=1 is about `optm.lr`, not about `optm`.
    const ConfigNode* below = &node.items[i];
    while (node.keys[i].place.is_argument && below->keys.size() == 1) {
      path = JoinPath(path, below->keys[0].name);
      below = &below->items[0];
    }
    const std::string sibling = NearestName(node.keys[i].name, known);
    std::string near = NearestPath(path, paths_);
    if (near.empty() || !near.starts_with(section)) {
      if (!sibling.empty()) near = JoinPath(section, sibling);
    }
    errors_.Add(node.keys[i].place,
                StrCat("unknown key '", path, "'",
                       near.empty() ? std::string() : "; did you mean '" + near + "'?"));
  }
}

bool LoadState::ReadInteger(const std::string& path, const ConfigNode& node, int64_t low,
                            int64_t high, int64_t& out) {
  const std::string digits = IntegerDigits(node.text);
  if (node.kind != ConfigNode::Kind::kScalar || node.quoted || digits.empty()) {
    return FailType(path, node, "an integer");
  }
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), out);
  if (error == std::errc() && out >= low && out <= high) return true;
  return FailType(path, node, StrCat("an integer from ", low, " to ", high));
}

bool LoadState::ReadDouble(const std::string& path, const ConfigNode& node, double& out) {
  const std::string& text = node.text;
  if (node.kind == ConfigNode::Kind::kScalar && !node.quoted) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
    const bool whole = end == text.data() + text.size();
    if (whole && error == std::errc::result_out_of_range) {
      return FailType(path, node, "a number that a double can hold");
    }
    if (whole && error == std::errc() && std::isfinite(out)) return true;
  }
  return FailType(path, node, "a number");
}

bool LoadState::ReadText(const std::string& path, const ConfigNode& node, std::string& out) {
  if (node.kind == ConfigNode::Kind::kNull) {
    return FailType(path, node, "text (\"\" for an empty one)");
  }
  if (node.kind != ConfigNode::Kind::kScalar) return FailType(path, node, "text");
  out = node.text;
  return true;
}

ConfigPlace LoadState::PlaceOf(const std::string& path) const {
  const ConfigNode* node = &tree_.root();
  ConfigPlace place = node->place;
  size_t begin = 0;
  while (node != nullptr && begin < path.size()) {
    size_t end;
    const ConfigNode* next = nullptr;
    if (path[begin] == '[') {
      end = path.find(']', begin) + 1;
      size_t index = node->items.size();
      std::from_chars(path.data() + begin + 1, path.data() + path.size(), index);
      if (node->kind == ConfigNode::Kind::kSequence && index < node->items.size()) {
        next = &node->items[index];
        place = next->place;
      }
    } else {
      begin += path[begin] == '.';
      end = std::min(path.find_first_of(".[", begin), path.size());
      next = node->Find(path.substr(begin, end - begin));
      if (next != nullptr) {
        // A section is placed at its key, because its value starts only on the next line.
        const size_t index = static_cast<size_t>(next - node->items.data());
        const bool at_value = next->kind == ConfigNode::Kind::kScalar || next->place.is_argument;
        place = at_value ? next->place : node->keys[index].place;
      }
    }
    node = next;
    begin = end;
  }
  if (node == nullptr) return {.file = tree_.file()};
  return place;
}

}  // namespace internal

ConfigErrors::ConfigErrors(internal::LoadState& state, std::string section,
                           const std::vector<std::string>& fields)
    : state_(state), section_(std::move(section)), fields_(fields) {}

void ConfigErrors::Add(const std::string& field, const std::string& message) {
  Conflict({field}, message);
}

void ConfigErrors::Conflict(const std::vector<std::string>& fields, const std::string& message) {
  CHECK(!fields.empty());
  ConfigPlace place = {.file = state_.tree().file()};
  bool sound = true;
  for (const std::string& field : fields) {
    const std::string first = field.substr(0, field.find_first_of(".["));
    CHECK(std::ranges::find(fields_, first) != fields_.end())
        << "'" << section_ << "' has no field '" << field << "' to report";
    const std::string path = JoinPath(section_, field);
    sound = sound && !state_.IsFaulty(path);
    if (place.line == 0) place = state_.PlaceOf(path);
  }
  // Not marked as faulty: a section may break several rules, and all of them are worth reading.
  if (sound) state_.errors().Add(place, JoinPath(section_, fields[0]) + " " + message);
}

}  // namespace choir
