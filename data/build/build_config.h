// What `choir tokenizer train` and `choir data build` read: one config file for both.
#pragma once

#include <cstdint>
#include <string>

#include "base/config_load.h"
#include "data/clean/clean_config.h"
#include "data/text/corpus_config.h"

namespace choir {

struct TokenizerConfig {
  std::string model;
  int64_t vocab_size = 8192;
  int64_t sample_bytes_per_language = 250'000;
  double character_coverage = 0.998;
  int64_t seed = 1;

  void Visit(auto&& v) {
    v("model", model, "the tokenizer's file: written by `choir tokenizer train`", Required(),
      NonEmpty());
    v("vocab_size", vocab_size, "number of ids, 260 of which are bytes and special",
      InRange(300, 1 << 20));
    v("sample_bytes_per_language", sample_bytes_per_language,
      "training text by language, about; the same for all so that none dominates", AtLeast(1));
    v("character_coverage", character_coverage,
      "share of the sample's characters that get an id; the others are spelt in bytes",
      InRange(0.98, 1));
    v("seed", seed, "of the sample", AtLeast(0));
  }
};

struct ShardConfig {
  std::string path;
  int64_t max_tokens_per_shard = 100'000'000;
  int64_t max_bytes_per_language = 0;
  int64_t threads = 0;

  void Visit(auto&& v) {
    v("path", path, "folder that the shards are published in", Required(), NonEmpty());
    v("max_tokens_per_shard", max_tokens_per_shard,
      "a file is closed before the document that would exceed it", AtLeast(1));
    v("max_bytes_per_language", max_bytes_per_language,
      "training text by language, about, chosen by hash of the document's id; 0: all", AtLeast(0));
    v("threads", threads, "threads that encode; 0: one per processor", InRange(0, 1024));
  }
};

struct DataBuildConfig {
  CorpusConfig corpus;
  CleanConfig clean;
  TokenizerConfig tokenizer;
  ShardConfig shards;

  void Visit(auto&& v) {
    v("corpus", corpus, "the text");
    v("clean", clean, "what is done to the text, and which documents are dropped");
    v("tokenizer", tokenizer, "the tokenizer and its training");
    v("shards", shards, "the token shards");
  }
};

}  // namespace choir
