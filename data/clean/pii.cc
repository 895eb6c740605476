#include "data/clean/pii.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "data/clean/code_points.h"

namespace choir {
namespace {

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsAlpha(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool IsAlnum(char c) { return IsDigit(c) || IsAlpha(c); }
bool IsHexOrColon(char c) {
  return IsDigit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F') || c == ':';
}
bool IsLocal(char c) { return IsAlnum(c) || (c != '\0' && std::strchr("!#$%&'*+/=?^_`{|}~-.", c)); }
bool IsDomain(char c) { return IsAlnum(c) || c == '-' || c == '.'; }

// A part of the text, [begin, end); empty if there is none.
struct Span {
  size_t begin = 0, end = 0;
  bool empty() const { return begin == end; }
};

// Whether a span may end before text[i]: no letter, digit or mark that would belong to it.
bool EndsAt(std::string_view text, size_t i) {
  if (i >= text.size()) return true;
  if (static_cast<uint8_t>(text[i]) < 0x80) return !IsAlnum(text[i]) && text[i] != '_';
  const char* p = text.data() + i;
  return CharInfos()[NextCodePoint(p)].kind != CharKind::kMark;
}

Span FindEmail(std::string_view text, size_t at) {
  Span span{at, at + 1};
  while (span.begin > 0 && IsLocal(text[span.begin - 1])) --span.begin;
  // Quotes, brackets and the like around an address are not part of it.
  while (span.begin < at && !IsAlnum(text[span.begin]) && text[span.begin] != '_') ++span.begin;
  while (span.end < text.size() && IsDomain(text[span.end])) ++span.end;
  while (!IsAlnum(text[span.end - 1]) && span.end > at + 1) --span.end;
  const std::string_view local = text.substr(span.begin, at - span.begin);
  const std::string_view domain = text.substr(at + 1, span.end - at - 1);
  const size_t dot = domain.rfind('.');
  if (local.empty() || local.size() > 64 || local.ends_with('.') || domain.size() > 253 ||
      local.find("..") != std::string_view::npos || dot == std::string_view::npos || dot == 0 ||
      domain.find("..") != std::string_view::npos) {
    return {};
  }
  const std::string_view top = domain.substr(dot + 1);
  if (top.size() < 2 || !std::all_of(top.begin(), top.end(), IsAlpha)) return {};
  return EndsAt(text, span.end) ? span : Span{};
}

bool IsPublicIpv4(const std::array<uint8_t, 4>& a) {
  const bool special =
      a[0] == 0 || a[0] == 10 || a[0] == 127 || a[0] >= 224 || (a[0] == 100 && a[1] / 64 == 1) ||
      (a[0] == 169 && a[1] == 254) || (a[0] == 172 && a[1] / 16 == 1) ||
      (a[0] == 192 && a[1] == 168) || (a[0] == 192 && a[1] == 0 && (a[2] == 0 || a[2] == 2)) ||
      (a[0] == 198 && a[1] / 2 == 9) || (a[0] == 198 && a[1] == 51 && a[2] == 100) ||
      (a[0] == 203 && a[1] == 0 && a[2] == 113);
  return !special;
}

// `first` is a digit that no word or number runs into.
Span FindIpv4(std::string_view text, size_t first) {
  std::array<uint8_t, 4> bytes{};
  size_t i = first;
  for (int part = 0; part < 4; ++part) {
    if (part > 0 && (i >= text.size() || text[i++] != '.')) return {};
    const size_t begin = i;
    int value = 0;
    while (i < text.size() && IsDigit(text[i]) && i < begin + 4)
      value = value * 10 + text[i++] - '0';
    const bool leading_zero = i > begin + 1 && text[begin] == '0';
    if (i == begin || i > begin + 3 || value > 255 || leading_zero) return {};
    bytes[static_cast<size_t>(part)] = static_cast<uint8_t>(value);
  }
  // 1.2.3.4.5 is a number of a section, no address.
  const bool goes_on = i + 1 < text.size() && text[i] == '.' && IsDigit(text[i + 1]);
  if (goes_on || !EndsAt(text, i) || !IsPublicIpv4(bytes)) return {};
  return {first, i};
}

Span FindIpv6(std::string_view text, size_t colon) {
  constexpr size_t kLongest = 39;
  Span span{colon, colon};
  // One more than an address has tells that it is none, and keeps long runs from costing squares.
  while (span.begin > 0 && colon - span.begin <= kLongest && IsHexOrColon(text[span.begin - 1])) {
    --span.begin;
  }
  while (span.end < text.size() && span.end - colon <= kLongest && IsHexOrColon(text[span.end])) {
    ++span.end;
  }
  // A colon behind an address is the sentence's, unless it is the second of "::".
  if (span.end - span.begin > 2 && text[span.end - 1] == ':' && text[span.end - 2] != ':') {
    --span.end;
  }
  if (span.end - span.begin > kLongest || !EndsAt(text, span.end)) return {};
  if (span.begin > 0 && (IsAlnum(text[span.begin - 1]) || text[span.begin - 1] == '.')) return {};
  const std::string address(text.substr(span.begin, span.end - span.begin));
  in6_addr bytes;
  if (inet_pton(AF_INET6, address.c_str(), &bytes) != 1) return {};
  const uint8_t* const a = bytes.s6_addr;
  // 2000::/3 is what is given out; of it 2001::/23 (protocols) and 2001:db8::/32 (documentation)
  // are special.
  const bool special = a[0] >> 5 != 1 || (a[0] == 0x20 && a[1] == 0x01 && a[2] < 2) ||
                       (a[0] == 0x20 && a[1] == 0x01 && a[2] == 0x0D && a[3] == 0xB8);
  return special ? Span{} : span;
}

bool IsSeparator(char c) { return c == ' ' || c == '.' || c == '-' || c == '(' || c == ')'; }

// + and digits, `plus` is where the + is.
Span FindInternational(std::string_view text, size_t plus) {
  size_t i = plus + 1;
  if (i >= text.size() || text[i] < '1' || text[i] > '9') return {};
  int digits = 0;
  size_t end = i;
  for (int separators = 0; i < text.size(); ++i) {
    if (IsDigit(text[i])) {
      ++digits;
      separators = 0;
      end = i + 1;
    } else if (!IsSeparator(text[i]) ||
               ++separators > (text[i] == '(' || text[i - 1] == ')' ? 2 : 1)) {
      break;
    }
  }
  return digits >= 8 && digits <= 15 && EndsAt(text, end) ? Span{plus, end} : Span{};
}

// The digits of text[i, i + n) if that is all there, the first of them from '2'.
bool HasDigits(std::string_view text, size_t i, size_t n) {
  return i + n <= text.size() && std::all_of(text.begin() + static_cast<ptrdiff_t>(i),
                                             text.begin() + static_cast<ptrdiff_t>(i + n), IsDigit);
}

// `first` is the first digit of the area code, or the bracket before it.
Span FindNorthAmerican(std::string_view text, size_t first) {
  const bool bracket = text[first] == '(';
  size_t i = first + bracket;
  if (!HasDigits(text, i, 3) || text[i] < '2') return {};
  i += 3;
  if (bracket) {
    if (i >= text.size() || text[i++] != ')') return {};
    if (i < text.size() && text[i] == ' ') ++i;
  } else if (i >= text.size() || (text[i] != '-' && text[i] != '.')) {
    return {};
  }
  const char separator = bracket ? '-' : text[i++];
  if (!HasDigits(text, i, 3) || text[i] < '2') return {};
  i += 3;
  if (i >= text.size() || text[i++] != separator || !HasDigits(text, i, 4)) return {};
  i += 4;
  const bool goes_on =
      i + 1 < text.size() && (text[i] == '-' || text[i] == '.') && IsDigit(text[i + 1]);
  return !goes_on && EndsAt(text, i) ? Span{first, i} : Span{};
}

constexpr std::array<bool, 256> MakeInteresting() {
  std::array<bool, 256> interesting{};
  for (int c = '0'; c <= '9'; ++c) interesting[c] = true;
  for (const char c : {'@', ':', '+', '('}) interesting[static_cast<int>(c)] = true;
  return interesting;
}
constexpr std::array<bool, 256> kInteresting = MakeInteresting();

class Masker {
 public:
  Masker(const PiiConfig& config, std::string_view text) : config_(config), text_(text) {}

  // Replaces all of one pass; false if there was nothing.
  bool Run(std::string& out, PiiCounts& counts) {
    for (size_t i = 0; i < text_.size(); ++i) {
      if (!kInteresting[static_cast<uint8_t>(text_[i])]) continue;
      Find(i, counts);
      if (!found_.empty()) i = Replace(out) - 1;
    }
    if (done_ == 0 && out.empty()) return false;
    out.append(text_.substr(done_));
    return true;
  }

 private:
  // Sets found_ and with_.
  void Find(size_t i, PiiCounts& counts) {
    const char c = text_[i];
    const char before = i > 0 ? text_[i - 1] : ' ';
    found_ = {};
    if (c == '@' && config_.email) {
      Take(FindEmail(text_, i), config_.email_text, counts.emails);
    }
    if (config_.ip) {
      // A digit behind a word, a number or a sign like those in versions and paths begins nothing.
      if (IsDigit(c) && !IsAlnum(before) && before != '.' && before != '_') {
        Take(FindIpv4(text_, i), config_.ip_text, counts.ips);
      }
      if (c == ':') Take(FindIpv6(text_, i), config_.ip_text, counts.ips);
    }
    if (config_.phone && !IsAlnum(before) && before != '+' && before != '_') {
      if (c == '+') Take(FindInternational(text_, i), config_.phone_text, counts.phones);
      const bool starts = c == '(' || (IsDigit(c) && before != '.' && before != '-');
      if (starts) Take(FindNorthAmerican(text_, i), config_.phone_text, counts.phones);
    }
  }

  void Take(Span span, std::string_view with, int64_t& count) {
    // What reaches back into text that is already replaced is found by the next pass, if it is
    // still there.
    if (span.empty() || !found_.empty() || span.begin < done_) return;
    found_ = span;
    with_ = with;
    ++count;
  }

  // Returns where to go on.
  size_t Replace(std::string& out) {
    out.append(text_.substr(done_, found_.begin - done_));
    out.append(with_);
    return done_ = found_.end;
  }

  const PiiConfig& config_;
  const std::string_view text_;
  size_t done_ = 0;  // text before it is in the output
  Span found_;
  std::string_view with_;
};

}  // namespace

void PiiConfig::Check(ConfigErrors& errors) const {
  const std::pair<const char*, const std::string*> texts[] = {
      {"email_text", &email_text}, {"ip_text", &ip_text}, {"phone_text", &phone_text}};
  for (const auto& [name, text] : texts) {
    const bool sound = std::all_of(text->begin(), text->end(), [](char c) {
      return c > ' ' && c < 0x7F && !IsDigit(c) && c != '@' && c != ':' && c != '+';
    });
    // Else a masked text might be masked again, or not be what the other stages leave.
    if (!sound) {
      errors.Add(name, "must be printable ASCII without spaces, digits, '@', ':' and '+'");
    }
  }
}

PiiCounts MaskPii(const PiiConfig& config, std::string& text) {
  PiiCounts counts;
  if (!config.email && !config.ip && !config.phone) return counts;
  // Every replacement removes an '@' or a digit and brings none, so this ends.
  for (std::string out; Masker(config, text).Run(out, counts); out.clear()) text.swap(out);
  return counts;
}

}  // namespace choir
