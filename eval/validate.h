// Held-out loss by language.
#pragma once

#include <string>
#include <vector>

#include "data/loader/validation.h"
#include "model/transformer.h"

namespace choir {

struct LanguageLoss {
  std::string language;
  double loss = 0;           // nats per label
  double bits_per_byte = 0;  // of text
  double unigram_loss = 0;   // nats per label of the language's own unigram model
  int64_t labels = 0;
};

// In the order of the set. Deterministic: the same weights give the same bits.
std::vector<LanguageLoss> Validate(Transformer& model, const ValidationSet& set);

}  // namespace choir
