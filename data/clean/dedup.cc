#include "data/clean/dedup.h"

#include <algorithm>
#include <mutex>
#include <optional>
#include <span>
#include <tuple>
#include <utility>

#include "base/check.h"
#include "base/status.h"
#include "data/clean/language_codes.h"
#include "data/clean/minhash.h"
#include "data/clean/near_groups.h"
#include "data/clean/reasons.h"
#include "data/clean/spill_sorter.h"
#include "data/clean/text_survey.h"

namespace choir {
namespace {

struct ExactEntry {
  Hash128 hash;
  DocumentKey key;
  uint64_t document;  // its number in the order of Add
  bool operator<(const ExactEntry& other) const {
    return std::tie(hash.high, hash.low, key, document) <
           std::tie(other.hash.high, other.hash.low, other.key, other.document);
  }
};

struct BandEntry {
  uint64_t hash;
  uint64_t document;
  bool operator<(const BandEntry& other) const {
    return std::tie(hash, document) < std::tie(other.hash, other.document);
  }
};

bool IsSpace(char c) { return c == ' ' || c == '\n' || c == '\t'; }

// Runs of white space as one space, none at the ends. `folded` is overwritten.
void FoldSpace(std::string_view text, std::string& folded) {
  folded.resize(text.size());
  char* out = folded.data();
  const char* p = text.data();
  const char* const end = p + text.size();
  while (p < end) {
    while (p < end && IsSpace(*p)) ++p;
    if (p < end && out > folded.data()) *out++ = ' ';
    while (p < end && !IsSpace(*p)) *out++ = *p++;
  }
  folded.resize(static_cast<size_t>(out - folded.data()));
}

bool Contains(const std::vector<DocumentKey>& sorted, DocumentKey key) {
  return std::binary_search(sorted.begin(), sorted.end(), key);
}

}  // namespace

DocumentKey DocumentKeyOf(std::string_view text, std::string_view id) {
  Hasher128 hasher;
  hasher.Update(text);
  // A byte that is in no UTF-8 keeps text and id apart.
  hasher.Update("\xFF");
  hasher.Update(id);
  const Hash128 hash = hasher.Digest();
  return {hash.high, hash.low};
}

const char* DuplicateSet::ReasonFor(DocumentKey key) const {
  if (Contains(exact_, key)) return kExactDuplicate;
  return Contains(near_, key) ? kNearDuplicate : nullptr;
}

class DedupIndex::Impl {
 public:
  Impl(const DedupConfig& config, const std::string& folder, NearGroups groups)
      : config_(config),
        hasher_(config.bands * config.rows, static_cast<uint64_t>(config.seed)),
        exact_(std::in_place, folder, ExactMemory(config)),
        bands_(folder, config.memory - ExactMemory(config)),
        groups_(std::move(groups)) {}

  Signature Sign(std::string_view text, std::string_view language) const;
  void Add(DocumentKey key, const Signature& signature);
  absl::StatusOr<DuplicateSet> Finish();

 private:
  // Both sorters fill at the same rate of documents.
  static int64_t ExactMemory(const DedupConfig& config) {
    if (config.mode == DedupMode::kExact) return config.memory;
    const int64_t band_bytes = config.bands * static_cast<int64_t>(sizeof(BandEntry));
    const auto exact_bytes = static_cast<int64_t>(sizeof(ExactEntry));
    return config.memory / (exact_bytes + band_bytes) * exact_bytes;
  }

  absl::Status AddLocked(DocumentKey key, const Signature& signature);
  absl::Status FindExact(DuplicateSet& duplicates);
  absl::Status FindNear(DuplicateSet& duplicates);

