#include "data/clean/text_survey.h"

#include <algorithm>

#include "base/hash.h"
#include "data/clean/code_points.h"

namespace choir {
namespace {

class Surveyor {
 public:
  Surveyor(std::string_view text, TextSurvey& survey) : begin_(text.data()), survey_(survey) {}

  void Add(uint32_t c, const CharInfo& info, const char* start, const char* end) {
    ++survey_.characters;
    CountRun(c, info);
    switch (info.kind) {
      case CharKind::kLetter:
        ++survey_.letters;
        ++survey_.script_letters[info.script];
        survey_.unspaced_letters += info.unspaced;
        // A letter of a script without spaces is a word, and ends the word before it.
        if (word_ != nullptr && (info.unspaced || unspaced_)) EndWord();
        if (word_ == nullptr) word_ = start;
        unspaced_ = info.unspaced;
        has_letter_ = true;
        break;
      case CharKind::kDigit:
        ++survey_.digits;
        if (word_ != nullptr && unspaced_) EndWord();
        if (word_ == nullptr) word_ = start;
        break;
      case CharKind::kMark:
        ++survey_.marks;
        if (word_ == nullptr) return;  // a mark alone is no word
        break;
      case CharKind::kPunctuation:
        ++survey_.punctuation;
        survey_.hash_signs += c == '#';
        survey_.ellipses += c == 0x2026;
        return EndWord();
      case CharKind::kSymbol:
        ++survey_.symbols;
        return EndWord();
      case CharKind::kSpace:
        ++survey_.spaces;
        return EndWord();
      case CharKind::kOther:
        return EndWord();
    }
    ++word_characters_;
    word_end_ = end;
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

 private:
  void CountRun(uint32_t c, const CharInfo& info) {
    run_ = c == last_ ? run_ + 1 : 1;
    last_ = c;
    survey_.ellipses += c == '.' && run_ == 3;
    if (info.kind != CharKind::kSpace) survey_.longest_run = std::max(survey_.longest_run, run_);
  }

  const char* const begin_;
  TextSurvey& survey_;
  const char* word_ = nullptr;  // start of the open word
  const char* word_end_ = nullptr;
  int64_t word_characters_ = 0;
  int64_t run_ = 0;
  uint32_t last_ = ~uint32_t{0};
  bool unspaced_ = false;
  bool has_letter_ = false;
};

}  // namespace

void SurveyText(std::string_view text, TextSurvey& survey) {
  std::vector<Word> words = std::move(survey.words);
  words.clear();
  survey = TextSurvey{};
  survey.words = std::move(words);
  const CharInfos infos;
  Surveyor surveyor(text, survey);
  const char* const end = text.data() + text.size();
  for (const char* p = text.data(); p < end;) {
    const char* const start = p;
    const uint32_t c = NextCodePoint(p);
    surveyor.Add(c, infos[c], start, p);
  }
  surveyor.EndWord();
}

}  // namespace choir
