// How long one exchange takes between ranks: alpha-beta times for each link level.
//
// A group of n ranks, g of them on each node, has n/g nodes; S bytes as ExchangeItem counts them; a
// is a level's step_seconds, B its bytes_per_second x efficiency (Thakur et al. 2005; NCCL's
// tuner).
//
//   ring          (n - n/g) a_intra + n/g a_inter steps around all ranks, one fewer in all; S
//   (n-1)/n
//                 bytes through the slowest link: min(B_intra, g B_inter), as g rings enter and
//                 leave a node through its g ranks. An all-reduce is two of them
//   hierarchical  inside the node, then between nodes one rank's S/g: each level as a ring of its
//                 own, one after the other
//   tree          all-reduce: twice g - 1 steps inside and log2(n/g) between nodes; as many bytes
//                 as the ring
//   all-to-all    S (g-1)/n inside and S (n-g)/n between nodes at the same time, a message to each
//                 peer (message_seconds) behind one step's latency
//   send          one step and its bytes
//
// An all-reduce inside a node, or its part there, is faster by the level's reduce_factor.
#pragma once

#include "absl/status/status.h"
#include "plan/hardware.h"
#include "plan/workload.h"

namespace choir {

// Seconds of one exchange (not times its count); 0 for one rank. The links that it needs must be
// there (CheckLinks).
double ExchangeSeconds(const ExchangeItem& item, const Links& links);

// InvalidArgument that names the key if the exchange needs links of which the file says nothing.
absl::Status CheckLinks(const ExchangeItem& item, const Links& links);

}  // namespace choir
