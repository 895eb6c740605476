#include "base/hash.h"

#include <xxhash.h>

#include "absl/strings/str_format.h"
#include "base/check.h"

namespace choir {
namespace {

XXH3_state_t* State(void* state) { return static_cast<XXH3_state_t*>(state); }

Hash128 ToHash(XXH128_hash_t hash) { return {hash.high64, hash.low64}; }

void* CreateState() {
  XXH3_state_t* const state = XXH3_createState();
  CHECK(state != nullptr) << "no memory for a hash state";
  return state;
}

}  // namespace

std::string ToHex(uint64_t hash) { return absl::StrFormat("%016x", hash); }
std::string ToHex(Hash128 hash) { return ToHex(hash.high) + ToHex(hash.low); }

uint64_t HashOf64(std::string_view bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }
uint64_t HashOf64(std::span<const std::byte> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}
Hash128 HashOf128(std::string_view bytes) {
  return ToHash(XXH3_128bits(bytes.data(), bytes.size()));
}
Hash128 HashOf128(std::span<const std::byte> bytes) {
  return ToHash(XXH3_128bits(bytes.data(), bytes.size()));
}

void Hasher64::Free::operator()(void* state) const { XXH3_freeState(State(state)); }
Hasher64::Hasher64() : state_(CreateState()) { Reset(); }
void Hasher64::Reset() { XXH3_64bits_reset(State(state_.get())); }
void Hasher64::Update(std::string_view bytes) { Update(std::as_bytes(std::span(bytes))); }
void Hasher64::Update(std::span<const std::byte> bytes) {
  XXH3_64bits_update(State(state_.get()), bytes.data(), bytes.size());
}
uint64_t Hasher64::Digest() const { return XXH3_64bits_digest(State(state_.get())); }

void Hasher128::Free::operator()(void* state) const { XXH3_freeState(State(state)); }
Hasher128::Hasher128() : state_(CreateState()) { Reset(); }
void Hasher128::Reset() { XXH3_128bits_reset(State(state_.get())); }
void Hasher128::Update(std::string_view bytes) { Update(std::as_bytes(std::span(bytes))); }
void Hasher128::Update(std::span<const std::byte> bytes) {
  XXH3_128bits_update(State(state_.get()), bytes.data(), bytes.size());
}
Hash128 Hasher128::Digest() const { return ToHash(XXH3_128bits_digest(State(state_.get()))); }

}  // namespace choir
