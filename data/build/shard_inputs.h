// Token shards (data/shard) as text: to build again with another tokenizer, cleaning or mixture
// when the text that they were made from is gone.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "data/shard/corpus_index.h"
#include "data/text/documents.h"
#include "data/tokenizer/tokenizer.h"

namespace choir {

struct ShardInput {
  std::string directory;  // of corpus.json
  std::shared_ptr<const CorpusIndex> index;
  size_t number = 0;  // of index->shards
  std::shared_ptr<const Tokenizer> tokenizer;
};

class ShardInputs {
 public:
  // Finds what the token shards among `files` need: corpus.json, in the shard's folder or the one
  // above, and the tokenizer, TextFile::tokenizer or the one kept with the shards. A few small
  // reads. NotFound: one of these; InvalidArgument: a shard that corpus.json does not list, another
  // tokenizer, a held-out shard as training text; DataLoss: a damaged one.
  static absl::StatusOr<ShardInputs> Find(const std::vector<TextFile>& files);

  // The reader of any of `files`. Documents of a shard are those that went into it, cleaned as they
  // were then, as its tokenizer decodes them: byte for byte if it is lossless(), else normalised.
  // Beginning and end are left out. Their names are "#" and the hashes that the shard keeps, so
  // that ids and groups stay what they were. Malformed: a special token inside, as no build of
  // ours writes, and what does not decode to as many bytes as went in. DataLoss names a damaged
  // chunk; nothing is read that was not verified.
  absl::StatusOr<std::unique_ptr<DocumentReader>> Open(const TextFile& file) const;

 private:
  std::map<std::string, ShardInput> shards_;  // by path
};

}  // namespace choir
