// Schedules that tests walk through.
#pragma once

#include <string>
#include <vector>

#include "base/strings.h"
#include "parallel/pipeline/schedule.h"

namespace choir::pipeline_test {

// Every kind with 1 to `max_ranks` ranks, 1 to 4 microbatches for each rank (from where the kind
// can) and, interleaved, 1 to 4 chunks.
inline std::vector<ScheduleSpec> AllSpecs(int max_ranks) {
  std::vector<ScheduleSpec> specs;
  for (int ranks = 1; ranks <= max_ranks; ++ranks) {
    for (int m = 1; m <= 4 * ranks; ++m) {
      specs.push_back({PipelineKind::kGpipe, ranks, 1, m});
      specs.push_back({PipelineKind::k1f1b, ranks, 1, m});
      specs.push_back({PipelineKind::kZeroBubble, ranks, 1, m});
      for (int v = 1; v <= 4; ++v) specs.push_back({PipelineKind::kInterleaved, ranks, v, m});
      if (m >= 2 * ranks) specs.push_back({PipelineKind::kDualPipeV, ranks, 2, m});
    }
  }
  return specs;
}

inline std::string Describe(const ScheduleSpec& spec) {
  return StrCat(Name(spec.kind), " P=", spec.ranks, " V=", spec.chunks, " M=", spec.microbatches);
}

}  // namespace choir::pipeline_test
