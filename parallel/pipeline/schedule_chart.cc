#include "parallel/pipeline/schedule_chart.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "base/check.h"
#include "base/strings.h"

namespace choir {
namespace {

int64_t Whole(double time) {
  CHECK(time == std::floor(time)) << "a chart needs whole times";
  return static_cast<int64_t>(time);
}

std::string Label(const ScheduleSpec& spec, const Action& action) {
  std::string label(1, "FBIW"[static_cast<size_t>(action.kind)]);
  label += std::to_string(action.microbatch);
  if (spec.chunks == 1) return label;
  const std::vector<int> stages = StagesOf(spec, StageOwner(spec, action.stage));
  const auto chunk = std::find(stages.begin(), stages.end(), action.stage) - stages.begin();
  if (chunk < 26) return label + static_cast<char>('a' + chunk);
  return label + choir::StrCat(":", chunk);
}

std::string Padded(std::string text, size_t width) {
  if (text.size() < width) text.append(width - text.size(), ' ');
  return text;
}

// The whole row of one rank, `width` characters for each unit of time.
std::string Row(const ScheduleSpec& spec, const std::vector<Action>& actions,
                const ScheduleRun& run, size_t rank, size_t width) {
  std::string row;
  for (int64_t t = 0; t < Whole(run.makespan); ++t) row += Padded(".", width);
  const auto& spans = run.ranks[rank].spans;
  for (size_t i = 0; i < spans.size(); ++i) {
    const auto length = static_cast<size_t>(Whole(spans[i].end) - Whole(spans[i].begin)) * width;
    if (length == 0) continue;
    std::string cell = Label(spec, actions[i]);
    if (length > width) cell.append(length - 1 - cell.size(), '-');
    row.replace(static_cast<size_t>(Whole(spans[i].begin)) * width, length, Padded(cell, length));
  }
  return row;
}

std::string WithoutTrailingBlanks(std::string line) {
  line.erase(line.find_last_not_of(' ') + 1);
  return line;
}

}  // namespace

std::string ScheduleChart(const ScheduleSpec& spec, const ActionLists& lists,
                          const ScheduleRun& run, int columns) {
  size_t width = std::to_string(Whole(run.makespan)).size() + 1;
  for (const auto& actions : lists) {
    for (const Action& action : actions) width = std::max(width, Label(spec, action).size() + 1);
  }
  const std::string last = choir::StrCat("rank ", spec.ranks - 1);
  const size_t margin = last.size() + 1;
  const auto room = static_cast<size_t>(std::max(columns, 0));
  const size_t cells = std::max<size_t>(1, (std::max(room, margin) - margin) / width);

  std::vector<std::string> rows(lists.size());
  for (size_t r = 0; r < rows.size(); ++r) rows[r] = Row(spec, lists[r], run, r, width);
  std::string text;
  const auto makespan = static_cast<size_t>(Whole(run.makespan));
  for (size_t begin = 0; begin < makespan; begin += cells) {
    std::string times = Padded("time", margin);
    for (size_t t = begin; t < std::min(makespan, begin + cells); ++t) {
      times += Padded(std::to_string(t), width);
    }
    text += choir::StrCat(begin > 0 ? "\n" : "", WithoutTrailingBlanks(times), "\n");
    for (size_t r = 0; r < rows.size(); ++r) {
      const std::string name = Padded(choir::StrCat("rank ", r), margin);
      text += WithoutTrailingBlanks(name + rows[r].substr(begin * width, cells * width)) + "\n";
    }
  }
  return text;
}

}  // namespace choir
