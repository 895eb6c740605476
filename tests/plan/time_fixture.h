// A machine with round numbers, for times computed by hand.
#pragma once

#include "plan/hardware.h"

namespace choir {

// 1000 FLOP/s, 100 bytes/s; links of 10 bytes/s inside a node of 4 ranks and 2 between nodes; no
// loss and no latency anywhere.
inline Hardware RoundHardware() {
  Hardware hardware;
  hardware.name = "round";
  hardware.products.bf16.flops = 1000;
  hardware.shape = {.tile_m = 1, .tile_n = 1};
  hardware.attention.efficiency = 1;
  hardware.memory = {.bytes = 1, .bytes_per_second = 100};
  hardware.links.ranks_per_node = 4;
  hardware.links.intra_node.bytes_per_second = 10;
  hardware.links.inter_node.bytes_per_second = 2;
  return hardware;
}

}  // namespace choir
