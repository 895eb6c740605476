#include "parallel/expert/capacity.h"

#include <algorithm>
#include <cmath>

#include "base/fault.h"
#include "ops/dispatch.h"
#include "ops/launch.h"
#include "parallel/mesh/placement.h"

namespace choir {
namespace {

// Choices of each expert by tokens of the ranks before this one; of none on meta.
std::vector<int64_t> ChosenBefore(const Tensor& indices, const CapacityInput& input,
                                  const Place& place) {
  const auto experts = static_cast<size_t>(input.experts);
  std::vector<int64_t> before(experts, 0);
  const int ranks = place.Size(kTokenAxes), rank = place.Coord(kTokenAxes);
  if (ranks == 1) return before;
  const bool meta = indices.device() == Device::kMeta;
  const std::vector<int64_t> counts = ExpertCounts(indices, input.valid, input.experts);
  const Tensor mine = Tensor::Empty(
      {input.experts}, {DType::kI32, indices.device(), MemoryCategory::kCommunication});
  if (!meta) std::copy(counts.begin(), counts.end(), mine.data<int32_t>());
  const Tensor all = Tensor::Empty({int64_t{ranks} * input.experts}, mine.options());
  const std::vector<int64_t> each(static_cast<size_t>(ranks), input.experts);
  place.Group(kTokenAxes).AllGather(all, mine, each).Wait();
  if (meta || (rank > 0 && Injected(Fault::kCapacityFromLocalCounts))) return before;
  const auto n = all.span<const int32_t>();
  for (size_t i = 0; i < static_cast<size_t>(rank) * experts; ++i) before[i % experts] += n[i];
  return before;
}

}  // namespace

int64_t ExpertCapacity(double factor, int64_t tokens, int64_t top_k, int64_t experts) {
  const double even = static_cast<double>(tokens * top_k) / static_cast<double>(experts);
  const double exact = factor * even;
  // A factor like 1.1 is not exact in binary; that must not round a whole number up.
  return static_cast<int64_t>(std::ceil(exact - 1e-12 * exact));
}

KeptChoices KeepWithinCapacity(Tape& tape, const Var& indices, const CapacityInput& input,
                               const Place& place) {
  CHECK(indices.shape().rank() == 2 && indices.tensor().dtype() == DType::kI32);
  const int64_t tokens = indices.dim(0), top_k = indices.dim(1);
  KeptChoices kept;
  Saved chosen = indices.Save();
  kept.indices = tape.Compute(Tag("moe.kept", true), [&] {
    const Tensor& from = chosen.Get();
    Tensor to = Tensor::Empty(from.shape(), from.options(MemoryCategory::kActivations));
    std::vector<int64_t> taken = ChosenBefore(from, input, place);
    Launch(from.device(), MemoryWork("capacity", from, to), [&] {
      kept.dropped.assign(static_cast<size_t>(tokens), 0);
      for (int64_t i = 0; i < tokens * top_k; ++i) {
        const int32_t expert = from.data<int32_t>()[i];
        const bool padding = input.valid.defined() && input.valid.data<float>()[i / top_k] == 0;
        const bool keep = padding || taken[static_cast<size_t>(expert)]++ < input.capacity;
        to.data<int32_t>()[i] = keep ? expert : kAbsent;
        if (!keep) ++kept.dropped[static_cast<size_t>(i / top_k)];
      }
    });
    return to;
  });
  if (place.mesh().size() > 1 && Injected(Fault::kDroppedStillSummed)) kept.indices = indices;
  return kept;
}

}  // namespace choir
