// The hand-written scanners behind MakeFamilySplitter (data/tokenizer/splitter.h).
#pragma once

#include <memory>

#include "data/tokenizer/splitter.h"

namespace choir {

std::unique_ptr<Splitter> MakeGpt2Scanner();
// cl100k as tiktoken has it: white space at the end of the text is one piece.
std::unique_ptr<Splitter> MakeCl100kScanner();
// cl100k's older expression, which Llama-3 took over.
std::unique_ptr<Splitter> MakeLlama3Scanner();
std::unique_ptr<Splitter> MakeO200kScanner();
std::unique_ptr<Splitter> MakeTekkenScanner();
std::unique_ptr<Splitter> MakeQwen2Scanner();
// Marks belong to words.
std::unique_ptr<Splitter> MakeQwen35Scanner();
std::unique_ptr<Splitter> MakeDeepSeekScanner();

}  // namespace choir
