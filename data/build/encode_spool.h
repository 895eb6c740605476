// Last pass of a build: tokenises the spooled documents that are kept and writes the shards.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "data/build/resolve.h"
#include "data/tokenizer/tokenizer.h"

namespace choir {

struct EncodeJob {
  const DataBuildConfig& config;
  const Tokenizer& tokenizer;
  const SpooledBuild& spooled;
  const Fates& fates;
  std::string folder;  // of the shards, inside config.shards.path
  std::string work;
};

// Held-out documents first, by language in the order of index.languages, by part. Fills
// index.shards, and tokens and histograms of `report`. After every shard it notes in the work
// folder how far it is; an interrupted build of the same index.inputs goes on behind the last one.
absl::Status EncodeSpool(const EncodeJob& job, CorpusIndex& index, BuildReport& report,
                         StageClock& clock);

}  // namespace choir
