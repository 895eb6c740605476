// Staging memory of outstanding operations, kept for the next ones.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <vector>

namespace choir {

class ScratchPool {
 public:
  struct Free {
    void operator()(std::byte* p) const { ::operator delete[](p, std::align_val_t(kAlign)); }
  };
  struct Block {
    std::unique_ptr<std::byte[], Free> data;
    int64_t bytes = 0;
  };

  // A block of at least `bytes`, at a page.
  Block Take(int64_t bytes) {
    for (Block& block : free_) {
      if (block.bytes < bytes) continue;
      Block taken = std::move(block);
      if (&block != &free_.back()) block = std::move(free_.back());
      free_.pop_back();
      return taken;
    }
    auto* const p = static_cast<std::byte*>(
        ::operator new[](static_cast<size_t>(bytes), std::align_val_t(kAlign)));
    return {std::unique_ptr<std::byte[], Free>(p), bytes};
  }
  void Return(Block block) {
    if (block.data != nullptr) free_.push_back(std::move(block));
  }

 private:
  static constexpr size_t kAlign = 4096;
  std::vector<Block> free_;
};

}  // namespace choir
