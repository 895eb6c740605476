#include "train/recompute_rules.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <iterator>
#include <utility>

#include "base/pattern.h"
#include "base/strings.h"

namespace choir {
namespace {

constexpr std::pair<std::string_view, TensorPolicy> kActions[] = {
    {"keep", TensorPolicy::kKeep},       {"recompute", TensorPolicy::kRecompute},
    {"offload", TensorPolicy::kOffload}, {"bf16", TensorPolicy::kBF16},
    {"e4m3", TensorPolicy::kE4M3},       {"e5m2", TensorPolicy::kE5M2}};

constexpr std::string_view kSyntax =
    "; an entry is none, selective, full, budget=SIZE, or TAG[@LAYERS][=ACTION]";

// What is cheap to make again for the bytes it has; chosen by measurement (docs/recompute.md).
constexpr const char* kSelective[] = {"norm", "swiglu", "moe.swiglu", "permute", "moe.down"};

constexpr std::string_view kRoundedAlike[] = {"attention.qkv", "ffn.gate_up", "swiglu",
                                              "moe.gate_up", "moe.swiglu"};

// An entry, taken apart from the left.
class EntryParser {
 public:
  EntryParser(std::string_view text, size_t entry, RecomputeRules& to)
      : rest_(text), entry_(entry), to_(to) {}

  void Parse() {
    if (rest_.starts_with("budget=")) return ParseBudget(rest_.substr(7));
    if (AddNamed()) return;
    RecomputeRule rule{.entry = static_cast<int>(entry_)};
    const bool keeps = Take("!");
    if (keeps) rule.action = TensorPolicy::kKeep;
    const std::string_view whole = rest_;
    rule.tag = Until("@=");
    if (rule.tag.empty()) return Fail(StrCat("has no tag", kSyntax));
    if (rule.tag.find_first_of(" !,") != std::string::npos) {
      return Fail(StrCat("'", whole, "' is no tag", kSyntax));
    }
    if (Take("@") && !ParseLayers(Until("="), rule.layers)) return;
    if (Take("=")) {
      if (keeps) return Fail("has both '!' (keep) and an action");
      if (!ParseAction(rest_, rule.action)) return;
    }
    to_.rules.push_back(std::move(rule));
  }

 private:
  void Fail(const std::string& message) { to_.errors.push_back({entry_, message}); }
  bool Take(std::string_view prefix) {
    if (!rest_.starts_with(prefix)) return false;
    rest_.remove_prefix(prefix.size());
    return true;
  }
  std::string Until(std::string_view stops) {
    const std::string_view part = rest_.substr(0, rest_.find_first_of(stops));
    rest_.remove_prefix(part.size());
    return std::string(part);
  }

  bool AddNamed() {
    const std::vector<LayerRange> all_layers = {LayerRange()};
    if (rest_ == "none") {
      to_.rules.push_back({"*", {}, TensorPolicy::kDefault});
    } else if (rest_ == "full") {
      to_.rules.push_back({"*", all_layers, TensorPolicy::kRecompute});
      to_.rules.push_back({"residual", all_layers, TensorPolicy::kKeep});
    } else if (rest_ == "selective") {
      for (const char* tag : kSelective) {
        to_.rules.push_back({tag, all_layers, TensorPolicy::kRecompute});
      }
    } else {
      return false;
    }
    return true;
  }

  static bool ReadInt(std::string_view text, int& value) {
    const char* const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, value);
    return error == std::errc() && stop == end && value >= 0;
  }

