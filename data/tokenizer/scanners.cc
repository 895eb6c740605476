#include "data/tokenizer/scanners.h"

#include <limits>

#include "base/check.h"
#include "base/strings.h"
#include "data/tokenizer/char_cursor.h"

namespace choir {
namespace {

using Bytes = const uint8_t*;

constexpr CharClass kUpperSide = kUpper | kTitle | kModifier | kOtherLetter | kMark;
constexpr CharClass kLowerSide = kLower | kModifier | kOtherLetter | kMark;

enum class Contraction { kNone, kFirstExact, kFirstAnyCase, kLastAnyCase };

// What a family's expression says, alternative by alternative.
struct Rules {
  Contraction contraction = Contraction::kNone;
  bool space_joins = false;   // ` ?` before letters and numbers (GPT-2), not `[^\r\n\p{L}\p{N}]?`
  bool cased = false;         // words end where capitals follow (o200k)
  CharClass word = kLetters;  // of words that are not cased
  int max_numbers = 3;        // in a piece
  CharClass symbols = kMark | kPunctuation | kSymbol | kOther;
  bool newlines_after_symbols = true;
  bool slash_after_symbols = false;
  bool newlines = true;       // \s*[\r\n]+
  bool trailing_run = false;  // \s++$ before it
};

// Bytes of 's 't 're 've 'm 'll 'd at p, which is an apostrophe; 0 if none. In any case also the
// long s, U+017F, which folds to s.
size_t ContractionLength(Bytes p, Bytes end, bool any_case) {
  const auto left = end - p;
  const auto letter = [&](int i) -> int {
    if (i >= left) return 0;
    return any_case && p[i] >= 'A' && p[i] <= 'Z' ? p[i] | 0x20 : p[i];
  };
  const int first = letter(1), second = letter(2);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return 2;
  if ((first == 'r' || first == 'v') && second == 'e') return 3;
  if (first == 'l' && second == 'l') return 3;
  if (any_case && first == 0xC5 && second == 0xBF) return 3;
  return 0;
}

template <Rules R>
class Scanner final : public Splitter {
 public:
  void Split(std::string_view text, std::vector<uint32_t>& ends) const override {
    CHECK(text.size() < std::numeric_limits<uint32_t>::max()) << "a text of 4 GiB or more";
    const auto* const begin = reinterpret_cast<Bytes>(text.data());
    const Bytes end = begin + text.size();
    for (Bytes p = begin; p != end;) {
      p = Next(p, end);
      ends.push_back(static_cast<uint32_t>(p - begin));
    }
  }
  std::string version() const override { return StrCat("unicode ", kUnicodeVersion); }

 private:
  // The end of the piece at p.
  Bytes Next(Bytes p, Bytes end) const {
    if (R.contraction == Contraction::kFirstExact || R.contraction == Contraction::kFirstAnyCase) {
      if (*p == '\'') {
        const size_t n = ContractionLength(p, end, R.contraction == Contraction::kFirstAnyCase);
        if (n > 0) return p + n;
      }
    }
    const ScannedChar c = scan_.At(p, end);
    if (const Bytes q = R.cased ? CasedWord(p, c, end) : Word(p, c, end)) return q;
    if (c.cls & kNumber) return Numbers(p, end);
    Bytes symbols = p;
    ScannedChar s = c;
    if (*p == ' ') {
      s = scan_.At(++symbols, end);
      if (R.space_joins && (s.cls & kNumber)) return Numbers(symbols, end);
    }
    if (s.cls & R.symbols) return Symbols(symbols + s.length, end);
    return Whitespace(p, end);
  }

  Bytes Word(Bytes p, ScannedChar c, Bytes end) const {
    if (c.cls & R.word) return scan_.SkipWhile(p + c.length, end, R.word);
    if (R.space_joins ? *p != ' ' : (c.cls & (kNewline | kNumber)) != 0) return nullptr;
    const ScannedChar next = scan_.At(p + c.length, end);
    if (!(next.cls & R.word)) return nullptr;
    return scan_.SkipWhile(p + c.length + next.length, end, R.word);
  }

  // o200k: `P?U*L+C?|P?U+L*C?` with P a character that is no newline, letter or number; modifiers,
  // letters without case and marks are both upper (U) and lower (L).
  Bytes CasedWord(Bytes p, ScannedChar c, Bytes end) const {
    const Bytes q = CasedWordBody(p, c, end);
    if (q == nullptr || R.contraction != Contraction::kLastAnyCase) return q;
    return q != end && *q == '\'' ? q + ContractionLength(q, end, true) : q;
  }

