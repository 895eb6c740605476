// Second pass of a build: which of the spooled documents stay, where that depends on the others.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "data/build/spool_units.h"

namespace choir {

enum class Fate : uint8_t {
  kKept,
  kGroupHeldOut,
  kOverLanguage,
  kIdSeen,
  kExactDuplicate,
  kNearDuplicate
};
// The name of the reason in reports.
const char* FateName(Fate fate);

// By part, then document: one byte a document.
using Fates = std::vector<std::vector<Fate>>;

// In this order: training documents of a group that is held out; what is over
// shards.max_bytes_per_language, chosen by hash of the id; documents whose id came before, held-out
// first, then in the order of the parts. Holds 16 bytes for each document and 8 for each held-out
// one while it works, and returns one byte a document.
absl::StatusOr<Fates> ResolveDocuments(const DataBuildConfig& config, const SpooledBuild& spooled,
                                       StageClock& clock);

// Drops duplicates among the documents that are kept so far (data/clean/dedup.h); of a group with
// held-out documents one of those is kept. Its memory is that of DedupIndex and some blocks.
absl::Status DropDuplicates(const DataBuildConfig& config, const SpooledBuild& spooled,
                            const std::string& work, Fates& fates, StageClock& clock);

// Moves what `fates` drops from kept to dropped.
absl::Status CountFates(const Fates& fates, SpooledBuild& spooled, StageClock& clock);

}  // namespace choir
