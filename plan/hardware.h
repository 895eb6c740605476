// What a machine can do: the constants of the time model, read from a YAML file
// (configs/hardware/*.yaml, or what `choir doctor --measure` wrote). How they make a time is in
// plan/work_time.h and plan/collective_time.h. Units: seconds, bytes, FLOP (multiply and add count
// as two); shares are of 1.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/config.h"
#include "ops/matmul_format.h"

namespace choir {

// How fast operands of one format are multiplied.
struct ProductRate {
  double flops = 0;       // a second, by the data sheet (dense); 0: not in this format
  double efficiency = 1;  // share of it that large products reach
  void Visit(auto&& v) {
    v("flops", flops, "peak FLOP/s of the device, dense; 0: it has no such units", AtLeast(0));
    v("efficiency", efficiency, "share of the peak that a large product reaches", Above(0),
      AtMost(1));
  }
};

// A device without units for a format multiplies the rounded operands in the next wider one:
// mxfp8 as fp8_block, fp8_block and f16 as bf16, bf16 as full.
struct ProductRates {
  ProductRate full;
  ProductRate bf16;
  ProductRate f16;
  ProductRate fp8_block;
  ProductRate mxfp8;
  void Visit(auto&& v) {
    v("full", full, "F32 operands (TF32 where the device uses it)");
    v("bf16", bf16, "BF16 operands");
    v("f16", f16, "F16 operands");
    v("fp8_block", fp8_block, "FP8 operands with block scales");
    v("mxfp8", mxfp8, "FP8 operands with scales of 32 elements");
  }
};

// How shape lowers the rate of a product [m, k] x [k, n]. The result is cut into tiles, which the
// device works on `units` at a time; each tile pays `k_half` steps of k to start and to store.
struct ProductShape {
  int tile_m = 128;
  int tile_n = 128;
  int units = 1;         // tiles at once: multiprocessors, cores
  double tail_loss = 0;  // share of the last, unfilled round of tiles that is lost
  double k_half = 0;     // k at which a tile reaches half its rate
  void Visit(auto&& v) {
    v("tile_m", tile_m, "rows of a tile of the result", AtLeast(1));
    v("tile_n", tile_n, "columns of a tile", AtLeast(1));
    v("units", units, "tiles worked on at once", AtLeast(1));
    v("tail_loss", tail_loss, "share lost of a last round of tiles that does not fill the device",
      AtLeast(0), AtMost(1));
    v("k_half", k_half, "inner length at which a product reaches half its rate", AtLeast(0));
  }
};

struct AttentionRate {
  double efficiency = 0.5;  // of the operands' peak
  double n_half = 0;        // keys at which half of that is reached
  double width_half = 0;    // width of a head at which half of that is reached: each score costs an
                            // exponential, however wide the head
  void Visit(auto&& v) {
    v("efficiency", efficiency, "share of the operands' peak that long fused attention reaches",
      Above(0), AtMost(1));
    v("n_half", n_half, "keys at which it reaches half of that", AtLeast(0));
    v("width_half", width_half, "width of a head at which it reaches half of that", AtLeast(0));
  }
};

struct MemoryRate {
  double bytes = 0;             // capacity, of one device
  double bytes_per_second = 0;  // by the data sheet
  double efficiency = 1;        // share that large kernels reach
  double half_bytes = 0;        // bytes at which a kernel reaches half of that
  void Visit(auto&& v) {
    v("bytes", bytes, "memory of one device", Above(0), Required{});
    v("bytes_per_second", bytes_per_second, "its peak bandwidth", Above(0), Required{});
    v("efficiency", efficiency, "share of the bandwidth that a large kernel reaches", Above(0),
      AtMost(1));
    v("half_bytes", half_bytes, "bytes at which a kernel reaches half of that", AtLeast(0));
  }
};

struct HostRate {
  double issue_seconds = 0;   // between two kernels that the host launches
  double kernel_seconds = 0;  // between two kernels on the device, if the host is ahead
  double sync_seconds = 0;    // before each all-to-all: the host waits for the counts of tokens
  double pass_seconds = 0;    // of each pass of a microbatch through a stage
  double step_seconds = 0;    // of each step
  void Visit(auto&& v) {
    v("issue_seconds", issue_seconds,
      "the host needs for one kernel or exchange; 0: graphs, or no device apart from it",
      AtLeast(0));
    v("kernel_seconds", kernel_seconds, "idle time of the device between two kernels", AtLeast(0));
    v("sync_seconds", sync_seconds,
      "idle time before each all-to-all, for which the host must know how many tokens go where",
      AtLeast(0));
    v("pass_seconds", pass_seconds, "idle time of each pass of a microbatch through a stage",
      AtLeast(0));
    v("step_seconds", step_seconds, "idle time of each step: data, logging, the loss scale",
      AtLeast(0));
  }
};

// Links between ranks: of a node (NVLink, shared memory) or between nodes (one rank's share of the
// network cards).
struct LinkLevel {
  double bytes_per_second = 0;  // of one rank, in each direction at once; 0: no such link
  double efficiency = 1;        // share that large messages reach
  double step_seconds = 0;      // latency of a message that waits for the one before
  double message_seconds = 0;   // between messages to several peers
  double call_seconds = 0;      // to start a collective
  double reduce_factor = 1;     // all-reduce: gain of summing inside the switch (NVLS, SHARP)
  void Visit(auto&& v) {
    v("bytes_per_second", bytes_per_second, "of one rank, in each direction; 0: no such link",
      AtLeast(0));
    v("efficiency", efficiency, "share that large messages reach", Above(0), AtMost(1));
    v("step_seconds", step_seconds, "latency of a message that waits for the one before",
      AtLeast(0));
    v("message_seconds", message_seconds, "between messages to several peers", AtLeast(0));
    v("call_seconds", call_seconds, "to start a collective", AtLeast(0));
    v("reduce_factor", reduce_factor, "all-reduces are faster by this: sums inside the switch",
      AtLeast(1), AtMost(2));
  }
};

enum class CollectiveAlgorithm : uint8_t { kBest, kRing, kTree, kHierarchical };
template <>
struct EnumNames<CollectiveAlgorithm> {
  static constexpr EnumName<CollectiveAlgorithm> kAll[] = {
      {CollectiveAlgorithm::kBest, "best"},
      {CollectiveAlgorithm::kRing, "ring"},
      {CollectiveAlgorithm::kTree, "tree"},
      {CollectiveAlgorithm::kHierarchical, "hierarchical"}};
};

struct Links {
  int ranks_per_node = 8;
  CollectiveAlgorithm algorithm = CollectiveAlgorithm::kBest;
  LinkLevel intra_node;
  LinkLevel inter_node;
  void Visit(auto&& v) {
    v("ranks_per_node", ranks_per_node, "devices that the fast links join", AtLeast(1));
    v("algorithm", algorithm, "of reductions and gathers; best: the fastest of them");
    v("intra_node", intra_node, "links inside a node");
    v("inter_node", inter_node, "links between nodes");
  }
};

struct OverlapRates {
  double hideable = 1;      // share of a pass's work that exchanges can hide behind
  double compute_loss = 0;  // work lost for each second of hidden exchange
  void Visit(auto&& v) {
    v("hideable", hideable, "share of a pass's work that exchanges can hide behind", AtLeast(0),
      AtMost(1));
    v("compute_loss", compute_loss,
      "seconds of work lost for each second of an exchange that hides behind it", AtLeast(0),
      AtMost(1));
  }
};

struct Hardware {
  std::string name;
  std::vector<std::string> sources;
  ProductRates products;
  ProductShape shape;
  AttentionRate attention;
  double grouped_efficiency = 1;  // of experts' products, beside equal ones of the same rows
  MemoryRate memory;
  HostRate host;
  Links links;
  OverlapRates overlap;
  std::optional<double> watts;           // of a device and its share of the node
  std::optional<double> price_per_hour;  // of a device
  std::string currency = "USD";

