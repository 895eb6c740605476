// MPI's own blocking collectives on floats, to compare ours with (bench/comm_bench.cc). Nothing
// else calls them: they fix no order of sums and make no progress while a rank computes.
#pragma once

#include <cstdint>

namespace choir {

// Over all ranks of a world from OpenMpi. `count` is of one rank's segment, except in AllReduce,
// where it is of the whole of x.
void MpiAllReduce(float* x, int64_t count);
void MpiReduceScatter(float* out, const float* in, int64_t count);
void MpiAllGather(float* out, const float* in, int64_t count);
void MpiAllToAll(float* out, const float* in, int64_t count);

}  // namespace choir
