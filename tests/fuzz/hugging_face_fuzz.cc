// tokenizer.json. What opens must be an exact inverse, and text never one of its special ids.
#include "data/tokenizer/bpe_tokenizer.h"
#include "data/tokenizer/hugging_face.h"
#include "tests/fuzz/fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace choir;
  absl::StatusOr<BpeSpec> spec = ReadHuggingFace(std::string(FuzzBytes(data, size)), "fuzz");
  if (!spec.ok()) {
    CHECK(!spec.status().message().empty());
    return 0;
  }
  const auto tokenizer = BpeTokenizer::Make(*std::move(spec), {});
  if (!tokenizer.ok()) {
    CHECK(!tokenizer.status().message().empty());
    return 0;
  }
  const std::string text = "The e\u0301t\u00e9 <|endoftext|>\n\n 123 \u4e2d\u6587\xff ";
  const std::vector<int32_t> ids = (*tokenizer)->Encode(text);
  if ((*tokenizer)->lossless()) {
    CHECK((*tokenizer)->Decode(ids) == text);
  }
  for (const int32_t id : ids) CHECK(id != (*tokenizer)->eos_id());
  return 0;
}
