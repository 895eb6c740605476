// The sub-commands about data, one function each. They print to `out` and report errors as Status.
#pragma once

#include <cstdint>
#include <istream>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "data/build/build_config.h"
#include "data/data_config.h"

namespace choir {

// `choir tokenizer train CONFIG`: trains on a sample of the training text, balanced by language,
// and writes tokenizer.model and beside it <model>.json, which says what it was made from. Does
// nothing but say so if the model was made from the same text and settings.
absl::Status BuildTokenizer(const DataBuildConfig& config, std::ostream& out);

// `choir data build CONFIG`: encodes the corpus into token shards, publishes them and prints the
// report by language. Does nothing but say so if the shards are whole and of the same inputs.
absl::Status BuildShards(const DataBuildConfig& config, std::ostream& out);

// `choir data stats PATH`: verifies the checksums and prints the report of a folder of shards.
absl::Status PrintDataStats(const std::string& path, std::ostream& out);

// `choir data peek RUN_CONFIG --step N`: the batch of step N (from 0), decoded: one paragraph by
// segment with its row, language, place in the document and text. Makes the batches before it,
// each of batch_sequences rows.
absl::Status PeekBatch(const DataConfig& config, int64_t step, std::ostream& out);

// `choir tokenizer encode MODEL`: ids of a text on one line, separated by spaces.
absl::Status EncodeText(const std::string& model, std::string_view text, std::ostream& out);
// `choir tokenizer encode MODEL --jsonl`: each line of `in` is a JSON string; its ids on a line of
// `out`. With `special`, text that spells a special token becomes it.
absl::Status EncodeLines(const std::string& model, bool special, std::istream& in,
                         std::ostream& out);
// `choir tokenizer stats MODEL TEXT.jsonl...`: tokens by character, word and byte (data/tokenizer/
// fertility.h) of the texts, by language. A record needs `text` and may have `language`.
absl::Status PrintFertility(const std::string& model, const std::vector<std::string>& files,
                            std::ostream& out);
// `choir tokenizer decode MODEL`: the text of ids separated by white space, nothing added.
absl::Status DecodeIds(const std::string& model, std::string_view ids, std::ostream& out);

}  // namespace choir
