// A config file as a tree of texts, each with the place it came from. Reading is strict: duplicate
// keys, anchors, aliases, tags, a second document, more than 32 levels and more than 1 MB are
// errors. Types are not known here: base/config_load.h turns a tree into a struct.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace choir {

// Where a key or value was written. Prints as `file:line:column`, as `argument:N` for an override
// from the command line, or as `file` where no line is to blame (line 0: a value not given).
struct ConfigPlace {
  std::string file = {};
  int line = 0;    // from 1; the number of the argument if is_argument
  int column = 0;  // from 1, in characters
  bool is_argument = false;
  std::string ToString() const;
};

// Complaints about one config, in the order of their places when printed: files before arguments,
// then by line and column; complaints about one place stay in order of Add.
class ConfigErrorList {
 public:
  void Add(ConfigPlace place, std::string message);
  void Add(const ConfigErrorList& other);
  bool empty() const { return errors_.empty(); }
  size_t size() const { return errors_.size(); }
  // InvalidArgument with one `place: message` a line, or Ok if there is none.
  absl::Status ToStatus() const;

 private:
  struct Error {
    ConfigPlace place;
    std::string message;
  };
  std::vector<Error> errors_;
};

struct ConfigKey {
  std::string name;
  ConfigPlace place;
};

struct ConfigNode {
  enum class Kind { kNull, kScalar, kSequence, kMapping };
  Kind kind = Kind::kNull;
  ConfigPlace place = {};
  std::string text = {};               // scalar
  bool quoted = false;                 // scalar: written in quotes, so never a number or `auto`
  std::vector<ConfigKey> keys = {};    // mapping: keys[i] belongs to items[i], in the order written
  std::vector<ConfigNode> items = {};  // mapping and sequence

  // The value of a key, or null.
  const ConfigNode* Find(std::string_view key) const;
  ConfigNode* Find(std::string_view key);
};

class ConfigTree {
 public:
  // Reads a file, or a text that messages call `file`. Fails at once on what leaves no tree to
  // speak of (no such file, not YAML, too large or deep); other mistakes are kept in errors().
  static absl::StatusOr<ConfigTree> ParseFile(const std::string& path);
  static absl::StatusOr<ConfigTree> ParseString(std::string_view text, const std::string& file);
  // A tree without any key, for a config made of defaults and overrides.
  static ConfigTree Empty(const std::string& file);

  // Applies `--section.key=value`. The value is YAML (lists as `[a, b]`) and replaces the whole
  // value of that key; `--data.sources.0.path=x` changes an item of a list that is there.
  // `number` is the argument's position in the command line. Mistakes are kept in errors().
  void Override(std::string_view argument, int number);
  // Applies arguments with the positions first_number, first_number + 1, ...
  void Override(const std::vector<std::string>& arguments, int first_number = 1);

  const std::string& file() const { return file_; }
  const ConfigNode& root() const { return root_; }
  const ConfigErrorList& errors() const { return errors_; }

 private:
  // Finds or makes the node of a dotted path; null after an error.
  ConfigNode* Reach(std::string_view path, const ConfigPlace& place);

  std::string file_;
  ConfigNode root_;
  ConfigErrorList errors_;
  std::vector<ConfigKey> overridden_;  // full paths
};

}  // namespace choir
