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

// Whether some n-gram is too frequent: for k = 0, 1 ... and n = first + k, the occurrences of the
// most frequent n-gram (of the longest one, if several are) make up more than limits[k] of the
// bytes of all words. An n-gram that comes once makes up nothing; occurrences that overlap count as
// often as they come. Where scripts have no spaces, n words stand for 2 n characters.
bool TopNgramsExceed(const TextSurvey& survey, int first, const std::vector<double>& limits);

// Whether more than limits[k] of the bytes of all words lie in n-grams that come at least twice,
// for n = first + k; bytes in several such n-grams count once.
bool DuplicateNgramsExceed(const TextSurvey& survey, int first, const std::vector<double>& limits);

}  // namespace choir
