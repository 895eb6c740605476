#include "train/recompute.h"

#include <algorithm>
#include <iterator>
#include <memory>
#include <vector>

#include "base/pattern.h"
#include "base/strings.h"
#include "model/transformer.h"
#include "train/meta_input.h"

namespace choir {
namespace {

// Results that only models on many ranks have.
constexpr const char* kExchanges[] = {
    "gather",         "scatter",          "context.to_groups", "context.to_rows",
    "moe.to_experts", "moe.from_experts", "moe.to_nodes",      "moe.weights_to_nodes",
    "moe.node_rows",  "moe.from_nodes",   "permute.nodes",     "sum_copies"};

// Empty if the rule fits something.
std::string Misfit(const RecomputeRule& rule, const std::set<std::string>& tags, int layers) {
  if (std::none_of(tags.begin(), tags.end(),
                   [&](const std::string& tag) { return MatchesPattern(tag, rule.tag); })) {
    std::string all;
    for (const std::string& tag : tags) all += " " + tag;
    return StrCat("'", rule.tag, "' matches no result of this model; there are:", all);
  }
  for (const LayerRange& range : rule.layers) {
    if (range.first < layers) continue;
    return StrCat("layer ", range.first, " is asked for, but the model has layers 0 to ",
                  layers - 1);
  }
  return {};
}

}  // namespace

RecomputePolicy MakeRecomputePolicy(const RunConfig& config) {
  RecomputeRules parsed = ParseRecompute(config.train.recompute);
  CHECK(parsed.errors.empty() && !parsed.budget) << "train.recompute was not checked";
  return MakeRecomputePolicy(std::move(parsed.rules));
}

std::set<std::string> RecomputableTags(const RunConfig& config) {
  Transformer model(config.model, *config.model.vocab_size, {DType::kF32, Device::kMeta});
  std::set<std::string> tags(std::begin(kExchanges), std::end(kExchanges));
  Tape tape;
  tape.SetRecomputePolicy([&tags](std::string_view tag, int) {
    tags.emplace(tag);
    return TensorPolicy::kDefault;
  });
  model.Loss(tape, MetaInput(config.data.sequence_length), 1);
  return tags;
}

absl::Status CheckRecompute(const RunConfig& config) {
  const RecomputeRules parsed = ParseRecompute(config.train.recompute);
  std::string all;
  const auto add = [&all](size_t entry, const std::string& message) {
    all += StrCat(all.empty() ? "" : "\n", "train.recompute[", entry, "]: ", message);
  };
  for (const RecomputeError& e : parsed.errors) add(e.entry, e.message);
  if (!parsed.rules.empty()) {
    const std::set<std::string> tags = RecomputableTags(config);
    for (const RecomputeRule& rule : parsed.rules) {
      if (rule.entry < 0) continue;
      const std::string misfit = Misfit(rule, tags, config.model.layers);
      if (!misfit.empty()) add(static_cast<size_t>(rule.entry), misfit);
    }
  }
  return all.empty() ? absl::OkStatus() : absl::InvalidArgumentError(all);
}

std::string CompressionNote(const RunConfig& config) {
  std::string kept;
  for (const RecomputeRule& rule : ParseRecompute(config.train.recompute).rules) {
    if (rule.action < TensorPolicy::kBF16) continue;
    kept += StrCat(kept.empty() ? "" : ", ", rule.tag, " (", ActionName(rule.action), ")");
  }
  if (kept.empty()) return kept;
  return "train.recompute keeps results in fewer bits, which changes gradients: " + kept;
}

}  // namespace choir
