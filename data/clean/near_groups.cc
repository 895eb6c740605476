#include "data/clean/near_groups.h"

#include <algorithm>
#include <utility>

#include "base/status.h"
#include "data/clean/minhash.h"

namespace choir {

absl::StatusOr<NearGroups> NearGroups::Make(const DedupConfig& config, const std::string& folder) {
  constexpr size_t kBuffer = 1 << 20;
  NearGroups groups(config);
  ASSIGN_OR_RETURN(groups.records_, SpillFile::Create(folder, kBuffer));
  ASSIGN_OR_RETURN(groups.sketches_, SpillFile::Create(folder, kBuffer));
  return groups;
}

absl::Status NearGroups::AddDocument(DocumentKey key, const std::vector<uint32_t>& sketch) {
  const Record record{key, sketches_.size(), static_cast<int64_t>(sketch.size())};
  RETURN_IF_ERROR(records_.Append(&record, sizeof(record)));
  return sketches_.Append(sketch.data(), sketch.size() * sizeof(uint32_t));
}

absl::Status NearGroups::Flush() {
  RETURN_IF_ERROR(records_.Flush());
  return sketches_.Flush();
}

absl::Status NearGroups::ReadSketch(Member& member) const {
  if (!member.sketch.empty()) return absl::OkStatus();
  member.sketch.resize(static_cast<size_t>(member.record.size));
  return sketches_.Read(member.record.sketch, member.sketch.data(),
                        member.sketch.size() * sizeof(uint32_t));
}

uint64_t NearGroups::RootOf(uint64_t document) {
  auto it = nodes_.find(document);
  if (it == nodes_.end()) return document;
  while (it->second.parent != document) {
    // Halves the path on the way (Tarjan and van Leeuwen 1984).
    const auto above = nodes_.find(it->second.parent);
    document = it->second.parent = above->second.parent;
    it = nodes_.find(document);
  }
  return document;
}

void NearGroups::Tie(const Member& a, const Member& b) {
  nodes_.try_emplace(a.document, Node{a.record.key, a.document});
  nodes_.try_emplace(b.document, Node{b.record.key, b.document});
  uint64_t low = RootOf(a.document), high = RootOf(b.document);
  if (nodes_[high].key < nodes_[low].key) std::swap(low, high);
  nodes_[high].parent = low;
}

absl::Status NearGroups::Compare(Member& a, Member& b) {
  // A tie within a group changes nothing, so that leaving it out does not depend on the order.
  if (RootOf(a.document) == RootOf(b.document)) return absl::OkStatus();
  RETURN_IF_ERROR(ReadSketch(a));
  RETURN_IF_ERROR(ReadSketch(b));
  const auto size = static_cast<size_t>(config_.sketch);
  if (SketchJaccard(a.sketch, b.sketch, size) >= config_.threshold) Tie(a, b);
  return absl::OkStatus();
}

absl::Status NearGroups::Join(const std::vector<uint64_t>& documents) {
  std::vector<Member> members;
  members.reserve(documents.size());
  for (const uint64_t document : documents) {
    Member& member = members.emplace_back();
    member.document = document;
    RETURN_IF_ERROR(records_.Read(static_cast<int64_t>(document * sizeof(Record)), &member.record,
                                  sizeof(Record)));
  }
  std::sort(members.begin(), members.end(),
            [](const Member& a, const Member& b) { return a.record.key < b.record.key; });
  constexpr size_t kNeighbours = DedupIndex::kNeighbours;
  for (size_t i = 1; i < members.size(); ++i) {
    RETURN_IF_ERROR(Compare(members[0], members[i]));
    for (size_t j = i - std::min(i - 1, kNeighbours); j < i; ++j) {
      RETURN_IF_ERROR(Compare(members[j], members[i]));
    }
    if (i > kNeighbours) members[i - kNeighbours].sketch = {};  // compared with all it will be
  }
  return absl::OkStatus();
}

std::vector<DocumentKey> NearGroups::Duplicates() {
  std::vector<DocumentKey> keys;
  for (const auto& [document, node] : nodes_) {
    if (node.parent != document) keys.push_back(node.key);
  }
  std::sort(keys.begin(), keys.end());
  return keys;
}

}  // namespace choir
