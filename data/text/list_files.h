// The files that a `corpus` section stands for.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "data/text/documents.h"

namespace choir {

// The files of a corpus, each once: those of `path` ordered by language, train before heldout, then
// those of `inputs` ordered by path. Errors: a folder, a wanted language or a listed file that is
// not there, a pattern that nothing matches, a file named twice, a format that its name does not
// tell; with `needs_language` also plain text of no language.
absl::StatusOr<std::vector<TextFile>> ListTextFiles(const CorpusConfig& config,
                                                    bool needs_language = true);

}  // namespace choir
