// What the filters and near deduplication want to know about a text, from one pass over it.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

namespace choir {

// A word: letters, marks and digits in a row; in scripts that are written without spaces (Han,
// kana, Thai, Lao, Khmer, Burmese), one letter with its marks.
struct Word {
  uint64_t hash = 0;            // HashOf64 of its bytes
  uint32_t begin = 0, end = 0;  // bytes of the text
};

struct TextSurvey {
  int64_t characters = 0;  // code points
  int64_t letters = 0, marks = 0, digits = 0, punctuation = 0, symbols = 0, spaces = 0;
  int64_t unspaced_letters = 0;  // of scripts without spaces
  int64_t words_with_letter = 0;
  int64_t word_characters = 0;  // code points of all words
  int64_t word_bytes = 0;
  int64_t hash_signs = 0, ellipses = 0;        // '#'; U+2026 and runs of three or more '.'
  int64_t longest_run = 0;                     // of one character that is not space
  std::array<uint32_t, 256> script_letters{};  // letters by ICU's UScriptCode
  std::vector<Word> words;

  // Words that count as one in an n-gram or shingle: 2 characters stand for a word where most
  // letters are of scripts without spaces, else 1.
  int64_t pieces_per_word() const { return 2 * unspaced_letters > letters ? 2 : 1; }
};

// Surveys valid UTF-8 of less than 4 GiB. `survey` is overwritten; its memory is used again.
void SurveyText(std::string_view text, TextSurvey& survey);

}  // namespace choir
