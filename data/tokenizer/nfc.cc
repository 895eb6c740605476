#include "data/tokenizer/nfc.h"

#include <algorithm>
#include <cstdint>
#include <unordered_map>
#include <utility>
#include <vector>

#include "data/text/utf8.h"
#include "data/tokenizer/nfc_data.h"

namespace choir {
namespace {

constexpr uint32_t kMask = (1 << 21) - 1;
// Bytes that are no UTF-8 are numbers from here on.
constexpr uint32_t kRawByte = 0x110000;

// Hangul syllables are composed by arithmetic (Unicode Standard, section 3.12).
constexpr uint32_t kSyllables = 0xAC00, kLead = 0x1100, kVowel = 0x1161, kTail = 0x11A7;
constexpr uint32_t kNumLead = 19, kNumVowel = 21, kNumTail = 28;
constexpr uint32_t kNumSyllables = kNumLead * kNumVowel * kNumTail;

struct Tables {
  Tables() {
    for (size_t i = 0; i < kNumNfcPairs; ++i) {
      const auto whole = static_cast<uint32_t>(kNfcPairs[i] >> 42 & kMask);
      const auto first = static_cast<uint32_t>(kNfcPairs[i] >> 21 & kMask);
      const auto second = static_cast<uint32_t>(kNfcPairs[i] & kMask);
      parts[whole] = {first, second};
      if (kNfcPairs[i] >> 63 == 0) {
        composed[uint64_t{first} << 21 | second] = whole;
        active[second] = true;
      } else {
        active[whole] = true;
      }
    }
    for (size_t i = 0; i < kNumNfcSingles; ++i) {
      const auto from = static_cast<uint32_t>(kNfcSingles[i] >> 21);
      parts[from] = {static_cast<uint32_t>(kNfcSingles[i] & kMask), 0};
      active[from] = true;
    }
    for (size_t i = 0; i < kNumCombiningClasses; ++i) {
      const uint32_t begin = kCombiningClasses[i] >> 8;
      const uint32_t end = i + 1 < kNumCombiningClasses ? kCombiningClasses[i + 1] >> 8 : begin;
      for (uint32_t code = begin; code < end; ++code) {
        classes[code] = static_cast<uint8_t>(kCombiningClasses[i]);
        if (classes[code] != 0) active[code] = true;
      }
    }
    for (uint32_t i = 0; i < kNumVowel; ++i) active[kVowel + i] = true;
    for (uint32_t i = 1; i < kNumTail; ++i) active[kTail + i] = true;
  }

  uint8_t ClassOf(uint32_t code) const { return code < kRawByte ? classes[code] : 0; }
  bool IsActive(uint32_t code) const { return code < kRawByte && active[code]; }

  std::unordered_map<uint32_t, std::pair<uint32_t, uint32_t>> parts;  // second 0: a single
  std::unordered_map<uint64_t, uint32_t> composed;
  std::vector<uint8_t> classes = std::vector<uint8_t>(kRawByte);
  // Characters that change, or that can join or pass others: all else begins a text of its own.
  std::vector<bool> active = std::vector<bool>(kRawByte);
};

const Tables& Data() {
  static const Tables tables;
  return tables;
}

// The character at `i`, which moves past it.
uint32_t Read(std::string_view text, size_t& i) {
  const size_t length = Utf8Length(text.substr(i));
  const auto byte = [&](size_t k) { return static_cast<uint32_t>(text[i + k]) & 0x3F; };
  const uint32_t first = static_cast<unsigned char>(text[i]);
  uint32_t code = first;
  if (length == 0) code = kRawByte + first;
  if (length == 2) code = (first & 0x1F) << 6 | byte(1);
  if (length == 3) code = (first & 0x0F) << 12 | byte(1) << 6 | byte(2);
  if (length == 4) code = (first & 0x07) << 18 | byte(1) << 12 | byte(2) << 6 | byte(3);
  i += std::max<size_t>(length, 1);
  return code;
}

void Write(uint32_t code, std::string& out) {
  const auto put = [&](uint32_t byte) { out += static_cast<char>(byte); };
  if (code >= kRawByte) {
    put(code - kRawByte);
  } else if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | code >> 6), put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | code >> 12), put(0x80 | (code >> 6 & 0x3F)), put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | code >> 18), put(0x80 | (code >> 12 & 0x3F));
    put(0x80 | (code >> 6 & 0x3F)), put(0x80 | (code & 0x3F));
  }
}

