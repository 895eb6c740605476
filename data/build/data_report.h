// The report of a folder of token shards: what came in, what was kept, what was dropped and why.
#pragma once

#include <ostream>

#include "absl/status/status.h"
#include "data/build/build_report.h"
#include "data/shard/corpus_index.h"

namespace choir {

// A table by language over both splits, then the summary.
void PrintDataReport(const CorpusIndex& index, std::ostream& out);
// One line: how many languages, sources and shards, which tokenizer and corpus.
void PrintSummary(const CorpusIndex& index, std::ostream& out);

// The same table of a build, with the languages of which nothing was kept, and the first malformed
// records.
void PrintBuildReport(const BuildReport& report, std::ostream& out);

// Writes report.json and report.html, which needs nothing but itself, into `folder`.
absl::Status WriteBuildReport(const std::string& folder, const BuildReport& report,
                              const CorpusIndex& index);

}  // namespace choir
