#include "data/tokenizer/regex_splitter.h"

#include <pcre2.h>

#include <limits>

#include "base/check.h"
#include "base/status.h"
#include "base/strings.h"
#include "data/text/utf8.h"

namespace choir {
namespace {

// \s of PCRE2 also matches U+180E, which is no white space since Unicode 6.3.
constexpr std::string_view kSpaces =
    "\\t-\\r\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}"
    "\\x{3000}";

// The expression with \s and \S spelt out. Inside brackets \S stays as it is.
std::string WithExactSpaces(std::string_view regex) {
  std::string out;
  bool brackets = false;
  for (size_t i = 0; i < regex.size(); ++i) {
    if (regex[i] == '\\' && i + 1 < regex.size()) {
      const char next = regex[++i];
      if (next == 's') {
        out += brackets ? std::string(kSpaces) : StrCat("[", kSpaces, "]");
      } else if (next == 'S' && !brackets) {
        out += StrCat("[^", kSpaces, "]");
      } else {
        out += {'\\', next};
      }
      continue;
    }
    if (regex[i] == '[') brackets = true;
    if (regex[i] == ']') brackets = false;
    out += regex[i];
  }
  return out;
}

std::string LibraryVersion() {
  char version[64], unicode[64];
  pcre2_config(PCRE2_CONFIG_VERSION, version);
  pcre2_config(PCRE2_CONFIG_UNICODE_VERSION, unicode);
  return StrCat("pcre2 ", version, " unicode ", unicode);
}

struct FreeCode {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};
using Code = std::unique_ptr<pcre2_code, FreeCode>;

struct FreeMatch {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};

absl::StatusOr<Code> Compile(const std::string& regex) {
  const std::string exact = WithExactSpaces(regex);
  int error = 0;
  PCRE2_SIZE at = 0;
  Code code(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(exact.data()), exact.size(),
                          PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error, &at, nullptr));
  if (code == nullptr) {
    char message[256] = "";
    pcre2_get_error_message(error, reinterpret_cast<PCRE2_UCHAR*>(message), sizeof(message));
    return absl::InvalidArgumentError(StrCat(
        "the expression ", regex, " does not compile: ", message, " at ", at, " of ", exact));
  }
  uint32_t empty = 0;
  pcre2_pattern_info(code.get(), PCRE2_INFO_MATCHEMPTY, &empty);
  if (empty != 0) {
    return absl::InvalidArgumentError(
        StrCat("the expression ", regex, " matches the empty text, so it cannot split one"));
  }
  pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE);  // where there is none, it is interpreted
  return code;
}

struct Part {
  uint32_t end;
  bool match;
};

// The parts as pieces.
void AddPieces(const std::vector<Part>& parts, SplitBehavior behavior,
               std::vector<uint32_t>& ends) {
  for (size_t i = 0; i < parts.size(); ++i) {
    // Whether the next part joins this one.
    bool joined = false;
    if (i + 1 < parts.size()) {
      const bool here = parts[i].match, next = parts[i + 1].match;
      joined = (behavior == SplitBehavior::kContiguous && here == next) ||
               (behavior == SplitBehavior::kMergedWithPrevious && next && !here) ||
               (behavior == SplitBehavior::kMergedWithNext && here && !next);
    }
    if (!joined) ends.push_back(parts[i].end);
  }
}

class RegexSplitter final : public Splitter {
 public:
  RegexSplitter(Code code, const SplitRule& rule) : code_(std::move(code)), rule_(rule) {}

  void Split(std::string_view text, std::vector<uint32_t>& ends) const override {
    CHECK(text.size() < std::numeric_limits<uint32_t>::max()) << "a text of 4 GiB or more";
    if (text.empty()) return;
    std::vector<Part> parts;
    if (IsValidUtf8(text)) {
      FindParts(text, parts);
    } else {
      FindPartsOfAnyBytes(text, parts);
    }
    AddPieces(parts, rule_.behavior, ends);
  }
  std::string version() const override { return LibraryVersion(); }

