// One JSON object on one line, numbers with 17 significant digits so that doubles read back equal.
#pragma once

#include <concepts>
#include <string>
#include <string_view>

namespace choir {

class JsonLine {
 public:
  JsonLine& Add(std::string_view key, double value);  // null unless finite
  JsonLine& Add(std::string_view key, std::string_view value);
  JsonLine& Add(std::string_view key, const char* value) {
    return Add(key, std::string_view(value));
  }
  JsonLine& Add(std::string_view key, std::integral auto value) {
    return AddRaw(key, std::to_string(value));
  }
  JsonLine& Add(std::string_view key, const JsonLine& object) { return AddRaw(key, object.text()); }
  std::string text() const { return "{" + body_ + "}"; }

 private:
  JsonLine& AddRaw(std::string_view key, const std::string& value);
  std::string body_;
};

}  // namespace choir
