#include "train/json_line.h"

#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

namespace choir {
namespace {

std::string Quoted(std::string_view text) {
  return nlohmann::json(std::string(text))
      .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

JsonLine& JsonLine::Add(std::string_view key, double value) {
  if (!std::isfinite(value)) return AddRaw(key, "null");
  char text[32];
  std::snprintf(text, sizeof(text), "%.17g", value);
  return AddRaw(key, text);
}

JsonLine& JsonLine::Add(std::string_view key, std::string_view value) {
  return AddRaw(key, Quoted(value));
}

JsonLine& JsonLine::AddRaw(std::string_view key, const std::string& value) {
  if (!body_.empty()) body_ += ", ";
  body_ += Quoted(key) + ": " + value;
  return *this;
}

}  // namespace choir
