#include "data/order/mixture_plan.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "absl/strings/str_join.h"
#include "base/check.h"
#include "base/status.h"
#include "base/strings.h"

namespace choir {
namespace {

constexpr double kWeightUnit = 1 << 20;

void CheckShares(const MixtureShares& shares, ConfigErrors& errors) {
  std::vector<std::string> given;
  if (shares.alpha.has_value()) given.push_back("alpha");
  if (shares.temperature.has_value()) given.push_back("temperature");
  if (!shares.weights.empty()) given.push_back("weights");
  if (shares.unimax_tokens.has_value()) given.push_back("unimax_tokens");
  if (given.size() > 1) {
    errors.Conflict({given.back(), given.front()},
                    StrCat("and ", given.front(), " contradict each other: give one of alpha, ",
                           "temperature, weights and unimax_tokens"));
  }
}

// What shares are worked out from.
struct Streams {
  const std::vector<DocumentStream>& all;
  const std::vector<std::string>& languages;
  const std::vector<std::string>& sources;

  // Labels by language.
  std::vector<double> LanguageLabels() const {
    std::vector<double> labels(languages.size(), 0.0);
    for (const DocumentStream& s : all) labels[s.language] += static_cast<double>(s.labels);
    return labels;
  }
};

absl::Status Unknown(const std::string& key, const std::string& name, const char* what,
                     const std::vector<std::string>& known) {
  return absl::InvalidArgumentError(StrCat(key, ".", name, ": the corpus has no such ", what,
                                           ", only ", absl::StrJoin(known, ", ")));
}

absl::StatusOr<std::vector<double>> ExplicitShares(const std::map<std::string, double>& weights,
                                                   const std::string& key, const Streams& streams) {
  std::vector<double> shares(streams.languages.size(), 0.0);
  const std::vector<double> labels = streams.LanguageLabels();
  for (const auto& [language, weight] : weights) {
    const auto it = std::find(streams.languages.begin(), streams.languages.end(), language);
    if (it == streams.languages.end()) {
      return Unknown(key + ".weights", language, "language", streams.languages);
    }
    const size_t l = static_cast<size_t>(it - streams.languages.begin());
    if (labels[l] == 0) {
      return absl::InvalidArgumentError(StrCat(
          key, ".weights.", language, ": the corpus has no training documents in this language"));
    }
    shares[l] = weight;
  }
  return shares;
}

std::vector<double> UniMaxShares(double budget, double max_epochs,
                                 const std::vector<double>& labels) {
  std::vector<size_t> order(labels.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return labels[a] < labels[b]; });
  std::vector<double> shares(labels.size(), 0.0);
  auto left = static_cast<double>(
      std::count_if(labels.begin(), labels.end(), [](double n) { return n > 0; }));
  for (const size_t l : order) {
    if (labels[l] == 0) continue;
    shares[l] = std::min(budget / left, max_epochs * labels[l]);
    budget -= shares[l];
    left -= 1;
  }
  return shares;
}

absl::StatusOr<std::vector<double>> LanguageShares(const MixtureShares& config,
                                                   const MixtureConfig& whole,
                                                   const std::string& key, const Streams& streams) {
  if (!config.weights.empty()) return ExplicitShares(config.weights, key, streams);
  std::vector<double> labels = streams.LanguageLabels();
  if (config.unimax_tokens.has_value()) {
    if (!whole.max_epochs.has_value()) {
      return absl::InvalidArgumentError(
          StrCat(key, ".unimax_tokens needs data.mixture.max_epochs, the cap of UniMax"));
    }
    return UniMaxShares(static_cast<double>(*config.unimax_tokens), *whole.max_epochs, labels);
  }
  const double alpha = config.temperature.has_value() ? 1 / *config.temperature
                                                      : config.alpha.value_or(kDefaultMixtureAlpha);
  for (double& n : labels) n = n > 0 ? std::pow(n, alpha) : 0;
  return labels;
}

// Of a language, by stream; sums to 1 over each language that has any.
absl::StatusOr<std::vector<double>> SharesInside(const MixtureShares& config,
                                                 const std::string& key, const Streams& streams) {
  for (const auto& [source, weight] : config.source_weights) {
    if (std::find(streams.sources.begin(), streams.sources.end(), source) ==
        streams.sources.end()) {
      return Unknown(key + ".source_weights", source, "source", streams.sources);
    }
  }
  std::vector<double> inside, sums(streams.languages.size(), 0.0);
  for (const DocumentStream& s : streams.all) {
    double share = static_cast<double>(s.labels);
    if (!config.source_weights.empty() && share > 0) {
      const auto it = config.source_weights.find(streams.sources[s.source]);
      share = it == config.source_weights.end() ? 0 : it->second;
    }
    inside.push_back(share);
    sums[s.language] += share;
  }
  for (size_t s = 0; s < inside.size(); ++s) {
    if (inside[s] > 0) inside[s] /= sums[streams.all[s].language];
  }
  return inside;
}

absl::StatusOr<std::vector<int64_t>> WeightsOf(const MixtureShares& config,
                                               const MixtureConfig& whole, const std::string& key,
                                               const Streams& streams) {
  if (!config.source_weights.empty() && !whole.by_source) {
    return absl::InvalidArgumentError(
        StrCat(key, ".source_weights needs data.mixture.by_source: true"));
  }
  ASSIGN_OR_RETURN(const std::vector<double> of_language,
                   LanguageShares(config, whole, key, streams));
  ASSIGN_OR_RETURN(std::vector<double> shares, SharesInside(config, key, streams));
  for (size_t s = 0; s < shares.size(); ++s) shares[s] *= of_language[streams.all[s].language];
  const double largest = shares.empty() ? 0 : *std::max_element(shares.begin(), shares.end());
  if (largest <= 0) {
    return absl::InvalidArgumentError(StrCat(key, ": no training documents to read"));
  }
  std::vector<int64_t> weights(shares.size(), 0);
  for (size_t s = 0; s < shares.size(); ++s) {
    if (shares[s] > 0) {
      weights[s] = std::max<int64_t>(1, std::llround(shares[s] / largest * kWeightUnit));
    }
  }
  return weights;
}

}  // namespace

