// The report of a folder of token shards: what came in, what was kept, what was dropped and why.
#pragma once

#include <ostream>

#include "data/shard/corpus_index.h"

namespace choir {

// One table by language over both splits, and one line of totals by split.
void PrintDataReport(const CorpusIndex& index, std::ostream& out);

}  // namespace choir
