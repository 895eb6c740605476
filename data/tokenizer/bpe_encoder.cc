#include "data/tokenizer/bpe_encoder.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstring>
#include <memory>

#include "base/check.h"

namespace choir {
namespace {

constexpr size_t kMaxCachedBytes = 15;
constexpr size_t kMaxCachedIds = 3;
constexpr int kCacheBits = 16;

std::atomic<uint64_t> next_serial{1};

// A piece of 1..15 bytes as a number of 128 bits: its bytes, zeros, its length.
struct PieceKey {
  uint64_t low, high;
  bool operator==(const PieceKey&) const = default;
};

// `readable`: bytes from `p` on that may be read.
PieceKey KeyOf(const char* p, size_t size, size_t readable) {
  PieceKey key{0, 0};
  if (readable >= 16 && std::endian::native == std::endian::little) {
    std::memcpy(&key, p, 16);
    if (size <= 8) {
      key.low = size == 8 ? key.low : key.low & ((uint64_t{1} << 8 * size) - 1);
      key.high = 0;
    } else {
      key.high &= (uint64_t{1} << 8 * (size - 8)) - 1;
    }
  } else {
    std::memcpy(&key, p, size);
  }
  key.high |= static_cast<uint64_t>(size) << 56;
  return key;
}

size_t SlotOf(PieceKey key) {
  const uint64_t mixed =
      (key.low ^ std::rotl(key.high, 29) * 0x9FB21C651E98DF25) * 0x9E3779B97F4A7C15;
  return static_cast<size_t>(mixed >> (64 - kCacheBits));
}

}  // namespace

struct BpeEncoder::Cache {
  struct Entry {
    PieceKey key{0, 0};  // no piece has this key
    std::array<int32_t, kMaxCachedIds> ids;
    uint32_t count;
  };
  uint64_t serial = 0;
  std::vector<Entry> entries;
};

BpeEncoder::BpeEncoder(BpeModel model)
    : model_(std::move(model)), trie_(model_.bytes), serial_(next_serial++) {
  for (const auto& [bytes, id] : model_.whole) whole_.emplace(bytes, id);
  for (const std::string& bytes : model_.bytes) {
    length_.push_back(static_cast<uint16_t>(bytes.size()));
    const auto* const p = reinterpret_cast<const uint8_t*>(bytes.data());
    prefix_.push_back(bytes.size() == 1 ? -1 : trie_.LongestPrefix(p, p + bytes.size() - 1));
  }
}

BpeEncoder::Scratch& BpeEncoder::ThreadScratch() {
  thread_local Scratch scratch;
  return scratch;
}

BpeEncoder::Cache& BpeEncoder::ThreadCache() const {
  thread_local std::unique_ptr<Cache> cache = std::make_unique<Cache>();
  if (cache->serial != serial_) {
    cache->serial = serial_;
    cache->entries.assign(size_t{1} << kCacheBits, {});
  }
  return *cache;
}

// Undoes the last merge of whichever token was made later, again and again, and asks whether the
// two tokens at the seam would have been merged before that: then the pair cannot be what merging
// leaves behind.
bool BpeEncoder::MayFollow(int32_t left, int32_t right) const {
  int32_t limit = model_.num_codes();  // merges from here on come too late to matter
  for (;;) {
    const int32_t joined = model_.pairs.Find(left, right);
    if (joined != PairTable::kNone && joined < limit) return false;
    if (left > right) {
      limit = left;
      left = model_.parts[left].second;
      if (left == limit) {  // a byte
        limit = right + 1;
        right = model_.parts[right].first;
        if (right + 1 == limit) return true;
      }
    } else {
      limit = right + 1;
      right = model_.parts[right].first;
      if (right + 1 == limit) {
        limit = left;
        left = model_.parts[left].second;
        if (left == limit) return true;
      }
    }
  }
}

void BpeEncoder::FindCodes(std::string_view piece, Scratch& scratch) const {
  const auto* const begin = reinterpret_cast<const uint8_t*>(piece.data());
  const uint8_t* const end = begin + piece.size();
  std::vector<int32_t>& codes = scratch.codes;
  codes.clear();
  scratch.dead.assign(piece.size() / 64 + 1, 0);
  uint64_t* const dead = scratch.dead.data();
  const auto is_dead = [&](size_t i) { return dead[i / 64] >> (i % 64) & 1; };
  size_t at = 0;
  int32_t code = trie_.LongestPrefix(begin, end);
  for (;;) {
    const size_t next = at + length_[code];
    if (!is_dead(next) && (codes.empty() || MayFollow(codes.back(), code))) {
      codes.push_back(code);
      at = next;
      if (at == piece.size()) return;
      code = trie_.LongestPrefix(begin + at, end);
    } else if (prefix_[code] >= 0) {
      code = prefix_[code];
    } else {
      // The empty start cannot be dead: merging leaves some encoding behind.
      dead[at / 64] |= uint64_t{1} << (at % 64);
      code = codes.back();
      codes.pop_back();
      at -= length_[code];
    }
  }
}

void BpeEncoder::EncodePiece(std::string_view piece, std::vector<int32_t>& ids) const {
  if (!whole_.empty()) {
    const auto whole = whole_.find(piece);
    if (whole != whole_.end()) {
      ids.push_back(whole->second);
      return;
    }
  }
  Scratch& scratch = ThreadScratch();
  if (model_.monotone) {
    FindCodes(piece, scratch);
  } else {
    model_.Merge(piece, scratch.codes);
  }
  for (const int32_t code : scratch.codes) ids.push_back(model_.ids[code]);
}

void BpeEncoder::Encode(std::string_view text, const std::vector<uint32_t>& ends,
                        std::vector<int32_t>& ids) const {
  Cache& cache = ThreadCache();
  size_t begin = 0;
  for (const uint32_t end : ends) {
    const std::string_view piece = text.substr(begin, end - begin);
    if (piece.size() > kMaxCachedBytes || piece.empty()) {
      if (!piece.empty()) EncodePiece(piece, ids);
    } else {
      const PieceKey key = KeyOf(piece.data(), piece.size(), text.size() - begin);
      Cache::Entry& entry = cache.entries[SlotOf(key)];
      if (entry.key == key) {
        const size_t old = ids.size();
        ids.resize(old + entry.count);
        std::copy_n(entry.ids.data(), entry.count, ids.data() + old);
      } else {
        const size_t old = ids.size();
        EncodePiece(piece, ids);
        const size_t count = ids.size() - old;
        if (count <= kMaxCachedIds) {
          entry.key = key;
          entry.count = static_cast<uint32_t>(count);
          std::copy_n(ids.data() + old, count, entry.ids.data());
        }
      }
    }
    begin = end;
  }
}

}  // namespace choir
