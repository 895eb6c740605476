#include "train/copies.h"

#include <cstring>

#include "base/status.h"
#include "base/strings.h"
#include "ops/elementwise.h"
#include "train/agreement.h"

namespace choir {
namespace {

absl::Status CheckCopy(const Place& place, const Trainer::StateTensor& t, const Tensor& whole) {
  const Tensor mine = t.mine.Reshape({t.mine.NumElements()});
  const Tensor want = Tensor::Empty(mine.shape(), mine.options(MemoryCategory::kWorkspace));
  CopyShard(place, t.spreading, whole, want);
  if (std::memcmp(mine.raw(), want.raw(), static_cast<size_t>(want.bytes())) == 0) {
    return absl::OkStatus();
  }
  const float *a = mine.data<float>(), *b = want.data<float>();
  int64_t i = 0;
  while (std::memcmp(a + i, b + i, sizeof(*a)) == 0) ++i;
  return absl::InternalError(
      StrCat(t.name, ": the copies differ; element ", i, " is ", a[i], " instead of ", b[i]));
}

// What ranks compute with follows the masters, which State has.
absl::Status CheckRounded(Trainer& trainer, const Trainer::StateTensor& t, const Tensor& whole) {
  for (const auto& entry : trainer.model().parameters()) {
    const Parameter& p = *entry.parameter;
    if ("model/" + p.name != t.name || !p.value.defined() || p.value.dtype() == DType::kF32)
      continue;
    const Tensor slab =
        Tensor::Empty(p.value.shape(), {DType::kF32, Device::kCpu, MemoryCategory::kWorkspace});
    CopyShard(trainer.place(), {entry.placement, t.spreading.pipe, {}}, whole,
              slab.Reshape({slab.NumElements()}));
    const Tensor want = Tensor::Empty(slab.shape(), p.value.options(MemoryCategory::kWorkspace));
    ConvertInto(want, slab);
    if (std::memcmp(want.raw(), p.value.raw(), static_cast<size_t>(want.bytes())) == 0) continue;
    return absl::InternalError(StrCat(t.name, ": the rounded copy does not follow the master"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckCopies(Trainer& trainer, const std::map<std::string, Tensor>& whole) {
  const Place& place = trainer.place();
  if (place.mesh().size() == 1) return absl::OkStatus();
  absl::Status status;
  for (Trainer::StateTensor& t : trainer.State()) {
    const Tensor all = place.rank() == 0
                           ? whole.at(t.name)
                           : Tensor::Empty(t.spreading.placement.shape,
                                           {DType::kF32, Device::kCpu, MemoryCategory::kWorkspace});
    place.Group(kDenseAxes).Broadcast(all, 0).Wait();
    if (t.name == "model/embedding") {
      if (const Tensor copy = trainer.TiedCopy().mine; copy.defined()) t.mine = copy;
    }
    if (t.mine.defined()) status.Update(CheckCopy(place, t, all));
    status.Update(CheckRounded(trainer, t, all));
  }
  return Agree(place.world(), status);
}

}  // namespace choir
