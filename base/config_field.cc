#include "base/config_field.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "absl/strings/str_format.h"

namespace choir {
namespace {

// Words that are text to us only in quotes: YAML's nulls, and our own `auto`.
bool IsReserved(std::string_view text) {
  return text == "null" || text == "Null" || text == "NULL" || text == "auto";
}

bool IsAlphanumeric(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool IsPlain(std::string_view text) {
  if (text.empty() || IsReserved(text)) return false;
  const char first = text.front();
  if (!IsAlphanumeric(first) && first != '_' && first != '/') return false;
  return std::ranges::all_of(text, [](char c) {
    return IsAlphanumeric(c) || c == '_' || c == '/' || c == '.' || c == '-' || c == '+';
  });
}

}  // namespace

std::string ShortestDouble(double value) {
  CHECK(std::isfinite(value)) << "a config holds finite numbers; use std::optional for `no limit`";
  char text[32];
  const auto [end, error] = std::to_chars(text, text + sizeof(text), value);
  CHECK(error == std::errc());
  std::string out(text, end);
  // 3e-04 becomes 3e-4, as people write it.
  const size_t digits = out.find('e') + 2;
  if (out.find('e') != out.npos && out[digits] == '0') out.erase(digits, 1);
  return out;
}

std::string QuotedText(std::string_view text) {
  if (IsPlain(text)) return std::string(text);
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      out += absl::StrFormat("\\x%02x", static_cast<unsigned char>(c));
    } else {
      out += c;
    }
  }
  return out + '"';
}

std::string JoinAlternatives(const std::vector<std::string>& names) {
  std::string out;
  for (size_t i = 0; i < names.size(); ++i) {
    if (i > 0) out += i + 1 == names.size() ? " or " : ", ";
    out += names[i];
  }
  return out;
}

}  // namespace choir
