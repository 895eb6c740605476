#include "data/clean/repetition.h"

#include <algorithm>
#include <bit>
#include <cstdint>

#include "absl/container/flat_hash_set.h"
#include "base/hash.h"

namespace choir {
namespace {

// Counts hashes. Slots are chosen by the low bits of mixed hashes; equal hashes are equal things.
class HashCounter {
 public:
  struct Slot {
    uint64_t hash = 0;
    uint32_t round = 0;  // of the slot; others are free
    uint32_t count = 0;
    uint32_t first = 0;  // a number given with the first of these hashes
  };

  // Forgets everything; room for `n` different hashes.
  void Reset(size_t n) {
    const size_t wanted = std::bit_ceil(2 * n + 1);
    if (slots_.size() < wanted || ++round_ == 0) {
      slots_.assign(std::max(wanted, slots_.size()), Slot{});
      round_ = 1;
    }
    mask_ = wanted - 1;
  }
  Slot& Add(uint64_t hash, uint32_t number) {
    size_t i = (hash ^ hash >> 32) & mask_;
    while (slots_[i].round == round_ && slots_[i].hash != hash) i = (i + 1) & mask_;
    Slot& slot = slots_[i];
    if (slot.round != round_) slot = {hash, round_, 0, number};
    ++slot.count;
    return slot;
  }

 private:
  std::vector<Slot> slots_;
  size_t mask_ = 0;
  uint32_t round_ = 0;
};

// The tables of a thread: documents come by the thousand, and most are small.
HashCounter& Counter() {
  static thread_local HashCounter counter;
  return counter;
}

// Calls visit(i, hash) for every n-gram words[i, i + n). The hash is a polynomial in the hashes of
// its words, moved on from n-gram to n-gram.
template <class Visit>
void ForEachNgram(const std::vector<Word>& words, size_t n, Visit visit) {
  constexpr uint64_t kBase = 0x9E3779B97F4A7C15u;
  if (n == 0 || words.size() < n) return;
  uint64_t hash = 0, power = 1;  // power: kBase^n
  for (size_t i = 0; i < n; ++i) {
    hash = hash * kBase + words[i].hash;
    power *= kBase;
  }
  for (size_t i = 0;; ++i) {
    visit(i, hash ^ hash >> 29);
    if (i + n == words.size()) return;
    hash = hash * kBase + words[i + n].hash - power * words[i].hash;
  }
}

double Share(int64_t part, int64_t whole) {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

int64_t BytesOf(const std::vector<Word>& words, size_t first, size_t n) {
  int64_t bytes = 0;
  for (size_t i = first; i < first + n; ++i) bytes += words[i].end - words[i].begin;
  return bytes;
}

// 0 if no n-gram comes twice.
int64_t TopNgramBytes(const std::vector<Word>& words, size_t n) {
  HashCounter& counter = Counter();
  counter.Reset(words.size());
  uint32_t most = 1;
  int64_t bytes = 0;
  ForEachNgram(words, n, [&](size_t i, uint64_t hash) {
    const HashCounter::Slot& slot = counter.Add(hash, static_cast<uint32_t>(i));
    if (slot.count < most || slot.count == 1) return;
    const int64_t total = BytesOf(words, i, n) * slot.count;
    bytes = slot.count > most ? total : std::max(bytes, total);
    most = slot.count;
  });
  return bytes;
}

int64_t DuplicateNgramBytes(const std::vector<Word>& words, size_t n) {
  HashCounter& counter = Counter();
  counter.Reset(words.size());
  static thread_local std::vector<uint8_t> covered;  // words in a repeated n-gram
  covered.clear();
  ForEachNgram(words, n, [&](size_t i, uint64_t hash) {
    const HashCounter::Slot& slot = counter.Add(hash, static_cast<uint32_t>(i));
    if (slot.count == 1) return;
    covered.resize(words.size());
    std::fill_n(covered.begin() + static_cast<ptrdiff_t>(i), n, uint8_t{1});
    if (slot.count > 2) return;
    std::fill_n(covered.begin() + static_cast<ptrdiff_t>(slot.first), n, uint8_t{1});
  });
  int64_t bytes = 0;
  for (size_t i = 0; i < covered.size(); ++i) {
    if (covered[i] != 0) bytes += words[i].end - words[i].begin;
  }
  return bytes;
}

// Shares for growing n. A repeated n-gram holds repeated shorter ones, so the first 0 ends it.
template <class BytesFor>
std::vector<double> NgramShares(const TextSurvey& survey, int first, int counts, BytesFor bytes) {
  std::vector<double> shares(static_cast<size_t>(counts), 0.0);
  for (int k = 0; k < counts; ++k) {
    const auto n = static_cast<size_t>((first + k) * survey.pieces_per_word());
    const int64_t part = bytes(survey.words, n);
    if (part == 0) break;
    shares[static_cast<size_t>(k)] = Share(part, survey.word_bytes);
  }
  return shares;
}

// Pieces that came before, by number and bytes.
class Duplicates {
 public:
  void Add(std::string_view piece) {
    ++pieces_;
    bytes_ += static_cast<int64_t>(piece.size());
    if (seen_.insert(HashOf64(piece)).second) return;
    ++duplicates_;
    duplicate_bytes_ += static_cast<int64_t>(piece.size());
  }
  int64_t pieces() const { return pieces_; }
  double share() const { return Share(duplicates_, pieces_); }
  double byte_share() const { return Share(duplicate_bytes_, bytes_); }

 private:
  absl::flat_hash_set<uint64_t> seen_;
  int64_t pieces_ = 0, bytes_ = 0, duplicates_ = 0, duplicate_bytes_ = 0;
};

bool BeginsWithBullet(std::string_view line) {
  for (const std::string_view bullet : {"- ", "* ", "\u2022", "\u2023", "\u25CF", "\u25E6",
                                        "\u25AA", "\u25A0", "\u00B7", "\u2013 "}) {
    if (line.starts_with(bullet)) return true;
  }
  return false;
}

bool EndsWithEllipsis(std::string_view line) {
  return line.ends_with("...") || line.ends_with("\u2026");
}

}  // namespace

LineStatistics CountLines(std::string_view text) {
  Duplicates lines, paragraphs;
  int64_t bullets = 0, ellipses = 0;
  size_t paragraph = 0, paragraph_end = 0;  // of the open one
  bool open = false;
  const auto close = [&] {
    if (open) paragraphs.Add(text.substr(paragraph, paragraph_end - paragraph));
    open = false;
  };
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view line = text.substr(begin, end - begin);
    const size_t indent = line.find_first_not_of(" \t");
    line.remove_prefix(std::min(indent, line.size()));
    if (line.empty()) {
      close();
    } else {
      if (!open) paragraph = begin;
      paragraph_end = end;
      open = true;
      lines.Add(line);
      bullets += BeginsWithBullet(line);
      ellipses += EndsWithEllipsis(line);
    }
    begin = end + 1;
  }
  close();
  return {Share(bullets, lines.pieces()),
          Share(ellipses, lines.pieces()),
          lines.share(),
          lines.byte_share(),
          paragraphs.share(),
          paragraphs.byte_share()};
}

std::vector<double> TopNgramShares(const TextSurvey& survey, int first, int counts) {
  return NgramShares(survey, first, counts, TopNgramBytes);
}

std::vector<double> DuplicateNgramShares(const TextSurvey& survey, int first, int counts) {
  return NgramShares(survey, first, counts, DuplicateNgramBytes);
}

}  // namespace choir
