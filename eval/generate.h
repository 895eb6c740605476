// Sampling text from a model with a key-value cache.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "data/tokenizer/tokenizer.h"
#include "model/transformer.h"

namespace choir {

struct GenerateOptions {
  double temperature = 1;  // 0: always the likeliest token
  double top_p = 1;        // sample from the smallest set of likeliest tokens of this mass
  int64_t seed = 0;
  int64_t max_tokens = 128;
};

// Continues `prompt` (after a beginning-of-text token) until the end-of-text token or max_tokens.
// Calls `emit` with each piece of new text as soon as it is whole UTF-8. Token i is a pure function
// of (weights, prompt, options): the same seed gives the same text. Returns the new text.
std::string Generate(Transformer& model, const Tokenizer& tokenizer, std::string_view prompt,
                     const GenerateOptions& options,
                     const std::function<void(std::string_view)>& emit = {});

// The token chosen from `logits` [V] with a uniform number in [0, 1).
int32_t SampleToken(std::span<const float> logits, const GenerateOptions& options, double uniform);

}  // namespace choir
