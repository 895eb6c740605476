// The report of a build as one HTML page without any other file: tables, bars in CSS, histograms
// in SVG.
#pragma once

#include <string>

#include "data/build/build_report.h"

namespace choir {

std::string ReportHtml(const BuildReport& report, const CorpusIndex& index);

}  // namespace choir
