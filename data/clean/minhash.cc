#include "data/clean/minhash.h"

#include <algorithm>
#include <array>
#include <iterator>

#include "base/random.h"

namespace choir {
namespace {

// The finaliser of SplitMix64 (Steele, Lea, Flood 2014): every bit depends on every bit.
uint64_t Mix(uint64_t x) {
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
  x = (x ^ x >> 27) * 0x94D049BB133111EBu;
  return x ^ x >> 31;
}

}  // namespace

void ShingleHashes(const TextSurvey& survey, int64_t words, uint64_t seed,
                   std::vector<uint32_t>& hashes) {
  constexpr uint64_t kBase = 0x9E3779B97F4A7C15u;
  const std::vector<Word>& all = survey.words;
  hashes.clear();
  if (all.empty()) return;
  const size_t n = std::min(static_cast<size_t>(words * survey.pieces_per_word()), all.size());
  const uint64_t key = Mix(seed + kBase);
  uint64_t hash = 0, power = 1;  // power: kBase^n
  for (size_t i = 0; i < n; ++i) {
    hash = hash * kBase + all[i].hash;
    power *= kBase;
  }
  hashes.resize(all.size() - n + 1);
  for (size_t i = 0; i < hashes.size(); ++i) {
    hashes[i] = static_cast<uint32_t>(Mix(hash ^ key) >> 32);
    if (i + n < all.size()) hash = hash * kBase + all[i + n].hash - power * all[i].hash;
  }
}

MinHasher::MinHasher(int64_t count, uint64_t seed) : count_(count) {
  const size_t padded = (static_cast<size_t>(count) + kBlock - 1) / kBlock * kBlock;
  const CounterRandom random(seed, "minhash");
  for (size_t k = 0; k < padded; ++k) {
    const uint64_t bits = random.Bits(k);
    factors_.push_back(static_cast<uint32_t>(bits) | 1);
    offsets_.push_back(static_cast<uint32_t>(bits >> 32));
  }
}

void MinHasher::Minima(const std::vector<uint32_t>& hashes, std::vector<uint32_t>& minima) const {
  minima.resize(factors_.size());
  for (size_t block = 0; block < factors_.size(); block += kBlock) {
    std::array<uint32_t, kBlock> a, b, least;
    std::copy_n(factors_.begin() + static_cast<ptrdiff_t>(block), kBlock, a.begin());
    std::copy_n(offsets_.begin() + static_cast<ptrdiff_t>(block), kBlock, b.begin());
    least.fill(~uint32_t{0});
    for (const uint32_t hash : hashes) {
      for (size_t k = 0; k < kBlock; ++k) least[k] = std::min(least[k], hash * a[k] + b[k]);
    }
    std::copy(least.begin(), least.end(), minima.begin() + static_cast<ptrdiff_t>(block));
  }
  minima.resize(static_cast<size_t>(count_));
}

std::vector<uint32_t> BottomSketch(std::vector<uint32_t>& hashes, size_t size) {
  // Sorting all of a long text to keep a few would cost most of the time; repeated hashes may ask
  // for more than was first taken.
  for (size_t taken = 2 * size; taken < hashes.size(); taken *= 2) {
    const auto cut = hashes.begin() + static_cast<ptrdiff_t>(taken);
    std::nth_element(hashes.begin(), cut, hashes.end());
    std::sort(hashes.begin(), cut);
    std::vector<uint32_t> sketch;
    std::unique_copy(hashes.begin(), cut, std::back_inserter(sketch));
    if (sketch.size() < size) continue;
    sketch.resize(size);
    return sketch;
  }
  std::sort(hashes.begin(), hashes.end());
  std::vector<uint32_t> sketch;
  std::unique_copy(hashes.begin(), hashes.end(), std::back_inserter(sketch));
  if (sketch.size() > size) sketch.resize(size);
  return sketch;
}

double SketchJaccard(const std::vector<uint32_t>& a, const std::vector<uint32_t>& b, size_t size) {
  size_t i = 0, j = 0, in_union = 0, in_both = 0;
  while (in_union < size && (i < a.size() || j < b.size())) {
    ++in_union;
    if (j == b.size() || (i < a.size() && a[i] < b[j])) {
      ++i;
    } else if (i == a.size() || b[j] < a[i]) {
      ++j;
    } else {
      ++in_both;
      ++i;
      ++j;
    }
  }
  return in_union == 0 ? 0 : static_cast<double>(in_both) / static_cast<double>(in_union);
}

}  // namespace choir
