// `choir plan --schedule`: the pipeline schedule of a config, run on paper.
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "train/config.h"

namespace choir {

// As typed; what is absent comes from the config.
struct ScheduleArguments {
  std::optional<int> world;
  std::optional<std::string> kind;
  std::optional<int> stages, microbatches, chunks;
  int columns = 100;
  bool json = false;
};

// The chart, or JSON. InvalidArgument where no pipeline or no such schedule is asked for.
absl::StatusOr<std::string> ShowSchedule(const ScheduleArguments& arguments,
                                         const RunConfig& config);

}  // namespace choir
