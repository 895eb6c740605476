// Any bytes as a fastText model: an error, or a model that answers.
#include "base/check.h"
#include "data/clean/fasttext_model.h"
#include "tests/fuzz/fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace choir;
  const auto model =
      FastTextModel::Parse("fuzz", std::string_view(reinterpret_cast<const char*>(data), size));
  if (!model.ok()) return 0;
  for (const char* text : {"", "ein kurzer Text", "日本語 ไทย हिन्दी", "</s> x"}) {
    const FastTextPrediction prediction = (*model)->Predict(text);
    CHECK(prediction.label < static_cast<int>((*model)->labels().size()));
  }
  return 0;
}
