#include "train/copies.h"

#include <cstring>

#include "base/status.h"
#include "base/strings.h"
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
    // The last stage has a copy of a tied table, which State leaves out.
    if (const Parameter* tied = trainer.model().tied_head();
        tied != nullptr && t.name == "model/embedding") {
      t.mine = trainer.StoredValue(*tied);
    }
    if (t.mine.defined()) status.Update(CheckCopy(place, t, all));
  }
  return Agree(place.world(), status);
}

}  // namespace choir
