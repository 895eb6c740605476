#include "data/clean/text_survey.h"

#include <algorithm>
#include <cstring>

#include "base/hash.h"
#include "data/clean/code_points.h"

namespace choir {
namespace {

static_assert(sizeof(CharInfo) == sizeof(uint32_t));
uint32_t Packed(const CharInfo& info) {
  uint32_t packed;
  std::memcpy(&packed, &info, sizeof(packed));
  return packed;
}

// Goes from run to run of characters with equal properties: counters are touched once in a run, and
// the inner loop is a table look-up and two comparisons.
class Surveyor {
 public:
  Surveyor(std::string_view text, TextSurvey& survey)
      : begin_(text.data()), end_(begin_ + text.size()), survey_(survey) {}

  void Run() {
    for (const char* p = begin_; p < end_;) AddRun(p);
    EndWord();
    const auto kind = [&](CharKind kind) { return kinds_[static_cast<size_t>(kind)]; };
    survey_.letters = kind(CharKind::kLetter);
    survey_.marks = kind(CharKind::kMark);
    survey_.digits = kind(CharKind::kDigit);
    survey_.punctuation = kind(CharKind::kPunctuation);
    survey_.symbols = kind(CharKind::kSymbol);
    survey_.spaces = kind(CharKind::kSpace);
  }

 private:
  // Reads the run at `p`; moves `p` behind it.
  void AddRun(const char*& p) {
    const char* const start = p;
    uint32_t c = NextCodePoint(p);
    const CharInfo info = infos_[c];
    const uint32_t packed = Packed(info);
    Repeats repeats(c);
    int64_t characters = 1;
    // A letter of a script without spaces is a word of its own.
    while (p < end_ && !info.unspaced) {
      const char* next = p;
      c = NextCodePoint(next);
      if (Packed(infos_[c]) != packed) break;
      repeats.Add(c);
      ++characters;
      p = next;
    }
    survey_.characters += characters;
    if (info.unspaced) longest_unspaced_ = c == last_unspaced_ ? longest_unspaced_ + 1 : 1;
    last_unspaced_ = info.unspaced ? c : kNoCharacter;
    const int64_t longest = info.unspaced ? longest_unspaced_ : repeats.longest();
    if (info.kind != CharKind::kSpace) {
      survey_.longest_run = std::max(survey_.longest_run, longest);
    }
    CountKind(info, characters);
    if (info.kind == CharKind::kPunctuation) CountMarks({start, static_cast<size_t>(p - start)});
    if (!JoinsWord(info, start)) return EndWord();
    word_characters_ += characters;
    word_end_ = p;
  }

  // The longest run of one character.
  class Repeats {
   public:
    explicit Repeats(uint32_t c) : last_(c) {}
    void Add(uint32_t c) {
      length_ = c == last_ ? length_ + 1 : 1;
      longest_ = std::max(longest_, length_);
      last_ = c;
    }
    int64_t longest() const { return longest_; }

   private:
    uint32_t last_;
    int64_t length_ = 1, longest_ = 1;
  };

  void CountKind(const CharInfo& info, int64_t characters) {
    kinds_[static_cast<size_t>(info.kind)] += characters;
    if (info.kind != CharKind::kLetter) return;
    survey_.script_letters[info.script] += static_cast<uint32_t>(characters);
    survey_.unspaced_letters += info.unspaced ? characters : 0;
  }

  // Hash signs and ellipses in a run of punctuation.
  void CountMarks(std::string_view run) {
    int64_t dots = 0;
    for (const char* p = run.data(); p < run.data() + run.size();) {
      const uint32_t c = NextCodePoint(p);
      dots = c == '.' ? dots + 1 : 0;
      survey_.hash_signs += c == '#';
      survey_.ellipses += c == 0x2026 || dots == 3;
    }
  }

  // Whether a run that begins at `start` belongs to a word: the open one, or a new one.
  bool JoinsWord(const CharInfo& info, const char* start) {
    switch (info.kind) {
      case CharKind::kLetter:
        if (info.unspaced || unspaced_) EndWord();
        unspaced_ = info.unspaced;
        has_letter_ = true;
        break;
      case CharKind::kDigit:
        if (unspaced_) EndWord();
        break;
      case CharKind::kMark:
        return word_ != nullptr;  // a mark alone is no word
      default:
        return false;
    }
    if (word_ == nullptr) word_ = start;
    return true;
  }

  void EndWord() {
    if (word_ == nullptr) return;
    const std::string_view bytes(word_, static_cast<size_t>(word_end_ - word_));
    survey_.words.push_back({HashOf64(bytes), static_cast<uint32_t>(word_ - begin_),
                             static_cast<uint32_t>(word_end_ - begin_)});
    survey_.words_with_letter += has_letter_;
    survey_.word_characters += word_characters_;
    survey_.word_bytes += static_cast<int64_t>(bytes.size());
    word_ = nullptr;
    word_characters_ = 0;
    unspaced_ = has_letter_ = false;
  }

  static constexpr uint32_t kNoCharacter = ~uint32_t{0};

  const CharInfos infos_;
  const char* const begin_;
  const char* const end_;
  TextSurvey& survey_;
  std::array<int64_t, 8> kinds_{};
  const char* word_ = nullptr;  // start of the open word
  const char* word_end_ = nullptr;
  int64_t word_characters_ = 0;
  int64_t longest_unspaced_ = 0;
  uint32_t last_unspaced_ = kNoCharacter;
  bool unspaced_ = false;
  bool has_letter_ = false;
};

}  // namespace

void SurveyText(std::string_view text, TextSurvey& survey) {
  std::vector<Word> words = std::move(survey.words);
  words.clear();
  survey = TextSurvey{};
  survey.words = std::move(words);
  Surveyor(text, survey).Run();
}

}  // namespace choir
