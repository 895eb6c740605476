// MinHash signatures of texts (Broder 1997, "On the resemblance and containment of documents").
//
// A text is the set of its shingles: runs of `words` words, in scripts without spaces of twice as
// many characters (data/clean/text_survey.h says what a word is; the script of most letters
// decides). Case and what stands between the words do not matter. A text of fewer words has one
// shingle, all of them; one without words has none and resembles nothing.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "data/clean/clean_config.h"
#include "data/clean/text_survey.h"

namespace choir {

// The hashes of a text's shingles, 32 well-mixed bits each, in order, equal ones repeated.
void ShingleHashes(const TextSurvey& survey, int64_t words, uint64_t seed,
                   std::vector<uint32_t>& hashes);

// `count` hash functions h -> a h + b mod 2^32 with odd a: permutations of 32-bit numbers.
class MinHasher {
 public:
  MinHasher(int64_t count, uint64_t seed);

  // minima[k] = min over the hashes of function k; all ones for no hash. `minima` is resized.
  // P(minima of two texts agree in k) = J, the Jaccard similarity of their shingle sets.
  void Minima(const std::vector<uint32_t>& hashes, std::vector<uint32_t>& minima) const;

 private:
  static constexpr size_t kBlock = 16;  // functions kept in registers over all hashes

  int64_t count_;
  std::vector<uint32_t> factors_, offsets_;  // padded to a multiple of kBlock
};

// The `size` smallest different hashes, ascending. `hashes` is reordered.
std::vector<uint32_t> BottomSketch(std::vector<uint32_t>& hashes, size_t size);

// Jaccard similarity from two bottom sketches of at most `size` hashes: the share of the `size`
// smallest hashes of the union that are in both (Broder 1997, section 3). Exact if the union has at
// most `size` hashes, otherwise with standard deviation sqrt(J (1 - J) / size). 0 for two empty
// ones.
double SketchJaccard(const std::vector<uint32_t>& a, const std::vector<uint32_t>& b, size_t size);

}  // namespace choir
