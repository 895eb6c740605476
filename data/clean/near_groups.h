// Groups of nearly equal documents: the second half of data/clean/dedup.h.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "data/clean/clean_config.h"
#include "data/clean/dedup.h"
#include "data/clean/spill_file.h"

namespace choir {

// Keys and sketches are on disk; in memory is only what is tied to another document.
class NearGroups {
 public:
  static absl::StatusOr<NearGroups> Make(const DedupConfig& config, const std::string& folder);

  // Documents are numbered from 0 in the order of these calls.
  absl::Status AddDocument(DocumentKey key, const std::vector<uint32_t>& sketch);
  // After the last document.
  absl::Status Flush();

  // Compares documents that agree in a band and ties those that are similar enough.
  absl::Status Join(const std::vector<uint64_t>& documents);

  // The keys of all documents that have one with a smaller key in their group, ascending.
  std::vector<DocumentKey> Duplicates();

 private:
  struct Record {
    DocumentKey key;
    int64_t sketch = 0;  // offset in sketches_
    int64_t size = 0;    // hashes
  };
  // A document of a group that is being joined.
  struct Member {
    uint64_t document;
    Record record;
    std::vector<uint32_t> sketch;  // empty until it is needed
  };
  // Of the union-find forest: parents have smaller keys.
  struct Node {
    DocumentKey key;
    uint64_t parent;
  };

  NearGroups(const DedupConfig& config) : config_(config) {}
  absl::Status ReadSketch(Member& member) const;
  absl::Status Compare(Member& a, Member& b);
  uint64_t RootOf(uint64_t document);
  void Tie(const Member& a, const Member& b);

  DedupConfig config_;
  SpillFile records_, sketches_;
  absl::flat_hash_map<uint64_t, Node> nodes_;
};

}  // namespace choir
