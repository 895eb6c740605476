#include "plan/work_time.h"

#include <algorithm>
#include <cmath>

namespace choir {
namespace {

double RoundUp(double value, double unit) { return std::ceil(value / unit) * unit; }

double ByteSeconds(double bytes, const MemoryRate& memory) {
  if (bytes <= 0) return 0;
  return (bytes + memory.half_bytes) / (memory.bytes_per_second * memory.efficiency);
}

double ProductSeconds(const Work& work, const Hardware& hardware) {
  const ProductRate& rate = RateOf(hardware, work.operands);
  double share = rate.efficiency * ProductShapeShare(work, hardware.shape);
  if (work.kind == WorkKind::kGrouped) share *= hardware.grouped_efficiency;
  return work.flops / (rate.flops * share);
}

double AttentionSeconds(const Work& work, const Hardware& hardware) {
  const AttentionRate& attention = hardware.attention;
  const double n = static_cast<double>(std::max<int64_t>(work.n, 1));
  const double k = static_cast<double>(std::max<int64_t>(work.k, 1));
  const double share =
      attention.efficiency * n / (n + attention.n_half) * k / (k + attention.width_half);
  return work.flops / (RateOf(hardware, work.operands).flops * share);
}

}  // namespace

double ProductShapeShare(const Work& work, const ProductShape& shape) {
  if (work.m <= 0 || work.n <= 0 || work.k <= 0) return 1;
  const double groups = static_cast<double>(std::max<int64_t>(work.groups, 1));
  // A group of experts shares m; equal products have m rows each.
  const double rows = static_cast<double>(work.m) / (work.kind == WorkKind::kGrouped ? groups : 1);
  const double columns = static_cast<double>(work.n);
  const double padded_rows = RoundUp(rows, shape.tile_m);
  const double padded_columns = RoundUp(columns, shape.tile_n);
  const double tiles = groups * (padded_rows / shape.tile_m) * (padded_columns / shape.tile_n);
  const double rounds = tiles / shape.units;
  const double tail = (std::ceil(rounds) - rounds) * shape.tail_loss;
  const double k = static_cast<double>(work.k);
  return rows * columns / (padded_rows * padded_columns) * rounds / (rounds + tail) * k /
         (k + shape.k_half);
}

double WorkSeconds(const Work& work, const Hardware& hardware) {
  const double bytes = ByteSeconds(work.bytes, hardware.memory);
  if (work.flops <= 0) return bytes;
  switch (work.kind) {
    case WorkKind::kMatmul:
    case WorkKind::kGrouped:
      return std::max(bytes, ProductSeconds(work, hardware));
    case WorkKind::kAttention:
      return std::max(bytes, AttentionSeconds(work, hardware));
    case WorkKind::kMemory:
    case WorkKind::kOptimizer:
      return bytes;
  }
  return bytes;
}

}  // namespace choir
