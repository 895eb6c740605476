// planner_bench: the time model of plan/ against published training runs.
//
//   planner_bench          predicts every run with the frozen constants and prints the report
//   planner_bench --fit    fits the constants again and writes bench/planner/constants.json first
#include <cstdio>
#include <string>

#include "base/status.h"
#include "base/strings.h"
#include "bench/planner/report.h"

namespace choir::planner {
namespace {

absl::StatusOr<std::string> Run(bool fit) {
  const std::string folder = CHOIR_SOURCE_DIR, path = folder + "/bench/planner/constants.json";
  ASSIGN_OR_RETURN(const auto bench, LoadBench(folder));
  if (fit) RETURN_IF_ERROR(SaveConstants(FitAll(*bench), path));
  ASSIGN_OR_RETURN(const LoadedConstants loaded, LoadConstants(path));
  const FrozenConstants& frozen = loaded.frozen;
  const auto rows = EvaluateAll(*bench, frozen);
  std::string text = "# Planner against published runs\n";
  text += choir::StrCat("constants: bench/planner/constants.json, XXH3-128 ", loaded.hash, "\n\n");
  const std::string sections[] = {FlopsReport(bench->data),
                                  SummaryReport(rows),
                                  FamilyReport(rows),
                                  RankingReport(rows),
                                  ToggleReport(RunToggles(*bench, frozen)),
                                  MemoryReport(bench->data),
                                  RowReport(rows),
                                  ExclusionReport(bench->data)};
  for (const std::string& section : sections) text += section + "\n";
  return text;
}

}  // namespace
}  // namespace choir::planner

int main(int argc, char** argv) {
  const bool fit = argc == 2 && std::string(argv[1]) == "--fit";
  if (argc > 1 && !fit) {
    std::fprintf(stderr, "argument:1: unknown; usage: planner_bench [--fit]\n");
    return 2;
  }
  const auto text = choir::planner::Run(fit);
  if (!text.ok()) {
    std::fprintf(stderr, "%s\n", std::string(text.status().message()).c_str());
    return 2;
  }
  std::fputs(text->c_str(), stdout);
  return 0;
}