 private:
  void FindParts(std::string_view text, std::vector<Part>& parts) const {
    const std::unique_ptr<pcre2_match_data, FreeMatch> data(
        pcre2_match_data_create_from_pattern(code_.get(), nullptr));
    const auto* const subject = reinterpret_cast<PCRE2_SPTR>(text.data());
    size_t last = 0;
    const auto add = [&](size_t end, bool match) {
      if (end > last) parts.push_back({static_cast<uint32_t>(end), match != rule_.invert});
      last = end;
    };
    while (last < text.size()) {
      const int found = pcre2_match(code_.get(), subject, text.size(), last,
                                    PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, data.get(), nullptr);
      // Besides "none", a limit on backtracking can be hit: the rest is then one piece.
      if (found < 0) break;
      const PCRE2_SIZE* const range = pcre2_get_ovector_pointer(data.get());
      if (range[0] < last || range[1] <= range[0]) break;  // \K and the like
      add(range[0], false);
      add(range[1], true);
    }
    add(text.size(), false);
  }

  // Each byte that is no UTF-8 is matched as U+FFFF, which is unassigned for ever.
  void FindPartsOfAnyBytes(std::string_view text, std::vector<Part>& parts) const {
    std::string clean;
    std::vector<uint32_t> origin;  // of each byte of `clean`
    for (size_t i = 0; i < text.size();) {
      const size_t length = Utf8Length(text.substr(i));
      const std::string_view c = length == 0 ? "\xEF\xBF\xBF" : text.substr(i, length);
      clean += c;
      origin.insert(origin.end(), c.size(), static_cast<uint32_t>(i));
      i += length == 0 ? 1 : length;
    }
    origin.push_back(static_cast<uint32_t>(text.size()));
    FindParts(clean, parts);
    for (Part& part : parts) part.end = origin[part.end];
  }

  Code code_;
  SplitRule rule_;
};

class SplitSequence final : public Splitter {
 public:
  explicit SplitSequence(std::vector<std::unique_ptr<Splitter>> steps) : steps_(std::move(steps)) {}

  void Split(std::string_view text, std::vector<uint32_t>& ends) const override {
    if (text.empty()) return;
    std::vector<uint32_t> now{static_cast<uint32_t>(text.size())}, next;
    for (const auto& step : steps_) {
      next.clear();
      uint32_t begin = 0;
      for (const uint32_t end : now) {
        const size_t first = next.size();
        step->Split(text.substr(begin, end - begin), next);
        for (size_t i = first; i < next.size(); ++i) next[i] += begin;
        begin = end;
      }
      std::swap(now, next);
    }
    ends.insert(ends.end(), now.begin(), now.end());
  }
  std::string version() const override {
    std::string all;
    for (const auto& step : steps_) all += StrCat(all.empty() ? "" : ", ", step->version());
    return all;
  }

 private:
  std::vector<std::unique_ptr<Splitter>> steps_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Splitter>> MakeRegexSplitter(const SplitRule& rule) {
  // \Q...\E of a literal would end at an \E inside it, so every byte is escaped as PCRE2 has it.
  std::string regex = rule.regex;
  if (regex.empty()) {
    for (const char c : rule.literal) {
      if (std::string_view("\\^$.[]|()?*+{}-#").find(c) != std::string_view::npos) regex += '\\';
      regex += c;
    }
  }
  if (regex.empty()) return absl::InvalidArgumentError("a split by the empty text");
  ASSIGN_OR_RETURN(Code code, Compile(regex));
  return std::make_unique<RegexSplitter>(std::move(code), rule);
}

std::unique_ptr<Splitter> MakeSplitSequence(std::vector<std::unique_ptr<Splitter>> steps) {
  return std::make_unique<SplitSequence>(std::move(steps));
}

}  // namespace choir
