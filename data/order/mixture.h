// Which language the next document comes from.
//
// The shares are held by worst-case fair queueing (WF2Q; Bennett and Zhang, INFOCOM 1996) in
// integer arithmetic: of the languages that are not ahead of their share, the one whose next
// document would be through first if all languages were read at once, each at its rate. After every
// document
//
//   -(longest document of any language) <= tokens_l - share_l * tokens <= longest document of l.
//
// (Drawing from the language with the largest deficit alone has no such lower bound: a rare
// language may fall behind by several documents when many languages are due at once.)
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "data/data_config.h"
#include "data/shard/token_corpus.h"

namespace choir {

// Shares in units of 2^-20 of the largest, at least 1; 0 for a language that is not read. From
// mixture.weights, or n_l^alpha of the training labels n_l. Errors: a weight for a language that
// the corpus does not have, or has no training documents in.
absl::StatusOr<std::vector<int64_t>> MixtureWeights(const MixtureConfig& config,
                                                    const TokenCorpus& corpus);

class Mixture {
 public:
  explicit Mixture(std::vector<int64_t> weights);

  // The language to draw from, given the tokens drawn so far and the length of each language's
  // next document (asked for languages that may be drawn only, > 0). Pure.
  int32_t Choose(const std::vector<int64_t>& drawn,
                 const std::function<int64_t(int32_t)>& next_length) const;

  const std::vector<int64_t>& weights() const { return weights_; }
  int64_t total_weight() const { return total_; }

 private:
  std::vector<int64_t> weights_;
  int64_t total_ = 0;
};

}  // namespace choir
