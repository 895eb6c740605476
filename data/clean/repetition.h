// How much of a text repeats itself (Rae et al. 2021, "Scaling Language Models: Methods, Analysis &
// Insights from Training Gopher", section A1.1 and table A1).
#pragma once

#include <string_view>
#include <vector>

#include "data/clean/text_survey.h"

namespace choir {

struct LineStatistics {
  double bullet_lines = 0;    // share of the lines that begin with a bullet
  double ellipsis_lines = 0;  // share of the lines that end with an ellipsis
  // Lines and paragraphs (separated by empty lines) that came before, as a share of their number
  // and of their bytes.
  double duplicate_lines = 0, duplicate_line_bytes = 0;
  double duplicate_paragraphs = 0, duplicate_paragraph_bytes = 0;
};

// Empty lines do not count. A text of one paragraph repeats none.
LineStatistics CountLines(std::string_view text);

// Share of the bytes of all words in the occurrences of the most frequent n-gram (of the longer
// one, if two are), for n = first, first + 1 ... first + counts - 1; 0 where none comes twice.
// Occurrences that overlap count as often as they come, so that the share is at most n. Where
// scripts have no spaces, n stands for 2 n characters.
std::vector<double> TopNgramShares(const TextSurvey& survey, int first, int counts);

// Share of the bytes of all words that lie in an n-gram which comes at least twice; bytes in
// several such n-grams count once.
std::vector<double> DuplicateNgramShares(const TextSurvey& survey, int first, int counts);

}  // namespace choir
