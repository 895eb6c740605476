#include "parallel/zero/rounded_exchange.h"

#include <numeric>

#include "ops/parallel_for.h"
#include "ops/work.h"
#include "tensor/cast.h"

namespace choir {

void RoundedExchange::Reserve(int64_t sent, int64_t received, Device device) {
  const TensorOptions options{DType::kBF16, device, MemoryCategory::kCommunication};
  sent_room_ = Tensor::Empty({sent}, options);
  received_room_ = Tensor::Empty({received}, options);
}

Event RoundedExchange::Start(Communicator& group, const Tensor& x, std::span<const int64_t> counts,
                             const Encode& encode) {
  members_ = group.size();
  const auto mine = counts.begin() + group.rank();
  mine_ = x.Rows(std::accumulate(counts.begin(), mine, int64_t{0}), *mine);
  if (!sent_room_.defined()) Reserve(x.NumElements(), *mine * members_, x.device());
  sent_ = sent_room_.Rows(0, x.NumElements());
  received_ = received_room_.Rows(0, *mine * members_);
  RecordWork(MemoryWork("round_gradient", x, sent_));
  if (x.device() != Device::kMeta) {
    BFloat16* codes = sent_.data<BFloat16>();
    ParallelRanges(x.NumElements(), kElementGrain,
                   [&](int64_t begin, int64_t end) { encode(begin, end - begin, codes + begin); });
  }
  const std::vector<int64_t> receive(static_cast<size_t>(members_), *mine);
  return group.AllToAll(received_, receive, sent_, counts);
}

void RoundedExchange::Finish() {
  const int64_t n = mine_.NumElements();
  RecordWork(MemoryWork("sum_rounded", received_, mine_));
  if (mine_.device() != Device::kMeta) {
    float* sum = mine_.data<float>();
    const BFloat16* codes = received_.data<BFloat16>();
    ParallelRanges(n, kElementGrain, [&](int64_t begin, int64_t end) {
      constexpr int64_t kBlock = 512;
      float total[kBlock], term[kBlock];
      for (int64_t i = begin; i < end; i += kBlock) {
        const int64_t count = std::min(kBlock, end - i);
        std::fill_n(total, count, 0.0F);
        for (int member = 0; member < members_; ++member) {
          ToFloats(codes + member * n + i, term, count);
          for (int64_t j = 0; j < count; ++j) total[j] += term[j];
        }
        std::copy_n(total, count, sum + i);
      }
    });
  }
  mine_ = sent_ = received_ = Tensor();
}

}  // namespace choir