void Decompose(uint32_t code, std::vector<uint32_t>& out) {
  if (code >= kSyllables && code < kSyllables + kNumSyllables) {
    const uint32_t index = code - kSyllables;
    out.push_back(kLead + index / (kNumVowel * kNumTail));
    out.push_back(kVowel + index % (kNumVowel * kNumTail) / kNumTail);
    if (index % kNumTail != 0) out.push_back(kTail + index % kNumTail);
    return;
  }
  const auto parts = Data().parts.find(code);
  if (parts == Data().parts.end()) {
    out.push_back(code);
    return;
  }
  Decompose(parts->second.first, out);
  if (parts->second.second != 0) Decompose(parts->second.second, out);
}

// What two characters compose to; 0: nothing.
uint32_t Compose(uint32_t first, uint32_t second) {
  if (first >= kLead && first < kLead + kNumLead && second >= kVowel &&
      second < kVowel + kNumVowel) {
    return kSyllables + ((first - kLead) * kNumVowel + (second - kVowel)) * kNumTail;
  }
  if (first >= kSyllables && first < kSyllables + kNumSyllables &&
      (first - kSyllables) % kNumTail == 0 && second > kTail && second < kTail + kNumTail) {
    return first + (second - kTail);
  }
  const auto found = Data().composed.find(uint64_t{first} << 21 | second);
  return found == Data().composed.end() ? 0 : found->second;
}

// Of decomposed characters: marks in canonical order, then all that compose.
void Recompose(std::vector<uint32_t>& codes) {
  const Tables& data = Data();
  for (size_t i = 0; i < codes.size();) {
    size_t end = i;
    while (end < codes.size() && data.ClassOf(codes[end]) != 0) ++end;
    std::stable_sort(codes.begin() + static_cast<int64_t>(i),
                     codes.begin() + static_cast<int64_t>(end),
                     [&](uint32_t a, uint32_t b) { return data.ClassOf(a) < data.ClassOf(b); });
    i = end + 1;
  }
  size_t kept = 0, starter = codes.size();
  int last_class = -1;  // of what stands between the starter and here; -1: nothing
  for (const uint32_t code : std::vector<uint32_t>(codes)) {
    const int here = data.ClassOf(code);
    if (starter < kept && last_class < (here == 0 ? 0 : here)) {
      const uint32_t whole = Compose(codes[starter], code);
      if (whole != 0) {
        codes[starter] = whole;
        continue;
      }
    }
    if (here == 0) starter = kept, last_class = -1;
    if (here != 0) last_class = here;
    codes[kept++] = code;
  }
  codes.resize(kept);
}

}  // namespace

bool IsSurelyNfc(std::string_view text) {
  // Below U+0300 (first byte 0xCC) nothing joins or changes.
  const auto plain = [](char c) { return static_cast<unsigned char>(c) < 0xCC; };
  if (std::all_of(text.begin(), text.end(), plain)) return true;
  for (size_t i = 0; i < text.size();) {
    if (plain(text[i])) {
      ++i;
    } else if (Data().IsActive(Read(text, i))) {
      return false;
    }
  }
  return true;
}

std::string ToNfc(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  size_t copied = 0, last = 0;  // `last`: the character before `i`
  std::vector<uint32_t> codes;
  for (size_t i = 0; i < text.size();) {
    const size_t at = i;
    if (!Data().IsActive(Read(text, i))) {
      last = at;
      continue;
    }
    const size_t begin = std::max(last, copied);
    out += text.substr(copied, begin - copied);
    codes.clear();
    size_t end = begin;
    for (size_t next = begin; next < text.size(); end = next) {
      const bool first = next == begin;
      const uint32_t code = Read(text, next);
      if (!first && next > i && !Data().IsActive(code)) break;
      Decompose(code, codes);
    }
    Recompose(codes);
    for (const uint32_t code : codes) Write(code, out);
    copied = last = i = end;
  }
  out += text.substr(copied);
  return out;
}

}  // namespace choir
