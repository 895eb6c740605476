// The one place that chooses a device's kernel.
#pragma once

#include <type_traits>
#include <utility>

#include "base/check.h"
#include "tensor/device.h"

namespace choir {

// Stands for a kernel that does not exist yet: reaching it ends the process with the op's name.
struct NoKernel {};

// Runs `cpu` or `cuda` (callables without arguments) for `device`; on meta, nothing: results keep
// their shapes and byte counts, which is all that a plan needs.
template <class Cpu, class Cuda = NoKernel>
void Launch(Device device, const char* op, Cpu&& cpu, Cuda&& cuda = {}) {
  switch (device) {
    case Device::kMeta:
      return;
    case Device::kCpu:
      return std::forward<Cpu>(cpu)();
    case Device::kCuda:
      if constexpr (std::is_same_v<std::remove_cvref_t<Cuda>, NoKernel>) {
        CHECK(false) << op << " has no CUDA kernel";
      } else {
        return std::forward<Cuda>(cuda)();
      }
  }
}

}  // namespace choir