  Bytes CasedWordBody(Bytes p, ScannedChar c, Bytes end) const {
    const bool prefix = !(c.cls & (kNewline | kLetters | kNumber));
    const Bytes s = prefix ? p + c.length : p;
    Bytes upper = s;
    if (const Bytes q = LowerWord(s, end, upper)) return q;
    // Without the prefix, which may itself be a mark: then it is the whole word.
    if (c.cls & kMark) return p + c.length;
    return upper != s ? upper : nullptr;
  }

  // U*L+ at s; null if there is no L. `upper` becomes the end of U*.
  Bytes LowerWord(Bytes s, Bytes end, Bytes& upper) const {
    Bytes last = nullptr;
    for (;;) {
      const ScannedChar c = scan_.At(s, end);
      if (!(c.cls & kUpperSide)) {
        upper = s;
        return c.cls & kLower ? scan_.SkipWhile(s + c.length, end, kLowerSide) : last;
      }
      s += c.length;
      if (c.cls & kLowerSide) last = s;
    }
  }

  Bytes Numbers(Bytes p, Bytes end) const {
    if constexpr (R.max_numbers == 0) return scan_.SkipWhile(p, end, kNumber);
    for (int i = 0; i < R.max_numbers; ++i) {
      const ScannedChar c = scan_.At(p, end);
      if (!(c.cls & kNumber)) break;
      p += c.length;
    }
    return p;
  }

  Bytes Symbols(Bytes p, Bytes end) const {
    p = scan_.SkipWhile(p, end, R.symbols);
    if (!R.newlines_after_symbols) return p;
    while (p != end && (*p == '\r' || *p == '\n' || (R.slash_after_symbols && *p == '/'))) ++p;
    return p;
  }

  // `\s++$` and `\s*[\r\n]+` where the family has them, then `\s+(?!\S)|\s+`.
  Bytes Whitespace(Bytes p, Bytes end) const {
    const CharScan::SpaceRun run = scan_.Spaces(p, end);
    if (R.trailing_run && run.end == end) return end;
    if (R.newlines && run.newline != nullptr) return run.newline;
    return run.end == end || run.last == p ? run.end : run.last;
  }

  CharScan scan_;
};

constexpr Rules kGpt2 = {.contraction = Contraction::kFirstExact,
                         .space_joins = true,
                         .max_numbers = 0,
                         .newlines_after_symbols = false,
                         .newlines = false};
constexpr Rules kLlama3 = {.contraction = Contraction::kFirstAnyCase};
constexpr Rules kCl100k = {.contraction = Contraction::kFirstAnyCase, .trailing_run = true};
constexpr Rules kQwen2 = {.contraction = Contraction::kFirstAnyCase, .max_numbers = 1};
constexpr Rules kQwen35 = {.contraction = Contraction::kFirstAnyCase,
                           .word = kLetters | kMark,
                           .max_numbers = 1,
                           .symbols = kPunctuation | kSymbol | kOther};
constexpr Rules kO200k = {
    .contraction = Contraction::kLastAnyCase, .cased = true, .slash_after_symbols = true};
constexpr Rules kTekken = {.cased = true, .max_numbers = 1, .slash_after_symbols = true};

}  // namespace

std::unique_ptr<Splitter> MakeGpt2Scanner() { return std::make_unique<Scanner<kGpt2>>(); }
std::unique_ptr<Splitter> MakeCl100kScanner() { return std::make_unique<Scanner<kCl100k>>(); }
std::unique_ptr<Splitter> MakeLlama3Scanner() { return std::make_unique<Scanner<kLlama3>>(); }
std::unique_ptr<Splitter> MakeO200kScanner() { return std::make_unique<Scanner<kO200k>>(); }
std::unique_ptr<Splitter> MakeTekkenScanner() { return std::make_unique<Scanner<kTekken>>(); }
std::unique_ptr<Splitter> MakeQwen2Scanner() { return std::make_unique<Scanner<kQwen2>>(); }
std::unique_ptr<Splitter> MakeQwen35Scanner() { return std::make_unique<Scanner<kQwen35>>(); }

}  // namespace choir
