#include "train/recompute.h"

#include <algorithm>
#include <iterator>
#include <memory>

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

bool IsExclusion(std::string_view pattern) { return pattern.starts_with('!'); }

bool Drops(std::string_view tag, const std::vector<std::string>& patterns) {
  bool drops = false;
  for (std::string_view pattern : patterns) {
    if (!IsExclusion(pattern)) {
      drops |= MatchesPattern(tag, pattern);
    } else if (MatchesPattern(tag, pattern.substr(1))) {
      return false;
    }
  }
  return drops;
}

}  // namespace

RecomputePolicy MakeRecomputePolicy(const std::vector<std::string>& patterns) {
  if (patterns.empty()) return nullptr;
  return [patterns](std::string_view tag, int) { return Drops(tag, patterns); };
}

std::set<std::string> RecomputableTags(const RunConfig& config) {
  Transformer model(config.model, *config.model.vocab_size, {DType::kF32, Device::kMeta});
  std::set<std::string> tags(std::begin(kExchanges), std::end(kExchanges));
  Tape tape;
  tape.SetRecomputePolicy([&tags](std::string_view tag, int) {
    tags.emplace(tag);
    return false;
  });
  model.Loss(tape, MetaInput(config.data.sequence_length), 1);
  return tags;
}

absl::Status CheckRecompute(const RunConfig& config) {
  if (config.train.recompute.empty()) return absl::OkStatus();
  const std::set<std::string> tags = RecomputableTags(config);
  for (const std::string& pattern : config.train.recompute) {
    const std::string_view name = std::string_view(pattern).substr(IsExclusion(pattern) ? 1 : 0);
    if (std::any_of(tags.begin(), tags.end(),
                    [&](const std::string& tag) { return MatchesPattern(tag, name); })) {
      continue;
    }
    std::string all;
    for (const std::string& tag : tags) all += " " + tag;
    return absl::InvalidArgumentError(StrCat("train.recompute: '", pattern,
                                             "' matches no result of this model; there are:", all));
  }
  return absl::OkStatus();
}

}  // namespace choir
