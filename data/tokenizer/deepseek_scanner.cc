#include <limits>

#include "base/check.h"
#include "base/strings.h"
#include "data/tokenizer/char_cursor.h"
#include "data/tokenizer/scanners.h"

namespace choir {
namespace {

using Bytes = const uint8_t*;

constexpr CharClass kApart = kNumber | kCjk;
constexpr CharClass kWord = kLetters | kMark;
constexpr CharClass kSigns = kPunctuation | kSymbol;

// Numbers by three are set apart, and runs of U+4E00..U+9FA5 and kana; the main expression then
// splits these runs and what lies between as if each were a text.
class DeepSeekScanner final : public Splitter {
 public:
  void Split(std::string_view text, std::vector<uint32_t>& ends) const override {
    CHECK(text.size() < std::numeric_limits<uint32_t>::max()) << "a text of 4 GiB or more";
    const auto* const begin = reinterpret_cast<Bytes>(text.data());
    const Bytes end = begin + text.size();
    const auto add = [&](Bytes p) { ends.push_back(static_cast<uint32_t>(p - begin)); };
    for (Bytes p = begin; p != end;) {
      const Bytes apart = FindApart(p, end);
      while (p != apart) add(p = Main(p, apart));
      if (p == end) return;
      if (scan_.At(p, end).cls & kNumber) {
        add(p = Numbers(p, end));
      } else {
        const Bytes run = scan_.SkipWhile(p, end, kCjk);
        while (p != run) add(p = Main(p, run));
      }
    }
  }
  std::string version() const override { return StrCat("unicode ", kUnicodeVersion); }

 private:
  Bytes FindApart(Bytes p, Bytes end) const {
    while (p != end) {
      const ScannedChar c = scan_.At(p, end);
      if (c.cls & kApart) break;
      p += c.length;
    }
    return p;
  }

  Bytes Numbers(Bytes p, Bytes end) const {
    for (int i = 0; i < 3; ++i) {
      const ScannedChar c = scan_.At(p, end);
      if (!(c.cls & kNumber)) break;
      p += c.length;
    }
    return p;
  }

  Bytes Main(Bytes p, Bytes end) const {
    const ScannedChar c = scan_.At(p, end), next = scan_.At(p + c.length, end);
    const Bytes second = p + c.length;
    if ((c.cls & kAsciiPunct) && (next.cls & kAsciiLetter)) {
      return scan_.SkipWhile(second, end, kAsciiLetter);
    }
    if (c.cls & kWord) return scan_.SkipWhile(second, end, kWord);
    if (!(c.cls & (kNewline | kSigns)) && (next.cls & kWord)) {
      return scan_.SkipWhile(second, end, kWord);
    }
    if (c.cls & kSigns) return Signs(second, end);
    if (*p == ' ' && (next.cls & kSigns)) return Signs(second + next.length, end);
    if (c.cls & kSpace) return Whitespace(p, end);
    return Unmatched(p, end);
  }

  Bytes Signs(Bytes p, Bytes end) const {
    return scan_.SkipWhile(scan_.SkipWhile(p, end, kSigns), end, kNewline);
  }

  // \s*[\r\n]+|\s+(?!\S)|\s+
  Bytes Whitespace(Bytes p, Bytes end) const {
    const CharScan::SpaceRun run = scan_.Spaces(p, end);
    if (run.newline != nullptr) return run.newline;
    return run.end == end || run.last == p ? run.end : run.last;
  }

  // Other characters before anything that is matched; the last one joins a word that follows.
  Bytes Unmatched(Bytes p, Bytes end) const {
    for (;;) {
      const ScannedChar c = scan_.At(p, end);
      if (!(c.cls & kOther)) return p;
      if (scan_.At(p + c.length, end).cls & kWord) return p;
      p += c.length;
    }
  }

  CharScan scan_;
};

}  // namespace

std::unique_ptr<Splitter> MakeDeepSeekScanner() { return std::make_unique<DeepSeekScanner>(); }

}  // namespace choir
