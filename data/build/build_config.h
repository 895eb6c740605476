// What `choir tokenizer train` and `choir data build` read: one config file for both.
#pragma once

#include <cstdint>
#include <string>

#include "base/config_load.h"
#include "data/clean/clean_config.h"
#include "data/text/corpus_config.h"
#include "data/tokenizer/tokenizer_config.h"

namespace choir {

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
