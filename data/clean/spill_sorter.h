// Sorts more records than fit into memory: sorted runs on disk, merged while they are read.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include "absl/status/status.h"
#include "base/check.h"
#include "base/status.h"
#include "data/clean/spill_file.h"

namespace choir {

// Record: trivially copyable, with operator<. Not thread-safe.
template <class Record>
class SpillSorter {
  static_assert(std::is_trivially_copyable_v<Record>);

 public:
  // Holds about `memory` bytes of records, when adding and when merging.
  SpillSorter(std::string folder, int64_t memory)
      : folder_(std::move(folder)),
        capacity_(std::max<size_t>(1024, static_cast<size_t>(memory) / sizeof(Record))) {}

  absl::Status Add(const Record& record) {
    if (records_.size() == capacity_) RETURN_IF_ERROR(WriteRun());
    // All at once: memory that is not written to yet costs nothing, and growing would hold two
    // copies for a while.
    if (records_.capacity() == 0) records_.reserve(capacity_);
    records_.push_back(record);
    return absl::OkStatus();
  }

  // After the last Add, once, before the first Next.
  absl::Status Sort() {
    if (runs_.empty()) {
      std::sort(records_.begin(), records_.end());
      return absl::OkStatus();
    }
    RETURN_IF_ERROR(WriteRun());
    records_ = {};
    const size_t share = std::max<size_t>(64, capacity_ / runs_.size());
    for (Run& run : runs_) {
      run.buffer.reserve(share);
      RETURN_IF_ERROR(Refill(run, share));
      heap_.push_back(&run);
    }
    share_ = share;
    std::make_heap(heap_.begin(), heap_.end(), Later);
    return absl::OkStatus();
  }

  // The records in order; false at the end.
  absl::StatusOr<bool> Next(Record& record) {
    if (runs_.empty()) {
      if (next_ == records_.size()) return false;
      record = records_[next_++];
      return true;
    }
    if (heap_.empty()) return false;
    std::pop_heap(heap_.begin(), heap_.end(), Later);
    Run& run = *heap_.back();
    record = run.buffer[run.next++];
    if (run.next == run.buffer.size()) RETURN_IF_ERROR(Refill(run, share_));
    if (run.buffer.empty()) {
      heap_.pop_back();
    } else {
      std::push_heap(heap_.begin(), heap_.end(), Later);
    }
    return true;
  }

  int64_t runs() const { return static_cast<int64_t>(runs_.size()); }

 private:
  struct Run {
    SpillFile file;
    int64_t offset = 0;  // of the first byte that is not in the buffer yet
    std::vector<Record> buffer;
    size_t next = 0;
  };

  static bool Later(const Run* a, const Run* b) { return b->buffer[b->next] < a->buffer[a->next]; }

  absl::Status WriteRun() {
    std::sort(records_.begin(), records_.end());
    Run& run = runs_.emplace_back();
    ASSIGN_OR_RETURN(run.file, SpillFile::Create(folder_, 0));
    RETURN_IF_ERROR(run.file.AppendDirect(records_.data(), records_.size() * sizeof(Record)));
    records_.clear();
    return absl::OkStatus();
  }

  absl::Status Refill(Run& run, size_t share) {
    const int64_t left = (run.file.size() - run.offset) / static_cast<int64_t>(sizeof(Record));
    run.buffer.resize(static_cast<size_t>(std::min<int64_t>(left, static_cast<int64_t>(share))));
    run.next = 0;
    const size_t bytes = run.buffer.size() * sizeof(Record);
    RETURN_IF_ERROR(run.file.Read(run.offset, run.buffer.data(), bytes));
    run.offset += static_cast<int64_t>(bytes);
    return absl::OkStatus();
  }

  const std::string folder_;
  const size_t capacity_;
  std::vector<Record> records_;
  size_t next_ = 0;
  size_t share_ = 0;
  std::vector<Run> runs_;
  std::vector<Run*> heap_;  // runs with something left; the smallest first
};

}  // namespace choir
