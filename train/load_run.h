// A trained model out of a run directory.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "data/tokenizer/tokenizer.h"
#include "model/transformer.h"

namespace choir {

struct LoadedRun {
  std::unique_ptr<Transformer> model;
  std::unique_ptr<Tokenizer> tokenizer;
  int64_t step = 0;
};

// The newest good checkpoint of the run at `path`, weights only, with the run's own tokenizer. With
// `average` the weights are their average (optim.ema); FailedPrecondition if there is none.
absl::StatusOr<LoadedRun> LoadRun(const std::string& path, bool average);

}  // namespace choir
