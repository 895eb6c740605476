// Training of byte-level BPE.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "data/tokenizer/tokenizer_config.h"

namespace choir {

inline constexpr const char* kTrainedBos = "<|begin_of_text|>";
inline constexpr const char* kTrainedEos = "<|end_of_text|>";
inline constexpr const char* kTrainedPad = "<|pad|>";

// Trains on texts and returns a tokenizer.json. The same texts in any order and any number of
// threads give the same bytes: pieces are counted, then the most frequent pair is merged again and
// again, of equally frequent ones the pair of lower ids, as Hugging Face's BpeTrainer does. Ids: 0,
// 1, 2 are the special tokens above, then the 256 bytes in the order of their characters, then
// merges. InvalidArgument if the texts have too few pairs for config.vocab_size.
absl::StatusOr<std::string> TrainBpe(const std::vector<std::string>& texts,
                                     const TokenizerConfig& config, int threads);

// The tokenizer_config.json that belongs beside it.
std::string TrainedBpeConfig();

}  // namespace choir
