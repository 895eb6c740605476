#include "data/order/skip.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>

#include "base/check.h"
#include "base/strings.h"
#include "data/text/documents.h"

namespace choir {
namespace {

bool ParseWhole(std::string_view text, int64_t& out) {
  const auto result = std::from_chars(text.data(), text.data() + text.size(), out);
  return result.ec == std::errc() && result.ptr == text.data() + text.size();
}

// "first-last" or "batch" as [first, end).
std::optional<std::pair<int64_t, int64_t>> BatchRange(std::string_view text) {
  const size_t dash = std::min(text.find('-'), text.size());
  std::pair<int64_t, int64_t> range{-1, -1};
  if (!ParseWhole(text.substr(0, dash), range.first)) return std::nullopt;
  range.second = range.first;
  if (dash < text.size() && !ParseWhole(text.substr(dash + 1), range.second)) {
    return std::nullopt;
  }
  if (range.first < 0 || range.second < range.first) return std::nullopt;
  ++range.second;
  return range;
}

}  // namespace

void SkipConfig::Check(ConfigErrors& errors) const {
  for (const std::string& document : documents) {
    if (!document.starts_with('#') || HashInName(document).has_value()) continue;
    errors.Add("documents", StrCat("has '", document,
                                   "': after # stand the 16 hexadecimal digits of a document, as "
                                   "`choir data peek` prints them"));
  }
  for (const std::string& range : batches) {
    if (BatchRange(range).has_value()) continue;
    errors.Add("batches", StrCat("has '", range, "': want a batch, \"1200\", or the first and the ",
                                 "last of several, \"1200-1209\""));
  }
}

void PlanSkips(const SkipConfig& config, DataPlan& plan) {
  for (const std::string& document : config.documents) {
    plan.skip_documents.push_back(HashOfName(document));
  }
  std::sort(plan.skip_documents.begin(), plan.skip_documents.end());
  std::vector<std::pair<int64_t, int64_t>> ranges;
  for (const std::string& text : config.batches) {
    const std::optional<std::pair<int64_t, int64_t>> range = BatchRange(text);
    CHECK(range.has_value());
    ranges.push_back(*range);
  }
  std::sort(ranges.begin(), ranges.end());
  for (const auto& range : ranges) {
    if (!plan.skip_batches.empty() && range.first <= plan.skip_batches.back().second) {
      plan.skip_batches.back().second = std::max(plan.skip_batches.back().second, range.second);
    } else {
      plan.skip_batches.push_back(range);
    }
  }
}

}  // namespace choir
