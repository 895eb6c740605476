#include "train/measure_work.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <limits>

#include "ops/attention.h"
#include "ops/elementwise.h"
#include "ops/grouped_matmul.h"
#include "ops/low_product.h"

namespace choir {
namespace {

constexpr TensorOptions kWorkspace{DType::kF32, Device::kCpu, MemoryCategory::kWorkspace};

double Seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Values that no kernel treats apart, as it might zeros.
Tensor Filled(const Shape& shape) {
  Tensor x = Tensor::Empty(shape, kWorkspace);
  float* values = x.data<float>();
  for (int64_t i = 0; i < x.NumElements(); ++i) {
    values[i] = static_cast<float>(i % 13 - 6) * 0.125F;
  }
  return x;
}

class Timer {
 public:
  explicit Timer(double seconds_each) : seconds_each_(seconds_each) {}

  void Time(const std::function<void()>& run) {
    TimedWork sample;
    {
      const WorkListener listener = [&](const Work& work) { sample.works.push_back(work); };
      const ScopedWorkListener listening(listener);
      run();
    }
    CHECK(!sample.works.empty()) << "a kernel that tells nothing";
    sample.seconds = Fastest(run);
    samples_.push_back(std::move(sample));
  }
  std::vector<TimedWork> Take() { return std::move(samples_); }

 private:
  // The clock costs too much for one short run: a batch takes at least kBatch.
  double Fastest(const std::function<void()>& run) const {
    constexpr double kBatch = 1e-4;
    constexpr int kLeast = 3;
    double fastest = std::numeric_limits<double>::infinity();
    int count = 1;
    const double end = Seconds() + seconds_each_;
    for (int i = 0; i < kLeast || Seconds() < end; ++i) {
      const double start = Seconds();
      for (int j = 0; j < count; ++j) run();
      const double seconds = Seconds() - start;
      fastest = std::min(fastest, seconds / count);
      if (seconds < kBatch) count *= 2;
    }
    return fastest;
  }

  double seconds_each_;
  std::vector<TimedWork> samples_;
};

void TimeMemory(Timer& timer) {
  constexpr int64_t kLargest = int64_t{16} << 20;  // elements: 64 MiB a tensor
  const Tensor to = Filled({kLargest}), from = Filled({kLargest});
  for (int64_t n = 16; n <= kLargest; n *= 4) {
    timer.Time([&] { AddInto(to.Rows(0, n), from.Rows(0, n)); });
  }
}

void TimeProduct(Timer& timer, int64_t m, int64_t n, int64_t k, MatmulFormat format) {
  const Tensor a = Filled({m, k}), b = Filled({n, k}), c = Filled({m, n});
  const MatmulPrecision precision{format};
  timer.Time([&] {
    ProductInto(c, {a}, {b, Transpose::kYes, OperandRole::kWeight}, 0, precision, {});
  });
}

void TimeProducts(Timer& timer) {
  for (const int64_t m : {16, 64, 256, 1024}) {
    for (const int64_t n : {64, 256, 1024}) {
      for (const int64_t k : {64, 256, 1024}) TimeProduct(timer, m, n, k, MatmulFormat::kFull);
    }
  }
  TimeProduct(timer, 1536, 1536, 1536, MatmulFormat::kFull);
  for (const MatmulFormat format :
       {MatmulFormat::kBF16, MatmulFormat::kF16, MatmulFormat::kFp8Block, MatmulFormat::kMxfp8}) {
    for (const int64_t size : {256, 768}) TimeProduct(timer, size, size, size, format);
  }
}

void TimeExperts(Timer& timer) {
  constexpr int64_t kExperts = 8;
  for (const int64_t rows : {256, 1024, 4096}) {
    for (const int64_t width : {64, 256}) {
      Parameter w;
      w.name = "experts";
      w.value = Filled({kExperts, width, 256});
      std::vector<int32_t> bounds;
      for (int64_t e = 0; e <= kExperts; ++e) {
        bounds.push_back(static_cast<int32_t>(rows * e / kExperts));
      }
      const Tensor offsets = Tensor::From<int32_t>({kExperts + 1}, bounds);
      const Tensor x = Filled({rows, 256});
      timer.Time([&] {
        Tape tape(/*recording=*/false);
        GroupedLinear(tape, tape.Input(x), w, offsets);
      });
    }
  }
}

void TimeAttention(Timer& timer) {
  constexpr int64_t kGroups = 4, kQueries = 2, kWidth = 64;
  for (const int32_t tokens : {64, 256, 1024, 2048}) {
    const Tensor qkv = Filled({tokens, kGroups, kQueries + 2, kWidth});
    const std::vector<int32_t> document = {0, tokens};
    constexpr double kScale = 0.125;
    timer.Time([&] { AttendCausal(qkv, document, kScale); });
    const AttentionResult result = AttendCausal(qkv, document, kScale);
    const Tensor dout = Filled(result.out.shape());
    timer.Time([&] {
      AttendCausalBackward({qkv, result.out, result.lse, dout}, document, kScale);
    });
  }
}

}  // namespace

std::vector<TimedWork> MeasureWork(double seconds_each) {
  Timer timer(seconds_each);
  TimeMemory(timer);
  TimeProducts(timer);
  TimeExperts(timer);
  TimeAttention(timer);
  return timer.Take();
}

}  // namespace choir