  const DedupConfig config_;
  const MinHasher hasher_;
  std::mutex mutex_;
  absl::Status status_;
  uint64_t documents_ = 0;
  std::optional<SpillSorter<ExactEntry>> exact_;  // until exact duplicates are found
  SpillSorter<BandEntry> bands_;
  NearGroups groups_;
  std::vector<bool> is_exact_duplicate_;  // by document
};

Signature DedupIndex::Impl::Sign(std::string_view text, std::string_view language) const {
  Signature signature;
  static thread_local std::string folded;
  FoldSpace(text, folded);
  signature.exact = HashOf128(folded);
  if (config_.mode != DedupMode::kNear) return signature;
  static thread_local TextSurvey survey;
  static thread_local std::vector<uint32_t> hashes, minima;
  SurveyText(text, survey);
  ShingleHashes(survey, config_.shingle_words, static_cast<uint64_t>(config_.seed), hashes);
  if (hashes.empty()) return signature;
  hasher_.Minima(hashes, minima);
  const uint64_t language_hash = HashOf64(NormalLanguage(language));
  const auto rows = static_cast<size_t>(config_.rows);
  std::vector<uint32_t> band(rows + 3);
  band[rows] = static_cast<uint32_t>(language_hash);
  band[rows + 1] = static_cast<uint32_t>(language_hash >> 32);
  for (size_t b = 0; b < static_cast<size_t>(config_.bands); ++b) {
    std::copy_n(minima.begin() + static_cast<ptrdiff_t>(b * rows), rows, band.begin());
    band[rows + 2] = static_cast<uint32_t>(b);
    signature.bands.push_back(HashOf64(std::as_bytes(std::span(band))));
  }
  signature.sketch = BottomSketch(hashes, static_cast<size_t>(config_.sketch));
  return signature;
}

void DedupIndex::Impl::Add(DocumentKey key, const Signature& signature) {
  std::lock_guard lock(mutex_);
  if (status_.ok()) status_ = AddLocked(key, signature);
}

absl::Status DedupIndex::Impl::AddLocked(DocumentKey key, const Signature& signature) {
  const uint64_t document = documents_++;
  RETURN_IF_ERROR(exact_->Add({signature.exact, key, document}));
  if (config_.mode != DedupMode::kNear) return absl::OkStatus();
  RETURN_IF_ERROR(groups_.AddDocument(key, signature.sketch));
  for (const uint64_t hash : signature.bands) RETURN_IF_ERROR(bands_.Add({hash, document}));
  return absl::OkStatus();
}

absl::Status DedupIndex::Impl::FindExact(DuplicateSet& duplicates) {
  RETURN_IF_ERROR(exact_->Sort());
  is_exact_duplicate_.assign(documents_, false);
  ExactEntry entry{};
  Hash128 last;
  bool first = true;
  while (true) {
    ASSIGN_OR_RETURN(const bool more, exact_->Next(entry));
    if (!more) break;
    if (!first && entry.hash == last) {
      is_exact_duplicate_[entry.document] = true;
      duplicates.exact_.push_back(entry.key);
    }
    last = entry.hash;
    first = false;
  }
  exact_.reset();
  std::sort(duplicates.exact_.begin(), duplicates.exact_.end());
  return absl::OkStatus();
}

absl::Status DedupIndex::Impl::FindNear(DuplicateSet& duplicates) {
  RETURN_IF_ERROR(bands_.Sort());
  RETURN_IF_ERROR(groups_.Flush());
  std::vector<uint64_t> members;
  uint64_t hash = 0;
  BandEntry entry{};
  while (true) {
    ASSIGN_OR_RETURN(const bool more, bands_.Next(entry));
    if (!more || entry.hash != hash) {
      if (members.size() > 1) RETURN_IF_ERROR(groups_.Join(members));
      members.clear();
      hash = entry.hash;
    }
    if (!more) break;
    if (!is_exact_duplicate_[entry.document]) members.push_back(entry.document);
  }
  duplicates.near_ = groups_.Duplicates();
  return absl::OkStatus();
}

absl::StatusOr<DuplicateSet> DedupIndex::Impl::Finish() {
  std::lock_guard lock(mutex_);
  RETURN_IF_ERROR(status_);
  DuplicateSet duplicates;
  RETURN_IF_ERROR(FindExact(duplicates));
  if (config_.mode == DedupMode::kNear) RETURN_IF_ERROR(FindNear(duplicates));
  return duplicates;
}

absl::StatusOr<std::unique_ptr<DedupIndex>> DedupIndex::Make(const DedupConfig& config,
                                                             const std::string& spill_directory) {
  CHECK(config.mode != DedupMode::kOff) << "nothing to find";
  ASSIGN_OR_RETURN(NearGroups groups, NearGroups::Make(config, spill_directory));
  return std::unique_ptr<DedupIndex>(
      new DedupIndex(std::make_unique<Impl>(config, spill_directory, std::move(groups))));
}

DedupIndex::DedupIndex(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
DedupIndex::~DedupIndex() = default;

Signature DedupIndex::Sign(std::string_view text, std::string_view language) const {
  return impl_->Sign(text, language);
}
void DedupIndex::Add(DocumentKey key, const Signature& signature) { impl_->Add(key, signature); }
absl::StatusOr<DuplicateSet> DedupIndex::Finish() { return impl_->Finish(); }

}  // namespace choir
