#include "plan/hardware.h"

#include "base/check.h"
#include "base/file.h"

namespace choir {

void Hardware::Check(ConfigErrors& errors) const {
  if (products.full.flops == 0 && products.bf16.flops == 0 && products.f16.flops == 0) {
    errors.Add("products", "must give the FLOP/s of full, bf16 or f16");
  }
}

absl::StatusOr<Hardware> LoadHardware(const std::string& path) {
  return LoadConfigFile<Hardware>(path);
}

absl::Status SaveHardware(const Hardware& hardware, const std::string& path) {
  return WriteFileAtomic(path, ConfigDump(hardware));
}

const ProductRate& RateOf(const Hardware& hardware, MatmulFormat format) {
  const ProductRates& rates = hardware.products;
  const ProductRate* narrow_first[] = {&rates.mxfp8, &rates.fp8_block, &rates.bf16, &rates.full};
  int start = 3;
  if (format == MatmulFormat::kMxfp8) start = 0;
  if (format == MatmulFormat::kFp8Block) start = 1;
  if (format == MatmulFormat::kBF16) start = 2;
  if (format == MatmulFormat::kF16) {
    if (rates.f16.flops > 0) return rates.f16;
    start = 2;
  }
  for (int i = start; i < 4; ++i) {
    if (narrow_first[i]->flops > 0) return *narrow_first[i];
  }
  // Full operands on a device that only lists narrow ones.
  const ProductRate& any = rates.bf16.flops > 0 ? rates.bf16 : rates.f16;
  CHECK(any.flops > 0) << hardware.name << " has no rate for products";
  return any;
}

}  // namespace choir
