// First pass of a build: reads and cleans the units and keeps their documents in spool files.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "data/build/build_config.h"
#include "data/build/build_plan.h"
#include "data/build/spool.h"
#include "data/build/stage_clock.h"

namespace choir {

inline constexpr const char* kMalformed = "malformed";
inline constexpr const char* kNoLanguageReason = "no language";
inline constexpr const char* kNotAskedFor = "language not asked for";

// Spool files of all units, in the order of the units.
struct SpoolPart {
  Split split = Split::kTrain;
  std::unique_ptr<SpoolFile> file;
};

struct SpooledBuild {
  std::vector<SpoolPart> parts;
  BuildReport report;  // what is kept so far and why the rest was dropped
  int64_t units_reused = 0;
};

// Spools the units of `plan` into the folder `work`, but for those that are there already, whole,
// from a build that was interrupted. Every unit becomes files of about 64 MB of text. Errors: those
// of the readers; more malformed records than corpus.max_malformed.
absl::StatusOr<SpooledBuild> SpoolUnits(const DataBuildConfig& config, const BuildPlan& plan,
                                        const std::string& work, StageClock& clock);

}  // namespace choir
