// A job whose ranks are processes that mpirun or srun started. Shows nothing of MPI.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "parallel/comm/communicator.h"

namespace choir {

// True if the environment says that a launcher of MPI jobs started this process: a plain `choir`
// never initialises MPI.
bool LaunchedByMpi();

// Name and version of the library, whether or not it is in use.
std::string MpiLibrary();

// Initialises MPI (once in a process, from the main thread, which alone may use the world), and
// sets the log's rank. The world's destructor waits until every rank has come to its own, then
// ends MPI. Abort prints the reason and ends all ranks with its status.
absl::StatusOr<std::unique_ptr<World>> OpenMpi(int* argc, char*** argv,
                                               const WorldOptions& options);

}  // namespace choir
