// `choir train`: a run from its config to its end, with metrics, validation, checkpoints, resume
// and stop requests.
#pragma once

#include <string>
#include <vector>

#include "parallel/comm/communicator.h"
#include "train/overrides.h"

namespace choir {

struct TrainArguments {
  std::string config;
  std::vector<Override> overrides;
  bool resume = false;
  std::string command;  // the command line, to print how to continue
};

// Returns the exit state of the program. `world` (null: one rank): all its ranks call this with the
// same arguments; rank 0 writes the run's files and speaks.
int RunTraining(const TrainArguments& arguments, World* world = nullptr);

}  // namespace choir
