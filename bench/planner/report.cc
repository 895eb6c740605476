#include "bench/planner/report.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>

#include "absl/strings/str_format.h"
#include "bench/planner/statistics.h"

namespace choir::planner {
namespace {

using Rows = std::vector<const RowResult*>;
using Pick = double RowResult::*;

ErrorSummary ErrorsOf(const Rows& rows, Pick seconds) {
  std::vector<double> errors;
  for (const RowResult* row : rows) errors.push_back(row->error(row->*seconds));
  return Summarize(errors);
}

// Device seconds per token, by which layouts of a model are ranked.
double PerToken(const RowResult& row, double seconds) {
  return seconds * row.sample->step.ranks / row.sample->step.tokens;
}

double RankOf(const Rows& rows, Pick seconds) {
  std::vector<double> predicted, measured;
  for (const RowResult* row : rows) {
    predicted.push_back(PerToken(*row, row->*seconds));
    measured.push_back(PerToken(*row, row->measured()));
  }
  return RankCorrelation(predicted, measured);
}

std::string Line(const std::string& name, const Rows& rows) {
  std::string text = absl::StrFormat("%-44s %4d", name, rows.size());
  for (const Pick level : {&RowResult::datasheet, &RowResult::scaled, &RowResult::fitted,
                           &RowResult::crossed, &RowResult::constant}) {
    const ErrorSummary e = ErrorsOf(rows, level);
    text += absl::StrFormat(" |%5.1f %6.1f %+6.1f", 100 * e.mean, 100 * e.max, 100 * e.bias);
  }
  const double known = ErrorsOf(rows, &RowResult::constant).mean;
  const bool spread = known > 1e-6;  // else the constant was set by the rows themselves
  const double skill = spread ? 1 - ErrorsOf(rows, &RowResult::crossed).mean / known : 0;
  text += rows.size() > 2 ? absl::StrFormat(" | %+5.2f", RankOf(rows, &RowResult::crossed))
                          : std::string(" |     -");
  text += spread ? absl::StrFormat(" %+6.2f", skill) : std::string("      -");
  return text + "\n";
}

std::string LineHeading(const char* first) {
  return absl::StrFormat("%-44s %4s |%20s |%20s |%20s |%20s |%20s | %5s %6s\n", first, "rows",
                         "L0 mean   max   bias", "L1 mean   max   bias", "L2 mean   max   bias",
                         "L2 cross-validated", "constant FLOP/s", "rank", "skill");
}

Rows Select(const std::vector<RowResult>& rows, const std::function<bool(const RowResult&)>& keep) {
  Rows kept;
  for (const RowResult& row : rows) {
    if (keep(row)) kept.push_back(&row);
  }
  return kept;
}

bool Calibrates(const RowResult& row) { return row.sample->run->split == "calibrate"; }

std::map<std::string, Rows> ByFamily(const std::vector<RowResult>& rows) {
  std::map<std::string, Rows> families;
  for (const RowResult& row : rows) families[row.sample->run->family].push_back(&row);
  return families;
}

}  // namespace

std::string SummaryReport(const std::vector<RowResult>& rows) {
  std::string text = "## Step time: all rows\n" + LineHeading("rows");
  const auto add = [&](const char* name, const std::function<bool(const RowResult&)>& keep) {
    const Rows kept = Select(rows, keep);
    if (!kept.empty()) text += Line(name, kept);
  };
  add("dense, calibrate",
      [](const RowResult& row) { return Calibrates(row) && !row.sample->run->moe(); });
  add("mixture of experts, calibrate",
      [](const RowResult& row) { return Calibrates(row) && row.sample->run->moe(); });
  add("dense, diagnostic (never fitted)",
      [](const RowResult& row) { return !Calibrates(row) && !row.sample->run->moe(); });
  std::map<std::string, Rows> systems;
  for (const RowResult& row : rows) systems[row.sample->run->system].push_back(&row);
  text += "\n" + LineHeading("machine and software");
  for (const auto& [name, kept] : systems) text += Line(name, kept);
  return text;
}

std::string FamilyReport(const std::vector<RowResult>& rows) {
  std::string text = "## Step time: by family\n" + LineHeading("family");
  for (const auto& [name, kept] : ByFamily(rows)) text += Line(name, kept);
  return text;
}

namespace {

// One way to train a model: the mean of the rows that differ in nothing but their release.
struct LayoutTimes {
  int rows = 0;
  double measured = 0, fitted = 0, crossed = 0;  // device seconds per token
};

std::vector<LayoutTimes> Layouts(const Rows& rows) {
  std::map<std::string, LayoutTimes> layouts;
  for (const RowResult* row : rows) {
    LayoutTimes& times = layouts[LayoutKey(*row->sample->run)];
    ++times.rows;
    times.measured += PerToken(*row, row->measured());
    times.fitted += PerToken(*row, row->fitted);
    times.crossed += PerToken(*row, row->crossed);
  }
  std::vector<LayoutTimes> means;
  for (auto& [key, times] : layouts) {
    for (double* sum : {&times.measured, &times.fitted, &times.crossed}) *sum /= times.rows;
    means.push_back(times);
  }
  return means;
}

double RankOfLayouts(const std::vector<LayoutTimes>& layouts, double LayoutTimes::*predicted) {
  std::vector<double> a, b;
  for (const LayoutTimes& times : layouts) {
    a.push_back(times.*predicted);
    b.push_back(times.measured);
  }
  return RankCorrelation(a, b);
}

}  // namespace

std::string RankingReport(const std::vector<RowResult>& rows) {
  std::string text =
      "## Ranking of four and more layouts of one model on one machine (layout, batch, length,\n"
      "## format; rows that differ only in their release are one)\n";
  text += absl::StrFormat("%-44s %7s %9s %9s %9s  %s\n", "family", "layouts", "spread %", "L2 rank",
                          "crossed", "choice costs %");
  std::vector<double> fitted, crossed;
  double layouts_sum = 0, crossed_sum = 0;
  for (const auto& [name, kept] : ByFamily(rows)) {
    const std::vector<LayoutTimes> layouts = Layouts(kept);
    if (layouts.size() < 4) continue;
    const auto by = [](double LayoutTimes::*key) {
      return [key](const LayoutTimes& a, const LayoutTimes& b) { return a.*key < b.*key; };
    };
    const auto [best, worst] =
        std::minmax_element(layouts.begin(), layouts.end(), by(&LayoutTimes::measured));
    const auto chosen = std::min_element(layouts.begin(), layouts.end(), by(&LayoutTimes::crossed));
    fitted.push_back(RankOfLayouts(layouts, &LayoutTimes::fitted));
    crossed.push_back(RankOfLayouts(layouts, &LayoutTimes::crossed));
    layouts_sum += static_cast<double>(layouts.size());
    crossed_sum += static_cast<double>(layouts.size()) * crossed.back();
    text += absl::StrFormat("%-44s %7d %9.1f %+9.3f %+9.3f  %.1f\n", name, layouts.size(),
                            100 * (worst->measured / best->measured - 1), fitted.back(),
                            crossed.back(), 100 * (chosen->measured / best->measured - 1));
  }
  if (fitted.empty()) return text;
  text += absl::StrFormat("%-44s %7d %9s %+9.3f %+9.3f\n", "median of the families", fitted.size(),
                          "", Median(fitted), Median(crossed));
  text += absl::StrFormat("%-44s %7.0f %9s %9s %+9.3f\n", "mean, weighted by layouts", layouts_sum,
                          "", "", crossed_sum / layouts_sum);
  return text;
}

std::string ToggleReport(const std::vector<ToggleResult>& toggles) {
  std::string text = "## Toggles: change of the step time in percent, frozen constants\n";
  text += absl::StrFormat("%-42s %9s %9s  %-5s %-5s %s\n", "what", "measured", "predicted", "sign",
                          "size", "rows");
  int sign = 0, size = 0;
  for (const ToggleResult& t : toggles) {
    sign += t.sign(), size += t.size();
    text += absl::StrFormat("%-42s %+9.1f %+9.1f  %-5s %-5s %s -> %s\n", t.what, 100 * t.measured,
                            100 * t.predicted, t.sign() ? "yes" : "NO", t.size() ? "yes" : "NO",
                            t.from, t.to);
  }
  text += absl::StrFormat("right sign: %d of %d; half to double the size: %d\n", sign,
                          toggles.size(), size);
  return text;
}

std::string RowReport(const std::vector<RowResult>& rows) {
  std::string text = "## Every row: seconds measured, errors in percent\n";
  text += absl::StrFormat("%-68s %s %9s %7s %7s %7s %7s %7s\n", "row", "split", "seconds", "L0",
                          "L1", "L2", "crossed", "const");
  for (const RowResult& row : rows) {
    const PublishedRun& run = *row.sample->run;
    text += absl::StrFormat("%-68s %-5s %9.3f %+7.1f %+7.1f %+7.1f %+7.1f %+7.1f\n", run.id,
                            run.split.substr(0, 5), row.measured(), 100 * row.error(row.datasheet),
                            100 * row.error(row.scaled), 100 * row.error(row.fitted),
                            100 * row.error(row.crossed), 100 * row.error(row.constant));
  }
  return text;
}

}  // namespace choir::planner