void MixturePhaseConfig::Check(ConfigErrors& errors) const { CheckShares(shares(), errors); }

void MixtureConfig::Check(ConfigErrors& errors) const {
  CheckShares(shares(), errors);
  for (size_t i = 1; i < schedule.size(); ++i) {
    if (schedule[i].from_tokens <= schedule[i - 1].from_tokens) {
      errors.Conflict(
          {StrCat("schedule[", i, "].from_tokens")},
          StrCat("must be above that of the phase before, ", schedule[i - 1].from_tokens));
    }
  }
}

absl::StatusOr<MixturePlan> PlanMixture(const MixtureConfig& config,
                                        const std::vector<DocumentStream>& streams,
                                        const std::vector<std::string>& languages,
                                        const std::vector<std::string>& sources) {
  const Streams all{streams, languages, sources};
  MixturePlan plan;
  ASSIGN_OR_RETURN(std::vector<int64_t> weights,
                   WeightsOf(config.shares(), config, "data.mixture", all));
  plan.phases.push_back({0, std::move(weights)});
  for (size_t i = 0; i < config.schedule.size(); ++i) {
    const MixturePhaseConfig& phase = config.schedule[i];
    ASSIGN_OR_RETURN(
        weights, WeightsOf(phase.shares(), config, StrCat("data.mixture.schedule[", i, "]"), all));
    plan.phases.push_back({phase.from_tokens, std::move(weights)});
  }
  for (const DocumentStream& s : streams) {
    plan.most_documents.push_back(
        config.max_epochs.has_value()
            ? static_cast<int64_t>(*config.max_epochs * static_cast<double>(s.documents))
            : -1);
  }
  return plan;
}

}  // namespace choir
