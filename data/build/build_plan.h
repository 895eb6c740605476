// What a build reads, cut into units that threads take and that an interrupted build need not read
// again.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "data/build/shard_inputs.h"
#include "data/build/stage_clock.h"
#include "data/text/documents.h"

namespace choir {

// A file, or a block of lines of a large plain one.
struct UnitPiece {
  int32_t file = 0;
  TextBlock block;
  bool whole = true;
};

// Consecutive pieces of one split: a block of a large file, a packed file, or many small files.
struct BuildUnit {
  std::string key;  // hash of content and of how it is read: 32 hexadecimal digits
  Split split = Split::kTrain;
  std::vector<UnitPiece> pieces;
};

struct BuildPlan {
  std::vector<TextFile> files;
  ShardInputs shards;  // those among the files
  std::vector<BuildUnit> units;
  std::string content;  // hash of the units' keys
  int64_t bytes = 0;    // of all files
};

inline constexpr int64_t kUnitBytes = int64_t{16} << 20;

// Finds what token shards need; then reads every file once, for its hash and to find line ends,
// `threads` at a time. Units are ordered by split (held-out first), then by the content of their
// files: names and order of the files do not matter. `settings` is what else decides about the
// documents, part of every key. `unit_bytes` only for tests.
absl::StatusOr<BuildPlan> PlanBuild(std::vector<TextFile> files, const std::string& settings,
                                    int64_t threads, StageClock& clock,
                                    int64_t unit_bytes = kUnitBytes);

}  // namespace choir
