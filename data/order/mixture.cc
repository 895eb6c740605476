#include "data/order/mixture.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_join.h"
#include "base/check.h"
#include "base/status.h"
#include "base/strings.h"

namespace choir {
namespace {

__extension__ using Int128 = __int128;

constexpr double kWeightUnit = 1 << 20;

absl::StatusOr<std::vector<double>> ExplicitShares(const MixtureConfig& config,
                                                   const TokenCorpus& corpus) {
  const std::vector<std::string>& names = corpus.languages();
  std::vector<double> shares(names.size(), 0.0);
  for (const auto& [language, weight] : config.weights) {
    const auto it = std::find(names.begin(), names.end(), language);
    if (it == names.end()) {
      return absl::InvalidArgumentError(StrCat("data.mixture.weights.", language, ": ",
                                               corpus.directory(), " has no such language, only ",
                                               absl::StrJoin(names, ", ")));
    }
    const auto l = static_cast<int32_t>(it - names.begin());
    if (corpus.NumDocuments(Split::kTrain, l) == 0) {
      return absl::InvalidArgumentError(StrCat("data.mixture.weights.", language, ": ",
                                               corpus.directory(),
                                               " has no training documents in this language"));
    }
    shares[l] = weight;
  }
  return shares;
}

}  // namespace

void MixtureConfig::Check(ConfigErrors& errors) const {
  if (alpha.has_value() && !weights.empty()) {
    errors.Conflict({"weights", "alpha"},
                    "and alpha contradict each other: give explicit weights or alpha, not both");
  }
}

absl::StatusOr<std::vector<int64_t>> MixtureWeights(const MixtureConfig& config,
                                                    const TokenCorpus& corpus) {
  std::vector<double> shares(corpus.languages().size(), 0.0);
  if (config.weights.empty()) {
    const double alpha = config.alpha.value_or(kDefaultMixtureAlpha);
    for (size_t l = 0; l < shares.size(); ++l) {
      const int64_t labels = corpus.NumLabels(Split::kTrain, static_cast<int32_t>(l));
      if (labels > 0) shares[l] = std::pow(static_cast<double>(labels), alpha);
    }
  } else {
    ASSIGN_OR_RETURN(shares, ExplicitShares(config, corpus));
  }
  const double largest = *std::max_element(shares.begin(), shares.end());
  if (largest <= 0) {
    return absl::InvalidArgumentError(StrCat(corpus.directory(), ": no training documents"));
  }
  std::vector<int64_t> weights(shares.size(), 0);
  for (size_t l = 0; l < shares.size(); ++l) {
    if (shares[l] > 0) {
      weights[l] = std::max<int64_t>(1, std::llround(shares[l] / largest * kWeightUnit));
    }
  }
  return weights;
}

Mixture::Mixture(std::vector<int64_t> weights) : weights_(std::move(weights)) {
  for (const int64_t weight : weights_) total_ += weight;
  CHECK(total_ > 0);
}

int32_t Mixture::Choose(const std::vector<int64_t>& drawn,
                        const std::function<int64_t(int32_t)>& next_length) const {
  CHECK(drawn.size() == weights_.size());
  Int128 tokens = 0;
  for (const int64_t d : drawn) tokens += d;
  int32_t best = -1;
  int64_t best_end = 0;
  for (int32_t l = 0; l < static_cast<int32_t>(weights_.size()); ++l) {
    if (weights_[l] == 0) continue;
    // Not ahead of its share: drawn / tokens <= weight / total. The lags sum to zero, so that some
    // language always is.
    if (static_cast<Int128>(drawn[l]) * total_ > tokens * weights_[l]) continue;
    const int64_t end = drawn[l] + next_length(l);
    // end / weight < best_end / best_weight
    if (best < 0 ||
        static_cast<Int128>(end) * weights_[best] < static_cast<Int128>(best_end) * weights_[l]) {
      best = l;
      best_end = end;
    }
  }
  CHECK(best >= 0);
  return best;
}

}  // namespace choir