  bool ParseLayers(std::string_view text, std::vector<LayerRange>& layers) {
    const std::string whole(text);
    for (;;) {
      const size_t comma = text.find(',');
      const std::string_view part = text.substr(0, comma);
      const size_t dash = part.find('-');
      LayerRange range;
      bool sound = ReadInt(part.substr(0, dash), range.first);
      if (dash == std::string_view::npos) {
        range.last = range.first;
      } else if (dash + 1 < part.size()) {
        sound = sound && ReadInt(part.substr(dash + 1), range.last) && range.first <= range.last;
      }
      if (!sound) {
        Fail(StrCat("'", whole, "' are no layers: write them like 0-11,20- (counted from 0)"));
        return false;
      }
      layers.push_back(range);
      if (comma == std::string_view::npos) return true;
      text.remove_prefix(comma + 1);
    }
  }

  bool ParseAction(std::string_view name, TensorPolicy& action) {
    std::string all;
    for (const auto& [known, value] : kActions) {
      if (name == known) {
        action = value;
        return true;
      }
      all += StrCat(all.empty() ? "" : ", ", known);
    }
    Fail(StrCat("'", name, "' is no action; there are ", all));
    return false;
  }

  void ParseBudget(std::string_view size) {
    if (entry_ != 0) return Fail("a budget is the first entry; rules behind it overrule it");
    RecomputeBudget budget;
    if (size != "auto") {
      double number = 0;
      const auto [unit, error] = std::from_chars(size.data(), size.data() + size.size(), number);
      const std::string_view name(unit, static_cast<size_t>(size.data() + size.size() - unit));
      constexpr std::array<std::string_view, 4> kUnits = {"KiB", "MiB", "GiB", "TiB"};
      const auto known = std::find(kUnits.begin(), kUnits.end(), name);
      const auto power = 10 * (1 + static_cast<int>(known - kUnits.begin()));
      const double bytes = std::ldexp(number, power);
      if (error != std::errc() || known == kUnits.end() || !(bytes >= 1 && bytes < 0x1p62)) {
        return Fail(StrCat("'", size, "' is no budget: write auto, or a size like 12GiB"));
      }
      budget.bytes = static_cast<int64_t>(bytes);
    }
    to_.budget = budget;
  }

  std::string_view rest_;
  const size_t entry_;
  RecomputeRules& to_;
};

bool Fits(const RecomputeRule& rule, std::string_view tag, int layer) {
  const bool here = rule.layers.empty() ||
                    std::any_of(rule.layers.begin(), rule.layers.end(), [&](const LayerRange& r) {
                      return r.first <= layer && layer <= r.last;
                    });
  return here && MatchesPattern(tag, rule.tag);
}

}  // namespace

RecomputeRules ParseRecompute(const std::vector<std::string>& entries) {
  RecomputeRules rules;
  for (size_t i = 0; i < entries.size(); ++i) EntryParser(entries[i], i, rules).Parse();
  return rules;
}

std::string_view ActionName(TensorPolicy action) {
  for (const auto& [name, value] : kActions) {
    if (value == action) return name;
  }
  return kActions[0].first;
}

std::string RoundedAlike() {
  std::string all;
  for (const std::string_view tag : kRoundedAlike) all += StrCat(all.empty() ? "" : ", ", tag);
  return all;
}

std::string RuleOfOneLayout(const std::vector<RecomputeRule>& rules) {
  for (const RecomputeRule& rule : rules) {
    if (rule.action < TensorPolicy::kBF16) continue;
    const bool alike = std::find(std::begin(kRoundedAlike), std::end(kRoundedAlike), rule.tag) !=
                       std::end(kRoundedAlike);
    if (rule.action != TensorPolicy::kBF16 || !alike) {
      return StrCat(rule.tag, "=", ActionName(rule.action));
    }
  }
  return {};
}

RecomputePolicy MakeRecomputePolicy(std::vector<RecomputeRule> rules) {
  if (rules.empty()) return nullptr;
  std::reverse(rules.begin(), rules.end());
  return [rules = std::move(rules)](std::string_view tag, int layer) {
    for (const RecomputeRule& rule : rules) {
      if (Fits(rule, tag, layer)) return rule.action;
    }
    return TensorPolicy::kDefault;
  };
}

}  // namespace choir
