#include "data/text/json_record.h"

#include <simdjson.h>

#include <algorithm>
#include <filesystem>

#include "base/status.h"
#include "base/strings.h"
#include "data/text/line_reader.h"
#include "data/text/utf8.h"

namespace choir {

static_assert(LineReader::kPadding >= simdjson::SIMDJSON_PADDING);

namespace {

// A character that no text has any use for (U+10FFFE is none).
constexpr std::string_view kStandIn = "\xF4\x8F\xBF\xBE";

std::string WithStandIns(std::string_view line) {
  std::string valid;
  while (!line.empty()) {
    const size_t length = Utf8Length(line);
    valid += length == 0 ? kStandIn : line.substr(0, length);
    line.remove_prefix(std::max<size_t>(1, length));
  }
  return valid;
}

}  // namespace

struct JsonRecordParser::Parser {
  simdjson::dom::parser dom;
};

JsonRecordParser::JsonRecordParser(const TextFile& file)
    : file_(file), source_(DefaultSource(file)), parser_(std::make_unique<Parser>()) {}

JsonRecordParser::~JsonRecordParser() = default;

absl::Status JsonRecordParser::Malformed(int64_t number, const std::string& why) const {
  return absl::InvalidArgumentError(StrCat(file_.path, ":", number, ": ", why));
}

absl::Status JsonRecordParser::Parse(std::string_view line, int64_t number,
                                     TextDocument& document) {
  if (simdjson::validate_utf8(line)) return ParseValid(line, number, document);
  if (line.find(kStandIn) != line.npos) return Malformed(number, "not JSON in UTF-8");
  std::string repaired = WithStandIns(line);
  repaired.resize(repaired.size() + LineReader::kPadding);
  RETURN_IF_ERROR(
      ParseValid(std::string_view(repaired).substr(0, repaired.size() - LineReader::kPadding),
                 number, document));
  for (const std::string* field :
       {&document.language, &document.source, &document.group, &document.id}) {
    if (field->find(kStandIn) != field->npos) return Malformed(number, "a field is not UTF-8");
  }
  for (size_t at = 0; (at = document.text.find(kStandIn, at)) != std::string::npos; ++at) {
    document.text.replace(at, kStandIn.size(), "\xFF");
  }
  return absl::OkStatus();
}

absl::Status JsonRecordParser::ParseValid(std::string_view line, int64_t number,
                                          TextDocument& document) {
  simdjson::dom::element root;
  if (const auto error = parser_->dom.parse(line.data(), line.size(), false).get(root)) {
    if (error == simdjson::MEMALLOC) return absl::ResourceExhaustedError("out of memory");
    return Malformed(number, "not JSON in UTF-8");
  }
  simdjson::dom::object object;
  if (root.get(object) != simdjson::SUCCESS) return Malformed(number, "not a JSON object");
  const FieldNames& names = file_.fields;
  const std::pair<const std::string&, std::string*> fields[] = {
      {names.text, &document.text},
      {names.language, &document.language},
      {names.source, &document.source},
      {names.group, &document.group},
      {names.id, &document.id}};
  bool found[5] = {};
  for (const auto& [key, value] : object) {
    for (int f = 0; f < 5; ++f) {
      if (found[f] || key != fields[f].first || fields[f].first.empty()) continue;
      std::string_view text;
      if (value.get(text) != simdjson::SUCCESS) {
        if (f > 0 && value.is_null()) continue;
        return Malformed(number, StrCat("\"", key, "\" must be text"));
      }
      // JSON may spell a lone surrogate, which is no text.
      if (!simdjson::validate_utf8(text)) {
        return Malformed(number, StrCat("\"", key, "\" is not UTF-8"));
      }
      found[f] = true;
      fields[f].second->assign(text);
    }
  }
  if (!found[0]) return Malformed(number, StrCat("\"", names.text, "\" is missing"));
  if (!found[1]) document.language = file_.language;
  if (document.language.empty() && file_.needs_language) {
    return Malformed(number,
                     StrCat("\"", names.language, "\" is missing, and its input names none"));
  }
  if (!file_.language.empty() && document.language != file_.language) {
    return Malformed(
        number, StrCat("language '", document.language, "' in a file of '", file_.language, "'"));
  }
  if (!found[2]) document.source = source_;
  if (!found[4]) document.id = DefaultId(file_, number);
  if (!found[3]) document.group = document.id;
  return absl::OkStatus();
}

std::string DefaultSource(const TextFile& file) {
  if (!file.source.empty()) return file.source;
  const std::string name = std::filesystem::path(file.path).filename().string();
  return name.substr(0, name.find('.', 1));
}

std::string DefaultId(const TextFile& file, int64_t number) {
  return StrCat(file.path, ":", number);
}

}  // namespace choir
