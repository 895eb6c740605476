#include "parallel/comm/mpi_comm_reference.h"

#include <mpi.h>

#include <limits>
#include <vector>

#include "base/check.h"

namespace choir {
namespace {

int Count(int64_t count) {
  CHECK(count <= std::numeric_limits<int>::max());
  return static_cast<int>(count);
}

}  // namespace

void MpiAllReduce(float* x, int64_t count) {
  MPI_Allreduce(MPI_IN_PLACE, x, Count(count), MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
}

// Not MPI_Reduce_scatter_block, which Open MPI 4 does by a reduction to one rank.
void MpiReduceScatter(float* out, const float* in, int64_t count) {
  int size = 0;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  const std::vector<int> counts(static_cast<size_t>(size), Count(count));
  MPI_Reduce_scatter(in, out, counts.data(), MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
}

void MpiAllGather(float* out, const float* in, int64_t count) {
  MPI_Allgather(in, Count(count), MPI_FLOAT, out, Count(count), MPI_FLOAT, MPI_COMM_WORLD);
}

void MpiAllToAll(float* out, const float* in, int64_t count) {
  MPI_Alltoall(in, Count(count), MPI_FLOAT, out, Count(count), MPI_FLOAT, MPI_COMM_WORLD);
}

}  // namespace choir
