#include "data/tokenizer/added_tokens.h"

#include <algorithm>

namespace choir {
namespace {

// \w: these classes, connecting punctuation and joiners.
constexpr CharClass kWordLike = kLetters | kMark | kNumber;
constexpr std::string_view kJoiners[] = {"_",      "\u200c", "\u200d", "\u203f",
                                         "\u2040", "\u2054", "\ufe33", "\ufe34",
                                         "\ufe4d", "\ufe4e", "\ufe4f", "\uff3f"};

const uint8_t* At(std::string_view text, size_t i) {
  return reinterpret_cast<const uint8_t*>(text.data()) + i;
}

// Where the character before `i` begins; 0 < i.
size_t Before(std::string_view text, size_t i) {
  const size_t lowest = i < 4 ? 0 : i - 4;
  size_t begin = i - 1;
  while (begin > lowest && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
  return begin;
}

std::vector<std::string> Contents(const std::vector<AddedToken>& tokens) {
  std::vector<std::string> contents;
  for (const AddedToken& token : tokens) contents.push_back(token.content);
  return contents;
}

}  // namespace

AddedTokenFinder::AddedTokenFinder(std::vector<AddedToken> tokens)
    : tokens_(std::move(tokens)), trie_(Contents(tokens_)) {
  for (const AddedToken& token : tokens_) {
    first_bytes_[static_cast<unsigned char>(token.content[0])] = true;
  }
}

bool AddedTokenFinder::StandsAlone(std::string_view text, size_t begin, size_t end) const {
  const uint8_t* const last = At(text, text.size());
  const auto word_at = [&](size_t i) {
    if (scan_.At(At(text, i), last).cls & kWordLike) return true;
    return std::any_of(std::begin(kJoiners), std::end(kJoiners),
                       [&](std::string_view joiner) { return text.substr(i).starts_with(joiner); });
  };
  return !word_at(end) && (begin == 0 || !word_at(Before(text, begin)));
}

void AddedTokenFinder::Find(std::string_view text, std::vector<TextSegment>& segments) const {
  const uint8_t* const last = At(text, text.size());
  size_t done = 0;
  for (size_t i = 0; i < text.size();) {
    if (!first_bytes_[static_cast<unsigned char>(text[i])]) {
      ++i;
      continue;
    }
    const int32_t found = trie_.LongestPrefix(At(text, i), last);
    if (found < 0) {
      ++i;
      continue;
    }
    const AddedToken& token = tokens_[found];
    size_t begin = i, end = i + token.content.size();
    i = end;
    if (token.single_word && !StandsAlone(text, begin, end)) continue;
    if (token.lstrip) {
      while (begin > done) {
        const size_t before = Before(text, begin);
        if (!(scan_.At(At(text, before), last).cls & kSpace)) break;
        begin = std::max(before, done);
      }
    }
    if (token.rstrip) {
      // As in Hugging Face, a token that begins in that white space is found all the same.
      end = static_cast<size_t>(scan_.SkipWhile(At(text, end), last, kSpace) - At(text, 0));
    }
    if (begin > done) segments.push_back({text.substr(done, begin - done), -1});
    segments.push_back({text.substr(begin, end - begin), token.id});
    done = end;
  }
  if (done < text.size()) segments.push_back({text.substr(done), -1});
}

}  // namespace choir
