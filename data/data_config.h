// Section `data` of a training config: which tokens are read, in which mixture and how packed.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "base/config_load.h"
#include "data/order/packing_config.h"

namespace choir {

inline constexpr double kDefaultMixtureAlpha = 0.5;

struct MixtureConfig {
  std::optional<double> alpha;
  std::map<std::string, double> weights;

  void Visit(auto&& v) {
    v("alpha", alpha,
      "share of a language ~ (its training tokens)^alpha: 1 as they are, 0 all equal, auto 0.5",
      InRange(0, 1));
    v("weights", weights,
      "share by language, in any unit, instead of alpha; languages not listed are not read",
      Above(0));
  }
  void Check(ConfigErrors& errors) const;
};

struct ValidationConfig {
  int64_t tokens_per_language = 8192;

  void Visit(auto&& v) {
    v("tokens_per_language", tokens_per_language,
      "held-out labels by language that a validation reads, in whole documents", AtLeast(1));
  }
};

struct DataConfig {
  std::string path;
  int64_t sequence_length = 512;
  int64_t batch_sequences = 8;
  int64_t lanes = 64;
  int64_t seed = 1;
  int64_t prefetch_rows = 64;
  MixtureConfig mixture;
  PackingConfig packing;
  ValidationConfig validation;

  void Visit(auto&& v) {
    v("path", path, "folder made by `choir data build`", Required(), NonEmpty(), MustExist());
    v("sequence_length", sequence_length, "positions of a row", InRange(2, 1 << 24));
    v("batch_sequences", batch_sequences, "rows of a step over all ranks", InRange(1, 1 << 20));
    v("lanes", lanes,
      "independent streams that the corpus is dealt to: at least the ranks that will ever read it",
      InRange(1, 1 << 16));
    v("seed", seed, "of the order of documents", AtLeast(0));
    v("prefetch_rows", prefetch_rows, "rows made ahead by a background thread; 0: no thread",
      InRange(0, 1 << 16));
    v("mixture", mixture, "shares of the languages");
    v("packing", packing, "how documents fill rows");
    v("validation", validation, "the held-out documents");
  }
  void Check(ConfigErrors& errors) const;
};

}  // namespace choir
