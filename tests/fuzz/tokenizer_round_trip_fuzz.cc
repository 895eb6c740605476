// Encoding and decoding any bytes, split by every family; the linear encoder against the merges.
#include <memory>

#include "data/tokenizer/bpe_encoder.h"
#include "data/tokenizer/bpe_model.h"
#include "data/tokenizer/splitter.h"
#include "tests/fuzz/fuzz_input.h"

namespace choir {
namespace {

// Bytes and pairs of common bytes, three times over.
const BpeModel& Model() {
  static const BpeModel model = [] {
    BpeVocabulary vocabulary;
    for (int b = 0; b < 256; ++b) vocabulary.bytes.emplace_back(1, static_cast<char>(b));
    std::vector<int32_t> common = {' ', 'a', 'e', 'n', 't', '\n', '1', 0xC3, 0xE4, 0xB8, 0x80};
    for (int round = 0; round < 3; ++round) {
      const std::vector<int32_t> parts = common;
      for (size_t i = 0; i < parts.size() && i < 24; ++i) {
        const int32_t left = parts[i], right = parts[(i * 7 + 3) % parts.size()];
        const auto id = static_cast<int32_t>(vocabulary.bytes.size());
        vocabulary.bytes.push_back(vocabulary.bytes[left] + vocabulary.bytes[right]);
        vocabulary.merges.push_back({left, right, id});
        common.push_back(id);
      }
    }
    return BpeModel::Make(vocabulary, "fuzz").value();
  }();
  return model;
}

}  // namespace
}  // namespace choir

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace choir;
  static const BpeEncoder encoder(Model());
  const std::string_view text = FuzzBytes(data, size);
  for (const PatternFamily& family : PatternFamilies()) {
    std::vector<uint32_t> ends;
    MakeFamilySplitter(family.name).value()->Split(text, ends);
    std::vector<int32_t> ids, merged, codes;
    encoder.Encode(text, ends, ids);
    uint32_t begin = 0;
    for (const uint32_t end : ends) {
      CHECK(end > begin && end <= size);
      Model().Merge(text.substr(begin, end - begin), codes);
      for (const int32_t code : codes) merged.push_back(Model().ids[code]);
      begin = end;
    }
    CHECK(begin == size);
    CHECK(ids == merged) << family.name;
  }
  return 0;
}
