#include "parallel/sum_numbers.h"

#include <algorithm>

namespace choir {

std::vector<double> SumNumbers(const Place& place, AxisSet axes, std::vector<double> values,
                               Device device) {
  const bool meta = device == Device::kMeta;
  const Tensor all = Tensor::Empty(
      {static_cast<int64_t>(values.size())},
      {DType::kF64, meta ? Device::kMeta : Device::kCpu, MemoryCategory::kCommunication});
  if (!meta) std::copy(values.begin(), values.end(), all.data<double>());
  if (place.Size(axes) > 1) place.Group(axes).AllReduce(all, ReduceOp::kSum).Wait();
  if (!meta) std::copy_n(all.data<double>(), values.size(), values.begin());
  return values;
}

}  // namespace choir
