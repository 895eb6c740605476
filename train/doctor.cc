#include "train/doctor.h"

#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <numeric>
#include <thread>

#include "base/strings.h"
#include "checkpoint/hdf5_file.h"
#include "ops/gemm.h"
#include "ops/parallel_for.h"
#include "optim/precision_config.h"
#include "parallel/comm/local_world.h"
#include "parallel/comm/mpi_comm.h"
#include "plan/collective_time.h"
#include "tensor/cuda_device.h"
#include "train/measure_links.h"
#include "train/measure_work.h"
#include "train/trainer.h"

namespace choir {
namespace {

// The value of the first line "key : value"; empty if there is none.
std::string ValueIn(const char* file, const std::string& key) {
  std::ifstream stream(file);
  for (std::string line; std::getline(stream, line);) {
    if (line.rfind(key, 0) != 0) continue;
    const size_t colon = line.find(':');
    const size_t begin = line.find_first_not_of(" \t", colon + 1);
    return begin == std::string::npos ? "" : line.substr(begin);
  }
  return "";
}

std::string Processor() {
  const std::string name = ValueIn("/proc/cpuinfo", "model name");
  return name.empty() ? "unknown processor" : name;
}

double MemoryBytes() {
  return static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGE_SIZE));
}

// "12.3 GiB"
std::string Gib(double bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f GiB", bytes / (1 << 30));
  return text;
}

std::string Line(const char* what, const std::string& value) {
  char text[32];
  std::snprintf(text, sizeof text, "%-11s ", what);
  return text + value + "\n";
}

int RanksOfNode(const World* world) { return world == nullptr ? 1 : world->node_size(); }

std::string Notes(const World* world) {
  std::string notes;
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  const int asked = NumThreads() * RanksOfNode(world);
  if (asked > cores) {
    notes += Line("note", StrCat(asked, " threads of all ranks on ", cores,
                                 " processors: set OMP_NUM_THREADS to ",
                                 std::max(1, cores / RanksOfNode(world))));
  }
  const char* policy = std::getenv("OMP_WAIT_POLICY");
  if (policy == nullptr && NumThreads() > 1) {
    notes += Line("note",
                  "OMP_WAIT_POLICY is not set: on a machine that others use too, set it to "
                  "passive");
  }
  return notes;
}

Hardware Known(const World* world) {
  Hardware hardware;
  const int ranks = RanksOfNode(world);
  hardware.name =
      StrCat(Processor(), "; threads of a rank: ", NumThreads(), ", ranks in a node: ", ranks);
  hardware.sources = {StrCat("choir doctor --measure, choir ", CodeVersion())};
  hardware.memory.bytes = MemoryBytes() / ranks;
  hardware.links.ranks_per_node = ranks;
  return hardware;
}

double Seconds(clockid_t clock) {
  timespec time;
  CHECK(clock_gettime(clock, &time) == 0);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

void Wait(World* world) {
  if (world == nullptr) return;
  std::vector<int> ranks(static_cast<size_t>(world->size()));
  std::iota(ranks.begin(), ranks.end(), 0);
  world->Group(ranks, "all").Barrier().Wait();
}

std::string Rate(const char* what, double value, double unit, const char* name) {
  char text[64];
  std::snprintf(text, sizeof text, "%.4g %s", value / unit, name);
  return Line(what, text);
}

// "[1024, 64] x [64, 256]", or bytes where there is no product.
std::string ShapeOf(const Work& work) {
  if (work.kind == WorkKind::kAttention) return StrCat(work.n, " tokens");
  if (work.flops == 0) return StrCat(static_cast<int64_t>(work.bytes), " bytes");
  const std::string groups = work.groups > 1 ? StrCat(work.groups, " experts, ") : "";
  return StrCat(groups, "[", work.m, ", ", work.k, "] x [", work.k, ", ", work.n, "]");
}

std::string Sample(const std::string& what, const std::string& shape, double seconds, double rate,
                   double predicted) {
  char line[160];
  std::snprintf(line, sizeof line, "%-24s %-38s %12.2f us %9.2f %12.2f us\n", what.c_str(),
                shape.c_str(), seconds * 1e6, rate / 1e9, predicted * 1e6);
  return line;
}

std::string DescribeSamples(const Measurement& m) {
  char head[160];
  std::snprintf(head, sizeof head, "%-24s %-38s %15s %9s %15s\n", "kernel or exchange", "size",
                "time", "G.../s", "by constants");
  std::string text = head;
  for (const TimedWork& s : m.kernels) {
    const Work& work = s.works.back();
    const double amount = work.flops > 0 ? work.flops : work.bytes;
    std::string what = work.name;
    if (work.operands != MatmulFormat::kFull) what += StrCat(" ", EnumToString(work.operands));
    text +=
        Sample(what, ShapeOf(work), s.seconds, amount / s.seconds, PredictSeconds(s, m.hardware));
  }
  for (const TimedExchange& s : m.exchanges) {
    const std::string ranks = StrCat(static_cast<int64_t>(s.item.bytes), " bytes, ", s.item.ranks,
                                     s.item.ranks_per_node == 1 ? " nodes" : " ranks");
    text += Sample(std::string(Name(s.item.kind)), ranks, s.seconds, s.item.bytes / s.seconds,
                   ExchangeSeconds(s.item, m.hardware.links));
  }
  return text;
}

std::string DescribeLevel(const char* what, const LinkLevel& level) {
  if (level.bytes_per_second == 0) return Line(what, "not measured");
  char text[128];
  std::snprintf(text, sizeof text, "%.4g GB/s, a call %.3g us, a step %.3g us, a message %.3g us",
                level.bytes_per_second / 1e9, level.call_seconds * 1e6, level.step_seconds * 1e6,
                level.message_seconds * 1e6);
  return Line(what, text);
}

}  // namespace

