#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/unpack_check.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  choir::CheckUnpacking(choir::Compression::kGzip, choir::FuzzBytes(data, size));
  return 0;
}
