// The formats of values and moments against the update in float32, and on shards of any layout.
#include <gtest/gtest.h>

#include <cstring>
#include <numeric>

#include "ops/numerics.h"
#include "optim/optimizer.h"
#include "tensor/tolerance.h"
#include "tests/optim/optimizer_testing.h"

namespace choir {
namespace {

enum class ValueFormat { kF32, kMaster, kStochastic };

struct Formats {
  ValueFormat value;
  MomentFormat m, v;

  DType dtype() const { return value == ValueFormat::kF32 ? DType::kF32 : DType::kBF16; }
  TargetPrecision precision() const { return {value == ValueFormat::kMaster, m, v}; }
};

std::vector<Formats> AllFormats() {
  std::vector<Formats> all;
  for (const auto value : {ValueFormat::kF32, ValueFormat::kMaster, ValueFormat::kStochastic}) {
    for (const auto m : {MomentFormat::kF32, MomentFormat::kBF16, MomentFormat::kInt8}) {
      for (const auto v : {MomentFormat::kF32, MomentFormat::kBF16, MomentFormat::kInt8}) {
        all.push_back({value, m, v});
      }
    }
  }
  return all;
}

std::ostream& operator<<(std::ostream& s, const Formats& f) {
  return s << "value " << static_cast<int>(f.value) << " m " << static_cast<int>(f.m) << " v "
           << static_cast<int>(f.v);
}

// Largest relative error of one stochastic rounding of a number that is in range.
double Gap(MomentFormat format, bool root) {
  if (format == MomentFormat::kF32) return 0;
  if (format == MomentFormat::kBF16) return 2 * UnitRoundoff(DType::kBF16);
  return std::exp2(16.0 / (root ? 254 : 126)) - 1;
}

void ExpectNear(const Tensor& got, const Tensor& want, double gap, bool square, const char* what) {
  const std::vector<double> a = AsDoubles(got), b = AsDoubles(want);
  double largest = 0;
  for (double x : b) largest = std::max(largest, std::abs(x));
  for (size_t i = 0; i < a.size(); ++i) {
    const double error =
        square ? std::abs(std::sqrt(a[i]) - std::sqrt(b[i])) : std::abs(a[i] - b[i]);
    const double size = square ? std::sqrt(b[i]) : std::abs(b[i]);
    // Below the map of 8 bits: up to its smallest code.
    const double floor = gap > 0.01 ? 0x1p-16 * (square ? std::sqrt(largest) : largest) : 0;
    EXPECT_LE(error, gap * size + floor) << what << " " << i << " " << a[i] << " " << b[i];
  }
}

// One step from the same numbers: what is not rounded has the bits of the update in float32, what
// is is one rounding away.
void CompareWithFloat(const Formats& formats, OptimKind kind) {
  SCOPED_TRACE(::testing::Message() << formats << " " << EnumToString(kind));
  OptimConfig config;
  config.kind = kind;
  Parameter p = DrawParameter("w", {5, 300}, formats.dtype());
  Parameter plain = DrawParameter("w", {5, 300});
  Optimizer optimizer(config, WholeTargets({&p}, formats.precision()));
  Optimizer reference(config, WholeTargets({&plain}));
  for (int64_t step = 1; step <= 4; ++step) {
    DrawGradient(p, step);
    DrawGradient(plain, step);
    reference.WriteValue(0, optimizer.ReadValue(0));
    for (const std::string& name : optimizer.StateNames(0)) {
      reference.WriteState(0, name, optimizer.ReadState(0, name));
    }
    reference.Step({1e-2, 0.5});
    optimizer.Step({1e-2, 0.5});
    const double value_gap =
        formats.value == ValueFormat::kStochastic ? 2 * UnitRoundoff(DType::kBF16) : 0;
    ExpectNear(optimizer.ReadValue(0), plain.value, value_gap, false, "value");
    ExpectNear(optimizer.ReadState(0, "m"), reference.ReadState(0, "m"), Gap(formats.m, false),
               false, "m");
    if (kind == OptimKind::kAdamW) {
      const bool root = formats.v == MomentFormat::kInt8;
      ExpectNear(optimizer.ReadState(0, "v"), reference.ReadState(0, "v"), Gap(formats.v, true),
                 root, "v");
    }
    if (formats.value != ValueFormat::kMaster) continue;
    for (int64_t i = 0; i < plain.value.NumElements(); ++i) {
      EXPECT_EQ(p.value.data<BFloat16>()[i], ToBFloat16(plain.value.data<float>()[i]));
    }
  }
}

TEST(Formats, AStepIsTheOneInFloatUpToItsRoundings) {
  for (const Formats& formats : AllFormats()) CompareWithFloat(formats, OptimKind::kAdamW);
  for (const auto kind : {OptimKind::kLion, OptimKind::kSgd}) {
    CompareWithFloat({ValueFormat::kStochastic, MomentFormat::kInt8, MomentFormat::kF32}, kind);
    CompareWithFloat({ValueFormat::kMaster, MomentFormat::kBF16, MomentFormat::kF32}, kind);
  }
}

TEST(Formats, WritingWhatWasReadChangesNothing) {
  for (const Formats& formats : AllFormats()) {
    SCOPED_TRACE(::testing::Message() << formats);
    // One stops after three steps, and another goes on from what it wrote down.
    Parameter p = DrawParameter("w", {3, 130}, formats.dtype());
    Parameter q = DrawParameter("w", {3, 130}, formats.dtype());
    Optimizer through({}, WholeTargets({&p}, formats.precision()));
    Optimizer resumed({}, WholeTargets({&q}, formats.precision()));
    for (int64_t step = 1; step <= 5; ++step) {
      DrawGradient(p, step);
      through.Step({1e-2});
      if (step == 3) {
        resumed.set_step(step);
        resumed.WriteValue(0, through.ReadValue(0).Clone());
        for (const char* name : {"m", "v"}) {
          resumed.WriteState(0, name, through.ReadState(0, name).Clone());
        }
      } else if (step > 3) {
        DrawGradient(q, step);
        resumed.Step({1e-2});
      }
    }
    EXPECT_EQ(AsDoubles(through.ReadValue(0)), AsDoubles(resumed.ReadValue(0)));
    EXPECT_EQ(AsDoubles(p.value), AsDoubles(q.value));
    for (const char* name : {"m", "v"}) {
      EXPECT_EQ(AsDoubles(through.ReadState(0, name)), AsDoubles(resumed.ReadState(0, name)));
    }
  }
}

// A layout of a matrix [R, G, C]: dim `dim` over the tensor axis, then the flat part over shards.
struct Cut {
  int dim, tensor, shards;
};

// The value and moments of every rank's shard after some steps, put into whole tensors.
std::vector<std::vector<double>> RunCut(const Formats& formats, const Shape& shape, const Cut& cut,
                                        const Layout& layout) {
  const Degrees degrees{.shard = cut.shards, .tensor = cut.tensor};
  const Mesh mesh(degrees);
  const Placement placement{shape, layout};
  std::vector<std::vector<double>> whole(3, std::vector<double>(size_t(shape.NumElements())));
  for (int rank = 0; rank < mesh.size(); ++rank) {
    const Slice slice = LocalSlice(shape, layout, mesh, rank);
    const int64_t local = slice.count.NumElements(), width = slice.count.dim(-1);
    const int shard = mesh.Coord(rank, Axis::kShard);
    // Rows of the last dim are whole.
    const int64_t begin = PieceBegin(local / width, cut.shards, shard) * width;
    const int64_t end = PieceBegin(local / width, cut.shards, shard + 1) * width;
    Parameter p;
    p.name = "w";
    Tensor value = Tensor::Zeros({end - begin}, {formats.dtype()});
    const Tensor grad = Tensor::Zeros({end - begin}, {});
    const Parameter all = DrawParameter("w", shape, formats.dtype());
    const int64_t size = SizeOf(value.dtype());
    for (int64_t i = 0; i < end - begin; ++i) {
      const int64_t at = GlobalIndex(shape, slice, begin + i);
      std::memcpy(static_cast<char*>(value.raw()) + i * size,
                  static_cast<char*>(all.value.raw()) + at * size, size_t(size));
    }
    Optimizer optimizer({}, {{&p, placement, slice, begin, value, grad, formats.precision()}});
    for (int64_t step = 1; step <= 3; ++step) {
      for (int64_t i = 0; i < end - begin; ++i) {
        grad.data<float>()[i] =
            static_cast<float>(GradientAt("w", step, GlobalIndex(shape, slice, begin + i)));
      }
      optimizer.Step({1e-2});
    }
    const std::vector<double> parts[] = {AsDoubles(value), AsDoubles(optimizer.ReadState(0, "m")),
                                         AsDoubles(optimizer.ReadState(0, "v"))};
    for (size_t part = 0; part < 3; ++part) {
      for (int64_t i = 0; i < end - begin; ++i) {
        whole[part][size_t(GlobalIndex(shape, slice, begin + i))] = parts[part][size_t(i)];
      }
    }
  }
  return whole;
}

TEST(Formats, SlowEveryLayoutGivesTheSameBits) {
  const Shape shape{8, 3, 280};  // pieces of 35, or rows of two whole blocks and a part
  for (const Formats& formats : AllFormats()) {
    SCOPED_TRACE(::testing::Message() << formats);
    for (int dim = 0; dim < 3; dim += 2) {
      const Layout layout = Layout::Split(dim, Axis::kTensor);
      const auto want = RunCut(formats, shape, {dim, 1, 1}, layout);
      for (const Cut& cut : {Cut{dim, 2, 1}, Cut{dim, 8, 1}, Cut{dim, 1, 3}, Cut{dim, 4, 2}}) {
        EXPECT_EQ(RunCut(formats, shape, cut, layout), want)
            << "dim " << dim << " tensor " << cut.tensor << " shards " << cut.shards;
      }
    }
  }
}

TEST(Formats, EightBitsNeedWholeRows) {
  Parameter p = DrawParameter("w", {4, 10});
  std::vector<OptimTarget> targets = WholeTargets({&p}, {false, MomentFormat::kInt8});
  targets[0].begin = 5;
  targets[0].value = targets[0].value.Rows(5, 20);
  targets[0].grad = targets[0].grad.Rows(5, 20);
  EXPECT_DEATH(Optimizer({}, targets), "cut inside of a row");
}

TEST(Formats, VectorsKeepTheirMomentsInFloat) {
  Parameter p = DrawParameter("norm", {64}, DType::kBF16);
  Optimizer optimizer({}, WholeTargets({&p}, {true, MomentFormat::kInt8, MomentFormat::kBF16}));
  EXPECT_EQ(optimizer.StateBytes(0), 64 * 12);
}

TEST(Formats, BytesOfTheStateAreTheDocumentedOnes) {
  for (const Formats& formats : AllFormats()) {
    for (const auto kind : {OptimKind::kAdamW, OptimKind::kLion, OptimKind::kSgd}) {
      OptimConfig config;
      config.kind = kind;
      MemoryLedger ledger;
      const ScopedLedger scoped(Device::kCpu, ledger);
      {
        const Parameter p = DrawParameter("w", {3, 256}, formats.dtype());
        Parameter q = p;
        Optimizer optimizer(config, WholeTargets({&q}, formats.precision()));
        const double documented = StateBytesPerParameter(formats.precision(), kind) * 3 * 256;
        EXPECT_EQ(static_cast<double>(optimizer.StateBytes(0)), documented) << formats;
        // The ledger counts blocks of 64 bytes.
        const auto counted = static_cast<double>(ledger.Current(MemoryCategory::kOptimizer));
        EXPECT_GE(counted, documented) << formats;
        EXPECT_LT(counted, documented + 5 * kAlignment) << formats;
      }
    }
  }
}

// Updates below half a step of bf16: with stochastic rounding they add up, to nearest all are lost.
TEST(Formats, SmallUpdatesAddUpOnlyWithStochasticRounding) {
  constexpr int64_t kElements = 4096;
  constexpr int kSteps = 50;
  OptimConfig config;
  config.kind = OptimKind::kSgd;
  config.beta1 = 0;
  config.weight_decay = 0;
  for (const bool stochastic : {true, false}) {
    Parameter p;
    p.name = "w";
    p.value = Tensor::Zeros({1, kElements}, {DType::kBF16});
    p.grad = Tensor::Zeros({1, kElements}, {});
    for (BFloat16& w : p.value.span<BFloat16>()) w = ToBFloat16(1.5f);
    for (float& g : p.grad.span<float>()) g = 1;
    Optimizer optimizer(config, WholeTargets({&p}), {.seed = 1, .stochastic_values = stochastic});
    constexpr double kUpdate = 1e-3;  // a step of bf16 is 2^-7
    for (int step = 0; step < kSteps; ++step) optimizer.Step({kUpdate});
    const std::vector<double> w = AsDoubles(p.value);
    const double mean = std::accumulate(w.begin(), w.end(), 0.0) / kElements;
    if (stochastic) {
      const double sigma = 0x1p-7 / 2 * std::sqrt(double{kSteps}) / std::sqrt(double{kElements});
      EXPECT_NEAR(mean, 1.5 - kSteps * kUpdate, 5 * sigma);
    } else {
      EXPECT_EQ(mean, 1.5);
    }
  }
}

// At 1 - beta2 = 2^-10 a second moment that is rounded to nearest in bf16 or 8 bits never decays.
// The first of each block is kept where it is, so that the others move through the codes.
TEST(Formats, SecondMomentsDecayOnAverage) {
  constexpr int64_t kElements = 4096;
  constexpr int kSteps = 710;  // half of it is left
  OptimConfig config;
  config.beta2 = 1 - 0x1p-10;
  for (const auto format : {MomentFormat::kBF16, MomentFormat::kInt8}) {
    Parameter p = DrawParameter("w", {1, kElements});
    Optimizer optimizer(config, WholeTargets({&p}, {false, MomentFormat::kF32, format}));
    const Tensor start = Tensor::Zeros({kElements}, {});
    for (int64_t i = 0; i < kElements; ++i) {
      start.data<float>()[i] = i % kMomentBlock == 0 ? 4 : 1;
      p.grad.data<float>()[i] = i % kMomentBlock == 0 ? 2 : 0;
    }
    optimizer.WriteState(0, "v", start);
    for (int step = 0; step < kSteps; ++step) optimizer.Step({1e-3});
    // Rounding keeps the mean of what it rounds: v itself in bf16, its root in 8 bits.
    const bool root = format == MomentFormat::kInt8;
    double sum = 0;
    const std::vector<double> v = AsDoubles(optimizer.ReadState(0, "v"));
    for (size_t i = 0; i < v.size(); ++i) {
      if (i % kMomentBlock != 0) sum += root ? std::sqrt(v[i]) : v[i];
    }
    const double count = kElements - kElements / kMomentBlock;
    const double want = std::pow(config.beta2, root ? kSteps / 2.0 : kSteps);
    // The variance that each step adds is at most (gap / 2)^2, relative to the number then.
    const double sigma = Gap(format, true) / 2 * std::sqrt(kSteps / count);
    EXPECT_NEAR(sum / count / want, 1, 5 * sigma) << static_cast<int>(format);
  }
}

}  // namespace
}  // namespace choir
