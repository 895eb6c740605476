#include "eval/generate.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/random.h"

namespace choir {
namespace {

// Feeds tokens at the end of the cached text; returns the logits of the last one.
std::vector<float> Feed(Transformer& model, std::vector<KvCache>& caches,
                        std::span<const int32_t> tokens, int64_t position) {
  const auto n = static_cast<int64_t>(tokens.size());
  ModelInput input;
  input.tokens = Tensor::From<int32_t>({n}, tokens, MemoryCategory::kWorkspace);
  std::vector<int32_t> positions(tokens.size());
  std::iota(positions.begin(), positions.end(), static_cast<int32_t>(position));
  input.block.positions =
      Tensor::From<int32_t>({n}, std::span<const int32_t>(positions), MemoryCategory::kWorkspace);
  const Tensor logits = model.Logits(input, &caches);
  const Tensor last = logits.Rows(n - 1, 1);
  return {last.data<float>(), last.data<float>() + last.NumElements()};
}

// Bytes at the start of `text` that are whole UTF-8 characters (or can never become one).
size_t WholeCharacters(std::string_view text) {
  size_t tail = 0;
  while (tail < 4 && tail < text.size()) {
    const auto c = static_cast<unsigned char>(text[text.size() - 1 - tail]);
    ++tail;
    if (c < 0x80) return text.size();
    if (c >= 0xc0) {  // a lead byte: complete if enough bytes follow
      const size_t length = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
      return tail >= length ? text.size() : text.size() - tail;
    }
  }
  return text.size();
}

}  // namespace

int32_t SampleToken(std::span<const float> logits, const GenerateOptions& options, double uniform) {
  const auto best = std::max_element(logits.begin(), logits.end());
  if (options.temperature <= 0) return static_cast<int32_t>(best - logits.begin());
  std::vector<double> mass(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) {
    mass[i] = std::exp((static_cast<double>(logits[i]) - *best) / options.temperature);
  }
  const double total = std::accumulate(mass.begin(), mass.end(), 0.0);
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  // Equal masses in the order of ids, so that the choice is reproducible.
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return mass[static_cast<size_t>(a)] > mass[static_cast<size_t>(b)];
  });
  double kept = 0;
  size_t count = 0;
  while (count < order.size() && (count == 0 || kept < options.top_p * total)) {
    kept += mass[static_cast<size_t>(order[count++])];
  }
  double target = uniform * kept;
  for (size_t i = 0; i < count; ++i) {
    target -= mass[static_cast<size_t>(order[i])];
    if (target < 0) return order[i];
  }
  return order[count - 1];
}

std::string Generate(Transformer& model, const Tokenizer& tokenizer, std::string_view prompt,
                     const GenerateOptions& options,
                     const std::function<void(std::string_view)>& emit) {
  std::vector<int32_t> tokens{tokenizer.bos_id()};
  tokenizer.Encode(prompt, tokens);
  std::vector<KvCache> caches =
      model.MakeCaches(static_cast<int64_t>(tokens.size()) + options.max_tokens);
  const CounterRandom random(static_cast<uint64_t>(options.seed), "generate");
  // A model may have more rows than the tokenizer has ids (padding): they are never chosen.
  const auto vocab = static_cast<size_t>(std::min(model.vocab_size(), tokenizer.vocab_size()));
  std::string text;
  size_t emitted = 0;
  int64_t position = 0;
  for (int64_t i = 0; i < options.max_tokens; ++i) {
    const std::vector<float> logits = Feed(model, caches, tokens, position);
    position += static_cast<int64_t>(tokens.size());
    const int32_t next = SampleToken(std::span(logits).first(vocab), options,
                                     random.Uniform(static_cast<uint64_t>(i)));
    if (next == tokenizer.eos_id()) break;
    text += tokenizer.Bytes(next);
    tokens = {next};
    const size_t whole = WholeCharacters(text);
    if (emit && whole > emitted) {
      emit(std::string_view(text).substr(emitted, whole - emitted));
      emitted = whole;
    }
  }
  if (emit && text.size() > emitted) emit(std::string_view(text).substr(emitted));
  return text;
}

}  // namespace choir