std::string DescribeMachine(const World* world) {
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  std::string text = Line("choir", CodeVersion());
  text += Line("processor", StrCat(Processor(), ", ", cores, " processors"));
  text += Line("memory", Gib(MemoryBytes()));
  text += Line("devices", CudaBuilt() ? StrCat("cpu, ", CudaDeviceCount(), " CUDA devices")
                                      : "cpu (built without CUDA)");
  const int ranks = world == nullptr ? 1 : world->size();
  text += Line("ranks", StrCat(ranks, ", ", RanksOfNode(world), " in a node, ", NumThreads(),
                               " threads each"));
  text += Line("BLAS", GemmLibrary());
  text += Line("MPI", MpiLibrary());
  text += Line("HDF5", Hdf5Library());
  return text + Notes(world);
}

Measurement MeasureMachine(World* world, double seconds_each) {
  const bool speaks = world == nullptr || world->rank() == 0;
  Measurement result;
  Hardware& hardware = result.hardware = Known(world);
  Wait(world);
  const double start = Seconds(CLOCK_MONOTONIC), cpu = Seconds(CLOCK_THREAD_CPUTIME_ID);
  std::vector<TimedWork>& kernels = result.kernels = MeasureWork(seconds_each);
  result.running = (Seconds(CLOCK_THREAD_CPUTIME_ID) - cpu) / (Seconds(CLOCK_MONOTONIC) - start);
  Wait(world);
  std::vector<TimedExchange>& exchanges = result.exchanges;
  if (world != nullptr && world->size() > 1) {
    exchanges = MeasureExchanges(*world);
    hardware.overlap = MeasureOverlap(*world);
  }
  if (!speaks) return {};
  FitWork(kernels, NumThreads(), hardware);
  FitLinks(exchanges, hardware.links);
  result.errors = FitErrors(kernels, hardware);
  for (FitError& error : FitErrors(exchanges, hardware.links)) {
    result.errors.push_back(std::move(error));
  }
  return result;
}

absl::StatusOr<Measurement> MeasureThreads(int ranks, double seconds_each) {
  Measurement result;
  const absl::Status status = RunLocal(ranks, {}, [&](World& world) {
    Measurement mine = MeasureMachine(&world, seconds_each);
    if (world.rank() == 0) result = std::move(mine);
  });
  if (!status.ok()) return status;
  return result;
}

std::string DescribeMeasurement(const Measurement& measurement) {
  const Hardware& h = measurement.hardware;
  std::string text = DescribeSamples(measurement) + "\nOf one rank while all work:\n";
  const auto product = [&](const char* what, const ProductRate& rate) {
    text += Rate(what, rate.flops * rate.efficiency, 1e9, "GFLOP/s");
  };
  product("products", h.products.full);
  product("bf16", h.products.bf16);
  product("f16", h.products.f16);
  product("fp8_block", h.products.fp8_block);
  product("mxfp8", h.products.mxfp8);
  const double full = h.products.full.flops;
  text += Rate("attention", full * h.attention.efficiency, 1e9, "GFLOP/s (long documents)");
  text += Rate("experts", 100 * h.grouped_efficiency, 1, "% of an equal product's rate");
  text += Rate("memory", h.memory.bytes_per_second, 1e9, "GB/s");
  text += Rate("a kernel", h.host.kernel_seconds, 1e-6, "us before it does anything");
  text += DescribeLevel("node", h.links.intra_node);
  text += DescribeLevel("nodes", h.links.inter_node);
  if (measurement.running < 0.8) {
    char note[160];
    std::snprintf(note, sizeof note,
                  "others used the processors: this thread ran %.0f %% of the time. Measure again "
                  "on an idle machine",
                  100 * measurement.running);
    text += Line("note", note);
  }
  text += "\nThese constants against what was measured:\n";
  for (const FitError& error : measurement.errors) {
    char line[160];
    std::snprintf(line, sizeof line,
                  "%-44s %3d samples, off by %5.1f %% in the mean, %5.1f %% at most\n",
                  error.what.c_str(), error.samples, 100 * error.mean, 100 * error.worst);
    text += line;
  }
  return text;
}

}  // namespace choir
