// What data/tokenizer/nfc.cc knows of characters (scripts/unicode_tables).
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>

namespace choir {

// character << 42 | first << 21 | second of its canonical decomposition; bit 63: the two do not
// compose to it again.
extern const uint64_t kNfcPairs[];
extern const size_t kNumNfcPairs;
// character << 21 | the one that it becomes.
extern const uint64_t kNfcSingles[];
extern const size_t kNumNfcSingles;
// first character << 8 | canonical combining class; holds up to the next element.
extern const uint32_t kCombiningClasses[];
extern const size_t kNumCombiningClasses;

}  // namespace choir
