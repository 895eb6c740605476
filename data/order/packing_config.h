// Section `data.packing` of a training config: how documents fill rows, and what is done to them
// before.
#pragma once

#include <cstdint>
#include <string>

#include "base/config_load.h"

namespace choir {

struct PackingConfig {
  int64_t look_ahead = 64;
  bool document_masks = true;
  double fim_rate = 0;
  double fim_spm_rate = 0.5;
  std::string fim_prefix = "<|fim_prefix|>";
  std::string fim_middle = "<|fim_middle|>";
  std::string fim_suffix = "<|fim_suffix|>";
  double split_punctuation = 0;

  void Visit(auto&& v) {
    v("look_ahead", look_ahead,
      "documents that a lane chooses from to fill a row; more give less padding and hold more back",
      InRange(1, 4096));
    v("document_masks", document_masks, "attention stays inside a document");
    v("fim_rate", fim_rate,
      "share of the documents that become fill-in-the-middle: prefix, suffix, then the middle",
      InRange(0, 1));
    v("fim_spm_rate", fim_spm_rate,
      "of these, the share that begins with the suffix (SPM); the others begin with the prefix "
      "(PSM)",
      InRange(0, 1));
    v("fim_prefix", fim_prefix, "name of the token before the prefix", NonEmpty());
    v("fim_middle", fim_middle, "name of the token before the middle", NonEmpty());
    v("fim_suffix", fim_suffix, "name of the token before the suffix", NonEmpty());
    v("split_punctuation", split_punctuation,
      "share of the tokens of punctuation and line breaks together that are split in two",
      InRange(0, 1));
  }
};

}  // namespace choir
