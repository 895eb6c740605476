#include "data/build/resolve.h"

#include <algorithm>
#include <map>
#include <optional>

#include "base/status.h"
#include "data/clean/dedup.h"
#include "data/clean/reasons.h"
#include "data/text/threads.h"

namespace choir {
namespace {

constexpr const char* kFateNames[] = {
    "kept",           "group is held out",    "over max_bytes_per_language",
    "id seen before", choir::kExactDuplicate, choir::kNearDuplicate};

// Sorted, without repetitions.
absl::StatusOr<std::vector<uint64_t>> HeldoutGroups(const SpooledBuild& spooled) {
  std::vector<uint64_t> groups;
  for (const SpoolPart& part : spooled.parts) {
    if (part.split != Split::kHeldout) continue;
    ASSIGN_OR_RETURN(const std::vector<SpoolDocument> table, part.file->ReadTable());
    for (const SpoolDocument& document : table) groups.push_back(document.group);
  }
  std::sort(groups.begin(), groups.end());
  groups.erase(std::unique(groups.begin(), groups.end()), groups.end());
  return groups;
}

// The share of each language that shards.max_bytes_per_language leaves; none: everything.
std::map<std::string, DocumentSample> SamplesOf(const DataBuildConfig& config,
                                                const BuildReport& report) {
  std::map<std::string, DocumentSample> samples;
  const int64_t limit = config.shards.max_bytes_per_language;
  if (limit == 0) return samples;
  std::map<std::string, int64_t> bytes;
  for (const auto& [key, counts] : report.sources) {
    if (std::get<0>(key) == Split::kTrain) bytes[std::get<1>(key)] += counts.bytes;
  }
  for (const auto& [language, total] : bytes) {
    samples.emplace(language, DocumentSample(limit, total, config.tokenizer.seed));
  }
  return samples;
}

struct IdPlace {
  uint64_t id;
  uint64_t place;  // of the document among all
  auto operator<=>(const IdPlace&) const = default;
};

void DropRepeatedIds(std::vector<IdPlace>& ids, Fates& fates) {
  std::sort(ids.begin(), ids.end());
  std::vector<uint64_t> repeated;
  for (size_t i = 1; i < ids.size(); ++i) {
    if (ids[i].id == ids[i - 1].id) repeated.push_back(ids[i].place);
  }
  std::sort(repeated.begin(), repeated.end());
  uint64_t before = 0;
  size_t at = 0;
  for (std::vector<Fate>& part : fates) {
    for (; at < repeated.size() && repeated[at] < before + part.size(); ++at) {
      part[repeated[at] - before] = Fate::kIdSeen;
    }
    before += part.size();
  }
}

// Shows the index the documents of a part that are kept.
absl::Status SignPart(const SpoolFile& file, const std::vector<Fate>& fates, DedupIndex& index,
                      StageClock& clock) {
  for (const SpoolBlock& block : file.blocks()) {
    StageTimer timer(clock, Stage::kDedup);
    ASSIGN_OR_RETURN(const std::vector<SpoolDocument> table, file.ReadTable(block));
    ASSIGN_OR_RETURN(const std::string texts, file.ReadTexts(block));
    std::string_view rest = texts;
    for (size_t d = 0; d < table.size(); ++d) {
      const std::string_view text = rest.substr(0, table[d].bytes);
      rest.remove_prefix(table[d].bytes);
      if (fates[static_cast<size_t>(block.first) + d] != Fate::kKept) continue;
      index.Add(table[d].key, index.Sign(text, file.languages()[block.language]));
    }
    timer.Stop(block.raw);
  }
  return absl::OkStatus();
}

}  // namespace

const char* FateName(Fate fate) { return kFateNames[static_cast<int>(fate)]; }

absl::StatusOr<Fates> ResolveDocuments(const DataBuildConfig& config, const SpooledBuild& spooled,
                                       StageClock& clock) {
  StageTimer timer(clock, Stage::kResolve);
  ASSIGN_OR_RETURN(const std::vector<uint64_t> groups, HeldoutGroups(spooled));
  const std::map<std::string, DocumentSample> samples = SamplesOf(config, spooled.report);
  Fates fates;
  std::vector<IdPlace> ids;
  uint64_t place = 0;
  int64_t documents = 0;
  for (const SpoolPart& part : spooled.parts) documents += part.file->num_documents();
  ids.reserve(static_cast<size_t>(documents));
  for (const SpoolPart& part : spooled.parts) {
    ASSIGN_OR_RETURN(const std::vector<SpoolDocument> table, part.file->ReadTable());
    std::vector<Fate>& fate = fates.emplace_back(table.size(), Fate::kKept);
    for (size_t d = 0; d < table.size(); ++d, ++place) {
      const SpoolDocument& document = table[d];
      if (part.split == Split::kTrain) {
        const auto sample = samples.find(part.file->languages()[document.language]);
        if (std::binary_search(groups.begin(), groups.end(), document.group)) {
          fate[d] = Fate::kGroupHeldOut;
        } else if (sample != samples.end() && !sample->second.Contains(document.sample)) {
          fate[d] = Fate::kOverLanguage;
        }
      }
      if (fate[d] == Fate::kKept) ids.push_back({document.id, place});
    }
  }
  DropRepeatedIds(ids, fates);
  return fates;
}

absl::Status DropDuplicates(const DataBuildConfig& config, const SpooledBuild& spooled,
                            const std::string& work, Fates& fates, StageClock& clock) {
  if (config.clean.dedup.mode == DedupMode::kOff) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::unique_ptr<DedupIndex> index,
                   DedupIndex::Make(config.clean.dedup, work));
  const auto parts = static_cast<int64_t>(spooled.parts.size());
  const int64_t threads = NumThreads(config.shards.threads);
  RETURN_IF_ERROR(RunJobs(parts, threads, [&](int64_t p) {
    return SignPart(*spooled.parts[p].file, fates[p], *index, clock);
  }));
  StageTimer timer(clock, Stage::kDedup);
  ASSIGN_OR_RETURN(const DuplicateSet duplicates, index->Finish());
  for (int64_t p = 0; p < parts; ++p) {
    ASSIGN_OR_RETURN(const std::vector<SpoolDocument> table, spooled.parts[p].file->ReadTable());
    for (size_t d = 0; d < table.size(); ++d) {
      if (fates[p][d] != Fate::kKept) continue;
      const char* const reason = duplicates.ReasonFor(table[d].key);
      if (reason == nullptr) continue;
      fates[p][d] = reason == choir::kExactDuplicate ? Fate::kExactDuplicate : Fate::kNearDuplicate;
    }
  }
  return absl::OkStatus();
}

absl::Status CountFates(const Fates& fates, SpooledBuild& spooled, StageClock& clock) {
  StageTimer timer(clock, Stage::kResolve);
  for (size_t p = 0; p < spooled.parts.size(); ++p) {
    const SpoolPart& part = spooled.parts[p];
    ASSIGN_OR_RETURN(const std::vector<SpoolDocument> table, part.file->ReadTable());
    for (size_t d = 0; d < table.size(); ++d) {
      if (fates[p][d] == Fate::kKept) continue;
      const SpoolDocument& document = table[d];
      SourceReport& counts =
          spooled.report.At(part.split, part.file->languages()[document.language],
                            part.file->sources()[document.source]);
      counts.documents -= 1;
      counts.bytes -= document.bytes;
      counts.Drop(FateName(fates[p][d]), 1, document.bytes);
    }
  }
  return absl::OkStatus();
}

}  // namespace choir
