// Section `data` of a training config: which tokens are read, in which mixture and how packed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/config_load.h"
#include "data/order/mixture_config.h"
#include "data/order/packing_config.h"

namespace choir {

struct SkipConfig {
  std::vector<std::string> documents;
  std::vector<std::string> batches;

  void Visit(auto&& v) {
    v("documents", documents,
      "documents that are passed over: their ids, or # and the 16 digits of `choir data peek`");
    v("batches", batches,
      "batches that are drawn and not trained on, \"1200-1209\" or \"1200\", counted from 0 and "
      "with those left out");
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

struct RawTextConfig {
  std::string build;
  std::string cache;
  int64_t memory_mib = 256;

  void Visit(auto&& v) {
    v("build", build,
      "config of `choir data build`: its corpus, clean and tokenizer are read and applied on the "
      "way, no shards are made",
      MustExist());
    v("cache", cache, "folder for the index of the files, and for packed files unpacked");
    v("memory_mib", memory_mib, "MiB of tokens kept for documents that are drawn and not yet used",
      InRange(1, 1 << 20));
  }
};

struct DataConfig {
  std::string path;
  RawTextConfig text;
  int64_t sequence_length = 512;
  int64_t batch_sequences = 8;
  int64_t lanes = 64;
  int64_t seed = 1;
  int64_t prefetch_rows = 64;
  int64_t threads = 1;
  MixtureConfig mixture;
  PackingConfig packing;
  SkipConfig skip;
  ValidationConfig validation;

  void Visit(auto&& v) {
    v("path", path, "folder made by `choir data build`", MustExist());
    v("text", text, "raw text instead of path");
    v("sequence_length", sequence_length, "positions of a row", InRange(2, 1 << 24));
    v("batch_sequences", batch_sequences, "rows of a step over all ranks", InRange(1, 1 << 20));
    v("lanes", lanes,
      "independent streams that the corpus is dealt to: at least the ranks that will ever read it",
      InRange(1, 1 << 16));
    v("seed", seed, "of the order of documents", AtLeast(0));
    v("prefetch_rows", prefetch_rows, "rows made ahead by background threads; 0: no threads",
      InRange(0, 1 << 16));
    v("threads", threads, "threads that make rows", InRange(1, 1024));
    v("mixture", mixture,
      "shares of the languages; may change when a run is resumed, from there on");
    v("packing", packing, "how documents fill rows");
    v("skip", skip, "what is left out; may change when a run is resumed, from there on");
    v("validation", validation, "the held-out documents");
  }
  void Check(ConfigErrors& errors) const;
};

}  // namespace choir