  void Visit(auto&& v) {
    v("name", name, "of the device and its node", NonEmpty{}, Required{});
    v("sources", sources, "where the numbers come from");
    v("products", products, "rates of matrix products by format of the operands");
    v("shape", shape, "how shapes lower these rates");
    v("attention", attention, "rate of fused attention");
    v("grouped_efficiency", grouped_efficiency,
      "rate of experts' products over that of a product of all their rows", Above(0), AtMost(1));
    v("memory", memory, "of one device");
    v("host", host, "time that the device waits for the host");
    v("links", links, "between ranks");
    v("overlap", overlap, "of exchanges with work");
    v("watts", watts, "power of a device with its share of the node", AtLeast(0));
    v("price_per_hour", price_per_hour, "of one device", AtLeast(0));
    v("currency", currency, "of the price");
  }
  void Check(ConfigErrors& errors) const;
};

// Strict: an unknown key, a wrong type or value is InvalidArgument with file and line.
absl::StatusOr<Hardware> LoadHardware(const std::string& path);
// Replaces the file; LoadHardware reads back equal numbers.
absl::Status SaveHardware(const Hardware& hardware, const std::string& path);

// What products in a format run at: the format's own rate or the next wider one's.
const ProductRate& RateOf(const Hardware& hardware, MatmulFormat format);

}  // namespace choir
