// The rules that ParallelConfig must keep, each one a sentence with its numbers. In groups, because
// the search for layouts (layout_search.h) asks for them one by one.
#pragma once

#include <string>
#include <vector>

#include "parallel/mesh/degrees.h"

namespace choir {

// `fields` of the section, the one it is about first; the message continues "parallel.FIELD ".
struct DegreeProblem {
  std::vector<std::string> fields;
  std::string message;
};
using DegreeProblems = std::vector<DegreeProblem>;

void Append(DegreeProblems& all, DegreeProblems more);
// "parallel.FIELD message", one a line.
std::string Sentences(const DegreeProblems& problems);

// "1 rank", "8 ranks"
std::string Ranks(int n);

// Rules that no choice of degrees can mend.
DegreeProblems OptionProblems(const ParallelConfig& config);
DegreeProblems LayerSumProblems(const ParallelConfig& config, const ModelLimits& limits);
DegreeProblems NodeProblems(const ParallelConfig& config, int world);

// Rules between degrees. Where data is auto, those about data are left out.
DegreeProblems StageListProblems(const ParallelConfig& config);
DegreeProblems ShardProblems(const ParallelConfig& config);
// Pipeline, data, context, tensor against the model.
DegreeProblems BlockProblems(const ParallelConfig& config, const ModelLimits& limits);
DegreeProblems ExpertProblems(const ParallelConfig& config, const ModelLimits& limits);
DegreeProblems WorldProblems(const ParallelConfig& config, int world);

}  // namespace choir
