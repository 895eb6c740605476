// The constants of a machine from times measured on it (`choir doctor --measure`): the inverse of
// plan/work_time.h and plan/collective_time.h. All fits minimise the squared logarithm of predicted
// over measured time, so that small and large samples count alike.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "plan/hardware.h"
#include "plan/workload.h"

namespace choir {

// Kernels that ran one after another, and how long all of them took.
struct TimedWork {
  std::vector<Work> works;
  double seconds = 0;
};

struct TimedExchange {
  ExchangeItem item;
  double seconds = 0;
};

// Sets host.kernel_seconds, memory (but for its capacity), products, shape, grouped_efficiency and
// attention. `samples` hold small and large kernels of kind kMemory and products of full operands
// (CHECKed); of what else is missing, the constants stay. `threads` work on tiles of a product. The
// peak is the best rate measured; the bandwidth is that of kernels of at least 1 MiB; where
// operands are rounded first, the time that takes beyond its bytes is counted to the product.
void FitWork(std::span<const TimedWork> samples, int threads, Hardware& hardware);

// Sets bytes_per_second and latencies of the levels that the samples crossed, for rings: those
// inside a node (as many ranks as ranks_per_node) of intra_node, those with one rank on each node
// of inter_node.
void FitLinks(std::span<const TimedExchange> samples, Links& links);

// How well the constants explain the samples that they came from: |predicted / measured - 1|.
struct FitError {
  std::string what;
  int samples = 0;
  double mean = 0, worst = 0;
};
std::vector<FitError> FitErrors(std::span<const TimedWork> samples, const Hardware& hardware);
std::vector<FitError> FitErrors(std::span<const TimedExchange> samples, const Links& links);

// Of kernels one after another on an idle device.
double PredictSeconds(const TimedWork& sample, const Hardware& hardware);

std::string_view Name(ExchangeKind kind);

}  // namespace choir
