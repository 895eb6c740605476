// A small corpus of token shards, made by the writer, for the targets that read one.
#pragma once

#include <string>

#include "base/check.h"
#include "base/hash.h"
#include "data/shard/corpus_index.h"
#include "data/shard/hdf5_shard.h"
#include "tests/fuzz/fuzz_input.h"

namespace choir {

// Writes a shard of 40 documents in two languages and the index into FuzzFolder().
inline CorpusIndex MakeFuzzCorpus() {
  CorpusIndex index;
  index.tokenizer = {"tokenizer.model", "none", 1000, 1, 2, 3};
  index.languages = {"de", "en"};
  index.sources = {"fuzz"};
  for (auto& report : index.report) report.resize(2);
  ShardWriter writer(Split::kTrain, index.tokenizer);
  for (uint64_t d = 0; d < 40; ++d) {
    std::vector<int32_t> tokens(2 + d % 29, static_cast<int32_t>(10 + d));
    tokens.front() = 1;
    tokens.back() = 2;
    writer.Add({d < 15 ? 0 : 1, 0, 50, HashOf64(std::to_string(d)), d}, tokens);
  }
  absl::StatusOr<ShardInfo> info = writer.Finish(FuzzFolder(), "shard.h5", index);
  CHECK(info.ok()) << info.status().ToString();
  index.shards = {*info};
  const absl::Status written = WriteCorpusIndex(FuzzFolder(), index);
  CHECK(written.ok()) << written.ToString();
  return index;
}

}  // namespace choir
