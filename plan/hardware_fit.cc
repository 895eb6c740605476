#include "plan/hardware_fit.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <map>
#include <utility>

#include "base/check.h"
#include "plan/collective_time.h"
#include "plan/work_time.h"

namespace choir {
namespace {

using Samples = std::vector<const TimedWork*>;

// The kernel that a sample is about: its product, or else its last one.
const Work& Main(const TimedWork& sample) {
  for (const Work& work : sample.works) {
    if (work.flops > 0) return work;
  }
  return sample.works.back();
}

template <class Wanted>
Samples Select(std::span<const TimedWork> all, const Wanted& wanted) {
  Samples some;
  for (const TimedWork& sample : all) {
    CHECK(!sample.works.empty() && sample.seconds > 0);
    if (wanted(Main(sample))) some.push_back(&sample);
  }
  return some;
}

double MeanLogRatio(const Samples& samples, const Hardware& hardware) {
  double sum = 0;
  for (const TimedWork* s : samples) sum += std::log(PredictSeconds(*s, hardware) / s->seconds);
  return sum / static_cast<double>(samples.size());
}

double SquaredError(const Samples& samples, const Hardware& hardware) {
  double sum = 0;
  for (const TimedWork* s : samples) {
    sum += std::pow(std::log(PredictSeconds(*s, hardware) / s->seconds), 2);
  }
  return sum;
}

// Sets an efficiency so that the samples are neither too fast nor too slow in the mean. Not all of
// their time depends on it, hence the steps.
void FitShare(const Samples& samples, double& share, const Hardware& hardware) {
  constexpr double kLeast = 1e-6;
  for (int i = 0; i < 12; ++i) {
    share = std::clamp(share * std::exp(MeanLogRatio(samples, hardware)), kLeast, 1.0);
  }
}

constexpr double kLeastBytes = 1 << 20;

void FitMemory(std::span<const TimedWork> all, Hardware& hardware) {
  Samples samples = Select(all, [](const Work& w) { return w.kind == WorkKind::kMemory; });
  CHECK(samples.size() >= 2) << "kernels bound by memory";
  std::sort(samples.begin(), samples.end(),
            [](const TimedWork* a, const TimedWork* b) { return Main(*a).bytes < Main(*b).bytes; });
  const TimedWork &smallest = *samples.front(), &largest = *samples.back();
  hardware.host.kernel_seconds = smallest.seconds;
  MemoryRate& memory = hardware.memory;
  memory = {memory.bytes, Main(largest).bytes / largest.seconds};
  // The small ones are in caches, which this model does not know: those whose time matters count.
  std::erase_if(samples,
                [&](const TimedWork* s) { return s != &largest && Main(*s).bytes < kLeastBytes; });
  for (int i = 0; i < 12; ++i) {
    memory.bytes_per_second *= std::exp(MeanLogRatio(samples, hardware));
  }
  double best = SquaredError(samples, hardware);
  for (double half = 64; half < Main(largest).bytes; half *= 2) {
    Hardware tried = hardware;
    tried.memory.half_bytes = half;
    const double error = SquaredError(samples, tried);
    if (error >= best) continue;
    best = error;
    memory.half_bytes = half;
  }
}

// What a search for the shape of products may choose from.
std::vector<ProductShape> Shapes(int threads) {
  std::vector<ProductShape> shapes;
  for (const int m : {1, 4, 8, 16, 32, 64, 128, 256, 512}) {
    for (const int n : {1, 4, 8, 16, 32, 64, 128, 256, 512}) {
      for (const double tail : {0.0, 0.5, 1.0}) {
        if (tail > 0 && threads == 1) continue;
        for (double k = 1; k < 1000; k *= 1.5) shapes.push_back({m, n, threads, tail, k});
        shapes.push_back({m, n, threads, tail, 0});
      }
    }
  }
  return shapes;
}

void FitProducts(std::span<const TimedWork> all, int threads, Hardware& hardware) {
  const auto of_format = [&](MatmulFormat format) {
    return Select(all, [format](const Work& w) {
      return w.kind == WorkKind::kMatmul && w.operands == format;
    });
  };
  const Samples full = of_format(MatmulFormat::kFull);
  CHECK(!full.empty()) << "products of full operands";
  double peak = 0;
  for (const TimedWork* s : full) peak = std::max(peak, Main(*s).flops / s->seconds);
  hardware.products.full = {peak, 1};
  double best = 1e300;
  Hardware tried = hardware;
  for (const ProductShape& shape : Shapes(threads)) {
    tried.shape = shape;
    tried.products.full.efficiency = 1;
    FitShare(full, tried.products.full.efficiency, tried);
    const double error = SquaredError(full, tried);
    if (error >= best) continue;
    best = error;
    hardware.shape = shape;
    hardware.products.full = tried.products.full;
  }
  ProductRates& rates = hardware.products;
  const std::pair<MatmulFormat, ProductRate*> others[] = {
      {MatmulFormat::kBF16, &rates.bf16},
      {MatmulFormat::kF16, &rates.f16},
      {MatmulFormat::kFp8Block, &rates.fp8_block},
      {MatmulFormat::kMxfp8, &rates.mxfp8}};
  for (const auto& [format, rate] : others) {
    const Samples samples = of_format(format);
    if (samples.empty()) continue;
    *rate = {peak, 1};
    FitShare(samples, rate->efficiency, hardware);
  }
}

void FitAttention(std::span<const TimedWork> all, Hardware& hardware) {
  const Samples samples = Select(all, [](const Work& w) { return w.kind == WorkKind::kAttention; });
  if (samples.empty()) return;
  double best = 1e300;
  AttentionRate& found = hardware.attention;
  Hardware tried = hardware;
  for (double n_half = 0; n_half < 1e4; n_half = std::max(1.0, 1.3 * n_half)) {
    tried.attention = {1, n_half};
    FitShare(samples, tried.attention.efficiency, tried);
    const double error = SquaredError(samples, tried);
    if (error >= best) continue;
    best = error;
    found = tried.attention;
  }
}

// An exchange's seconds are linear in these: seconds a byte, step_seconds, message_seconds and
// call_seconds.
constexpr size_t kTerms = 4;
using Terms = std::array<double, kTerms>;

Terms TermsOf(const ExchangeItem& item) {
  Terms terms;
  for (size_t i = 0; i < kTerms; ++i) {
    // One constant at a time is 1, the others nearly nothing.
    constexpr double kInfinite = 1e30;
    LinkLevel level;
    level.bytes_per_second = i == 0 ? 1 : kInfinite;
    level.step_seconds = i == 1;
    level.message_seconds = i == 2;
    level.call_seconds = i == 3;
    terms[i] = ExchangeSeconds(item, {.ranks_per_node = item.ranks_per_node,
                                      .algorithm = CollectiveAlgorithm::kRing,
                                      .intra_node = level,
                                      .inter_node = level});
  }
  return terms;
}

// Least squares of relative errors with all terms at least zero, by coordinate descent: it is
// convex, so that the order does not matter.
Terms NonNegativeFit(const std::vector<TimedExchange>& samples) {
  std::vector<Terms> rows;
  for (const TimedExchange& s : samples) {
    rows.push_back(TermsOf(s.item));
    for (double& term : rows.back()) term /= s.seconds;
  }
  Terms x{};
  std::vector<double> left(rows.size(), 1);  // of each equation rows x = 1
  for (int sweep = 0; sweep < 20000; ++sweep) {
    for (size_t j = 0; j < kTerms; ++j) {
      double along = 0, square = 0;
      for (size_t i = 0; i < rows.size(); ++i) {
        along += rows[i][j] * left[i];
        square += rows[i][j] * rows[i][j];
      }
      if (square == 0) continue;
      const double next = std::max(0.0, x[j] + along / square);
      for (size_t i = 0; i < rows.size(); ++i) left[i] -= rows[i][j] * (next - x[j]);
      x[j] = next;
    }
  }
  return x;
}

void FitLevel(const std::vector<TimedExchange>& samples, LinkLevel& level) {
  if (samples.empty()) return;
  const Terms x = NonNegativeFit(samples);
  double largest = 0, seconds = 1;  // where no term of bytes was found
  for (const TimedExchange& s : samples) {
    if (s.item.bytes <= largest) continue;
    largest = s.item.bytes;
    seconds = s.seconds;
  }
  level.bytes_per_second = x[0] > 0 ? 1 / x[0] : largest / seconds;
  level.efficiency = 1;
  level.step_seconds = x[1];
  level.message_seconds = x[2];
  level.call_seconds = x[3];
  level.reduce_factor = 1;
}

std::vector<FitError> Summarize(const std::map<std::string, std::vector<double>>& ratios) {
  std::vector<FitError> errors;
  for (const auto& [what, list] : ratios) {
    FitError error{what, static_cast<int>(list.size())};
    for (const double ratio : list) {
      error.mean += std::abs(ratio - 1) / static_cast<double>(list.size());
      error.worst = std::max(error.worst, std::abs(ratio - 1));
    }
    errors.push_back(error);
  }
  return errors;
}

}  // namespace

double PredictSeconds(const TimedWork& sample, const Hardware& hardware) {
  double seconds = 0;
  for (const Work& work : sample.works) {
    seconds += WorkSeconds(work, hardware) + hardware.host.kernel_seconds;
  }
  return seconds;
}

void FitWork(std::span<const TimedWork> samples, int threads, Hardware& hardware) {
  FitMemory(samples, hardware);
  FitProducts(samples, threads, hardware);
  const Samples grouped =
      Select(samples, [](const Work& w) { return w.kind == WorkKind::kGrouped; });
  if (!grouped.empty()) FitShare(grouped, hardware.grouped_efficiency = 1, hardware);
  FitAttention(samples, hardware);
}

void FitLinks(std::span<const TimedExchange> samples, Links& links) {
  std::vector<TimedExchange> inside, between;
  for (const TimedExchange& s : samples) {
    CHECK(s.item.ranks > 1 && s.seconds > 0);
    CHECK(s.item.ranks_per_node == 1 || s.item.ranks_per_node >= s.item.ranks) << "both levels";
    (s.item.ranks_per_node == 1 ? between : inside).push_back(s);
  }
  links.algorithm = CollectiveAlgorithm::kRing;
  FitLevel(inside, links.intra_node);
  FitLevel(between, links.inter_node);
}

std::vector<FitError> FitErrors(std::span<const TimedWork> samples, const Hardware& hardware) {
  std::map<std::string, std::vector<double>> ratios;
  for (const TimedWork& s : samples) {
    const Work& work = Main(s);
    std::string what = work.name;
    if (work.operands != MatmulFormat::kFull) what += ", rounded operands";
    ratios[what].push_back(PredictSeconds(s, hardware) / s.seconds);
  }
  return Summarize(ratios);
}

std::vector<FitError> FitErrors(std::span<const TimedExchange> samples, const Links& links) {
  std::map<std::string, std::vector<double>> ratios;
  for (const TimedExchange& s : samples) {
    const char* level = s.item.ranks_per_node == 1 ? " between nodes" : " inside a node";
    ratios[std::string(Name(s.item.kind)) + level].push_back(ExchangeSeconds(s.item, links) /
                                                             s.seconds);
  }
  return Summarize(ratios);
}

std::string_view Name(ExchangeKind kind) {
  switch (kind) {
    case ExchangeKind::kAllReduce:
      return "all-reduce";
    case ExchangeKind::kAllGather:
      return "all-gather";
    case ExchangeKind::kReduceScatter:
      return "reduce-scatter";
    case ExchangeKind::kAllToAll:
      return "all-to-all";
    case ExchangeKind::kSend:
      return "send";
  }
  return "";
}

}  // namespace choir
