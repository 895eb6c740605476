// Unpacking of zstd: the same bytes or the same error in whatever pieces they are asked for, and
// bounded output (what zeros would unpack to is not read to the end).
#include "base/check.h"
#include "data/text/byte_source.h"
#include "tests/fuzz/fuzz_input.h"

namespace choir {
namespace {

constexpr size_t kMaxBytes = size_t{1} << 20;

// What comes out before the end, an error or kMaxBytes; `error` tells which.
std::string Unpacked(std::string_view packed, size_t piece, bool& error) {
  const auto source = UnpackMemory("input", Compression::kZstd, packed);
  std::string buffer(piece, 0), out;
  error = false;
  while (out.size() < kMaxBytes) {
    const absl::StatusOr<size_t> got = source->Read(buffer.data(), piece);
    error = !got.ok();
    CHECK(got.ok() || absl::IsDataLoss(got.status())) << got.status();
    if (error || *got == 0) break;
    CHECK(*got <= piece);
    out.append(buffer, 0, *got);
  }
  return out;
}

}  // namespace
}  // namespace choir

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace choir;
  const std::string_view packed = FuzzBytes(data, size);
  bool small_failed = false, large_failed = false;
  const std::string small = Unpacked(packed, 777, small_failed);
  const std::string large = Unpacked(packed, 65536, large_failed);
  const size_t both = std::min(small.size(), large.size());
  CHECK(small.compare(0, both, large, 0, both) == 0);
  if (small.size() < kMaxBytes && large.size() < kMaxBytes) {
    CHECK(small_failed == large_failed);
  }
  return 0;
}
