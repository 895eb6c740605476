// Duplicates among any number of documents, in bounded memory.
//
// Exact: documents whose text, with every run of spaces, tabs and line ends as one space, has the
// same XXH3-128, whatever their language. Near: documents of one language that agree in all minimum
// hashes of at least one band (Indyk and Motwani 1998; banding as in Leskovec, Rajaraman, Ullman,
// "Mining of Massive Datasets", section 3.4) and whose shingle sets have a Jaccard similarity,
// measured on their sketches, of at least the threshold. Documents that are tied by a chain of
// duplicates are one group, of which the one with the smallest key is kept.
//
// The result depends on the documents and the config only: not on the order of Add, on threads, or
// on how much memory there is. In a band, each document is compared with the first of those that
// share its minimum hashes and with the kNeighbours before it, by key: among more than that, which
// are mostly copies of each other, not with all.
#pragma once

#include <compare>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "base/hash.h"
#include "data/clean/clean_config.h"

namespace choir {

// Identifies a document; no two documents have the same. DocumentKeyOf is a good one: it does not
// depend on files or on the order of documents.
struct DocumentKey {
  uint64_t high = 0, low = 0;
  auto operator<=>(const DocumentKey&) const = default;
};
DocumentKey DocumentKeyOf(std::string_view text, std::string_view id);

struct Signature {
  Hash128 exact;
  std::vector<uint64_t> bands;   // hash of a band's minimum hashes and the language
  std::vector<uint32_t> sketch;  // smallest shingle hashes (data/clean/minhash.h)
};

// The documents to drop.
class DuplicateSet {
 public:
  // kExactDuplicate, kNearDuplicate (data/clean/reasons.h), or null for a document to keep.
  const char* ReasonFor(DocumentKey key) const;
  int64_t exact() const { return static_cast<int64_t>(exact_.size()); }
  int64_t near() const { return static_cast<int64_t>(near_.size()); }

 private:
  friend class DedupIndex;
  std::vector<DocumentKey> exact_, near_;  // ascending
};

class DedupIndex {
 public:
  static constexpr size_t kNeighbours = 32;

  // Temporary files, without names, go to `spill_directory`. `config.mode` must not be off.
  static absl::StatusOr<std::unique_ptr<DedupIndex>> Make(const DedupConfig& config,
                                                          const std::string& spill_directory);
  ~DedupIndex();

  // Of valid UTF-8 of less than 4 GiB. A pure function; thread-safe.
  Signature Sign(std::string_view text, std::string_view language) const;

  // Thread-safe. Holds about config.memory bytes, and writes what is more. Errors of the disk come
  // from Finish.
  void Add(DocumentKey key, const Signature& signature);

  // After the last Add, once. Holds config.memory bytes and some 60 bytes for each duplicate (near
  // ones and what they duplicate), and 1 bit for each document.
  absl::StatusOr<DuplicateSet> Finish();

 private:
  class Impl;
  explicit DedupIndex(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace choir
