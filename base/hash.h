// XXH3 checksums (not cryptographic: they find damage, not malice), streaming and in one call.
// The hexadecimal forms equal the output of `xxhsum -H3` (64 bits) and `xxh128sum`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace choir {

struct Hash128 {
  uint64_t high = 0;
  uint64_t low = 0;
  bool operator==(const Hash128&) const = default;
};

// Lower-case hexadecimal, 16 or 32 digits, most significant first.
std::string ToHex(uint64_t hash);
std::string ToHex(Hash128 hash);

uint64_t HashOf64(std::string_view bytes);
uint64_t HashOf64(std::span<const std::byte> bytes);
Hash128 HashOf128(std::string_view bytes);
Hash128 HashOf128(std::span<const std::byte> bytes);

// Accumulates the bytes given to Update; a digest may be taken at any time and covers all bytes so
// far. Equal bytes give equal digests however they were cut into pieces.
class Hasher64 {
 public:
  Hasher64();
  void Update(std::string_view bytes);
  void Update(std::span<const std::byte> bytes);
  uint64_t Digest() const;
  void Reset();

 private:
  struct Free {
    void operator()(void* state) const;
  };
  std::unique_ptr<void, Free> state_;
};

class Hasher128 {
 public:
  Hasher128();
  void Update(std::string_view bytes);
  void Update(std::span<const std::byte> bytes);
  Hash128 Digest() const;
  void Reset();

 private:
  struct Free {
    void operator()(void* state) const;
  };
  std::unique_ptr<void, Free> state_;
};

}  // namespace choir
