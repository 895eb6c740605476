// corpus.json. Its seal is made right first, so that damage reaches what lies behind it.
#include <nlohmann/json.hpp>

#include "base/hash.h"
#include "data/shard/corpus_index.h"
#include "tests/fuzz/fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace choir;
  std::string text(FuzzBytes(data, size));
  nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
  if (json.is_object()) {
    json.erase("seal");
    json["seal"] =
        ToHex(HashOf128(json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)));
    text = json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  }
  WriteFuzzFile("corpus.json", text);
  const absl::StatusOr<CorpusIndex> index = ReadCorpusIndex(FuzzFolder());
  CHECK(index.ok() || !index.status().message().empty());
  return 0;
}
