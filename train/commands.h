// The sub-commands of `choir`: one thin file each (command_*.cc) adds its arguments to the program
// and says what runs.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <vector>

#include "parallel/comm/communicator.h"
#include "train/overrides.h"

namespace choir {

struct Program {
  CLI::App app{"Choir trains multilingual mixture-of-experts language models.", "choir"};
  std::string command_line;  // as typed, to print how to continue
  std::vector<Override> overrides;
  World* world = nullptr;        // the job, under mpirun or srun; else null
  bool takes_overrides = false;  // set by a sub-command that reads a config
  // Set by the sub-command that was chosen; returns the exit state.
  std::function<int()> run;
};

void AddTrainCommand(Program& program);
void AddGenerateCommand(Program& program);
void AddDataCommand(Program& program);
void AddTokenizerCommand(Program& program);
void AddCheckpointCommand(Program& program);
void AddConfigCommand(Program& program);
void AddPlanCommand(Program& program);
void AddVerifyCommand(Program& program);
void AddBisectCommand(Program& program);
void AddDoctorCommand(Program& program);

// Parses the arguments (without the program's name) and runs the chosen sub-command; returns the
// exit state.
int RunProgram(const std::string& name, const std::vector<std::string>& arguments,
               World* world = nullptr);

}  // namespace choir
