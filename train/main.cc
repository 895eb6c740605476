#include <cstdio>
#include <memory>

#include "parallel/comm/mpi_comm.h"
#include "train/commands.h"

int main(int argc, char** argv) {
  std::unique_ptr<choir::World> world;
  if (choir::LaunchedByMpi()) {
    auto opened = choir::OpenMpi(&argc, &argv, {});
    if (!opened.ok()) {
      std::fprintf(stderr, "choir: %s\n", std::string(opened.status().message()).c_str());
      return 1;
    }
    world = *std::move(opened);
  }
  return choir::RunProgram(argv[0], std::vector<std::string>(argv + 1, argv + argc), world.get());
}
