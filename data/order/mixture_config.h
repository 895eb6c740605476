// Section `data.mixture`: the shares of languages and sources in what is trained on.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/config_load.h"

namespace choir {

inline constexpr double kDefaultMixtureAlpha = 0.5;

// How shares are set: by one of the first four, and inside a language by source_weights.
struct MixtureShares {
  std::optional<double> alpha;
  std::optional<double> temperature;
  std::map<std::string, double> weights;
  std::optional<int64_t> unimax_tokens;
  std::map<std::string, double> source_weights;
};

namespace internal {

void VisitShares(auto& shares, auto&& v) {
  v("alpha", shares.alpha,
    "share of a language ~ (its training tokens)^alpha: 1 as they are, 0 all equal, auto 0.5",
    InRange(0, 1));
  v("temperature", shares.temperature, "alpha as 1 / temperature", AtLeast(1));
  v("weights", shares.weights,
    "share by language, in any unit, instead of alpha; languages not listed are not read",
    Above(0));
  v("unimax_tokens", shares.unimax_tokens,
    "labels that all languages share equally (UniMax), but none has more than max_epochs times its "
    "own",
    AtLeast(1));
  v("source_weights", shares.source_weights,
    "with by_source, share by source inside each language; sources not listed are not read; none: "
    "as many tokens as they have",
    Above(0));
}

}  // namespace internal

// Shares from some point of the run on.
struct MixturePhaseConfig {
  int64_t from_tokens = 0;
  std::optional<double> alpha;
  std::optional<double> temperature;
  std::map<std::string, double> weights;
  std::optional<int64_t> unimax_tokens;
  std::map<std::string, double> source_weights;

  void Visit(auto&& v) {
    v("from_tokens", from_tokens, "labels of the run from which on these shares hold", Required(),
      AtLeast(1));
    internal::VisitShares(*this, v);
  }
  void Check(ConfigErrors& errors) const;
  MixtureShares shares() const {
    return {alpha, temperature, weights, unimax_tokens, source_weights};
  }
};

struct MixtureConfig {
  std::optional<double> alpha;
  std::optional<double> temperature;
  std::map<std::string, double> weights;
  std::optional<int64_t> unimax_tokens;
  std::map<std::string, double> source_weights;
  bool by_source = false;
  std::optional<double> max_epochs;
  std::vector<MixturePhaseConfig> schedule;

  void Visit(auto&& v) {
    internal::VisitShares(*this, v);
    v("by_source", by_source,
      "each source of a language is a stream of its own, with a share of its own");
    v("max_epochs", max_epochs,
      "times that a document may be read at most; a stream that is used up leaves its share to the "
      "others; auto: any number",
      Above(0));
    v("schedule", schedule, "other shares from given points of the run on, in their order");
  }
  void Check(ConfigErrors& errors) const;
  MixtureShares shares() const {
    return {alpha, temperature, weights, unimax_tokens, source_weights};
  }
};

}  // namespace choir
