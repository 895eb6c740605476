#include "checkpoint/strict_json.h"

#include <string>
#include <utility>
#include <vector>

#include "base/strings.h"

namespace choir {
namespace {

using Json = nlohmann::json;

// Builds the value from the parser's events; an event that breaks a rule stops the parser.
class Builder : public nlohmann::json_sax<Json> {
 public:
  explicit Builder(const JsonLimits& limits) : limits_(limits) {}

  bool null() override { return Add(nullptr) != nullptr; }
  bool boolean(bool value) override { return Add(value) != nullptr; }
  bool number_integer(number_integer_t value) override { return Add(value) != nullptr; }
  bool number_unsigned(number_unsigned_t value) override { return Add(value) != nullptr; }
  bool number_float(number_float_t value, const string_t& text) override {
    if (text.find_first_not_of("-0123456789") == text.npos) {
      return Fail(StrCat("integer ", text.substr(0, 32), " does not fit 64 bits"));
    }
    return Add(value) != nullptr;
  }
  bool string(string_t& value) override { return Add(std::move(value)) != nullptr; }
  bool binary(binary_t&) override { return Fail("binary value"); }
  bool start_object(std::size_t) override { return Open(Json::object()); }
  bool start_array(std::size_t) override { return Open(Json::array()); }
  bool end_object() override { return Close(); }
  bool end_array() override { return Close(); }
  bool key(string_t& name) override {
    if (stack_.back()->contains(name)) {
      return Fail(StrCat("duplicate key \"", name.substr(0, 64), "\""));
    }
    key_ = std::move(name);
    return true;
  }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    return Fail(StrCat("not JSON at byte ", position));
  }

  const std::string& error() const { return error_; }
  Json& root() { return root_; }

 private:
  bool Fail(std::string why) {
    if (error_.empty()) error_ = std::move(why);
    return false;
  }
  // The place where the value now lives; null if refused.
  Json* Add(Json value) {
    if (++values_ > limits_.max_values) {
      Fail(StrCat("more than ", limits_.max_values, " values"));
      return nullptr;
    }
    if (stack_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    Json& parent = *stack_.back();
    if (parent.is_object()) return &(parent[std::exchange(key_, {})] = std::move(value));
    parent.push_back(std::move(value));
    return &parent.back();
  }
  bool Open(Json value) {
    if (stack_.size() >= static_cast<size_t>(limits_.max_depth)) {
      return Fail(StrCat("nested deeper than ", limits_.max_depth));
    }
    Json* const place = Add(std::move(value));
    if (place != nullptr) stack_.push_back(place);
    return place != nullptr;
  }
  bool Close() {
    stack_.pop_back();
    return true;
  }

  JsonLimits limits_;
  int64_t values_ = 0;
  Json root_;
  std::vector<Json*> stack_;
  std::string key_;
  std::string error_;
};

}  // namespace

absl::StatusOr<nlohmann::json> ParseStrictJson(std::string_view text, const JsonLimits& limits) {
  Builder builder(limits);
  if (!Json::sax_parse(text.begin(), text.end(), &builder)) {
    return absl::InvalidArgumentError(builder.error());
  }
  return std::move(builder.root());
}

}  // namespace choir
