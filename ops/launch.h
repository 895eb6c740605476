// The one place that chooses a device's kernel, and tells what it computes.
#pragma once

#include <type_traits>
#include <utility>

#include "base/check.h"
#include "ops/work.h"
#include "tensor/device.h"

namespace choir {

// Stands for a kernel that does not exist yet: reaching it ends the process with the op's name.
struct NoKernel {};

// Reports `work`, the same on every device, and runs `cpu` or `cuda` (callables without arguments)
// for `device`; on meta, nothing: results keep their shapes and byte counts, which with the reports
// is all that a plan needs.
template <class Cpu, class Cuda = NoKernel>
void Launch(Device device, const Work& work, Cpu&& cpu, Cuda&& cuda = {}) {
  RecordWork(work);
  switch (device) {
    case Device::kMeta:
      return;
    case Device::kCpu:
      return std::forward<Cpu>(cpu)();
    case Device::kCuda:
      if constexpr (std::is_same_v<std::remove_cvref_t<Cuda>, NoKernel>) {
        CHECK(false) << work.name << " has no CUDA kernel";
      } else {
        return std::forward<Cuda>(cuda)();
      }
  }
}

}  // namespace choir
