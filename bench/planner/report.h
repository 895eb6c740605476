// The text that planner_bench prints: every row, and summaries by family.
#pragma once

#include <string>
#include <vector>

#include "bench/planner/evaluate.h"
#include "bench/planner/toggles.h"

namespace choir::planner {

// Each is a section with its heading.
std::string FlopsReport(const ReferenceData& data);
std::string ExclusionReport(const ReferenceData& data);
std::string SummaryReport(const std::vector<RowResult>& rows);
std::string FamilyReport(const std::vector<RowResult>& rows);
std::string RankingReport(const std::vector<RowResult>& rows);
std::string ToggleReport(const std::vector<ToggleResult>& toggles);
std::string MemoryReport(const ReferenceData& data);
std::string RowReport(const std::vector<RowResult>& rows);

}  // namespace choir::planner
