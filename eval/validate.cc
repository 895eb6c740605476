#include "eval/validate.h"

#include "eval/model_input.h"

namespace choir {

std::vector<LanguageLoss> Validate(Transformer& model, const ValidationSet& set) {
  std::vector<LanguageLoss> losses;
  for (size_t i = 0; i < set.languages().size(); ++i) {
    const ValidationLanguage& language = set.languages()[i];
    double nll = 0;
    for (int64_t b = 0; b < set.NumBatches(i); ++b) {
      const Batch batch = set.GetBatch(i, b);
      Tape tape(/*recording=*/false);
      const ModelLoss loss = model.Loss(tape, MicrobatchInput(batch, 0, batch.rows), 1.0);
      for (float x : loss.token_nll.tensor().span<float>()) nll += static_cast<double>(x);
    }
    const double mean = nll / static_cast<double>(language.labels);
    losses.push_back(
        {language.name, mean, language.BitsPerByte(mean), language.unigram_loss, language.labels});
  }
  return losses;
}

}  // namespace choir
