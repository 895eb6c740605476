#include "parallel/comm/mpi_comm.h"

#include <mpi.h>

#include <cstdlib>

#include "base/log.h"
#include "parallel/comm/mpi_comm_transport.h"
#include "parallel/comm/p2p_world.h"

namespace choir {
namespace {

class MpiWorld : public P2pWorld {
 public:
  MpiWorld(const WorldPlace& place, const WorldOptions& options,
           std::unique_ptr<Transport> transport)
      : P2pWorld(place, options, std::move(transport)) {}
  ~MpiWorld() override { Finish(); }
};

// Ranks of one host, if every host has as many and holds a run of the numbers; otherwise 1.
int NodeSize(int rank, int size) {
  MPI_Comm node;
  MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, rank, MPI_INFO_NULL, &node);
  int node_size = 1, node_rank = 0;
  MPI_Comm_size(node, &node_size);
  MPI_Comm_rank(node, &node_rank);
  MPI_Comm_free(&node);
  // The minimum of -size is that of the largest.
  const bool run = size % node_size == 0 && rank % node_size == node_rank;
  int mine[] = {node_size, -node_size, run ? 1 : 0}, least[3];
  MPI_Allreduce(mine, least, 3, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
  return least[0] == -least[1] && least[2] == 1 ? node_size : 1;
}

}  // namespace

bool LaunchedByMpi() {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK"}) {
    if (std::getenv(name) != nullptr) return true;
  }
  const char* const tasks = std::getenv("SLURM_NTASKS");
  return std::getenv("SLURM_PROCID") != nullptr && tasks != nullptr && std::atoi(tasks) > 1;
}

std::string MpiLibrary() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING];
  int length = 0;
  MPI_Get_library_version(text, &length);
  const std::string all(text, static_cast<size_t>(length));
  return all.substr(0, all.find_first_of(",\n"));
}

absl::StatusOr<std::unique_ptr<World>> OpenMpi(int* argc, char*** argv,
                                               const WorldOptions& options) {
  int before = 0, provided = 0;
  MPI_Initialized(&before);
  if (before != 0) return absl::FailedPreconditionError("MPI is already initialised");
  if (MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &provided) != MPI_SUCCESS) {
    return absl::UnavailableError("MPI cannot be initialised");
  }
  if (provided < MPI_THREAD_FUNNELED) {
    MPI_Finalize();
    return absl::UnavailableError("this MPI does not allow threads (MPI_THREAD_FUNNELED)");
  }
  WorldPlace place;
  MPI_Comm_rank(MPI_COMM_WORLD, &place.rank);
  MPI_Comm_size(MPI_COMM_WORLD, &place.size);
  place.node_size = NodeSize(place.rank, place.size);
  SetLogContext(place.rank, place.size);
  return std::make_unique<MpiWorld>(place, options,
                                    std::make_unique<MpiTransport>(options.max_message_bytes));
}

}  // namespace choir
