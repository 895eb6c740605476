// `choir train CONFIG [--resume] [--section.key=value ...]`
#include <memory>

#include "train/commands.h"
#include "train/training_run.h"

namespace choir {

void AddTrainCommand(Program& program) {
  CLI::App* command = program.app.add_subcommand("train", "Train a model");
  auto arguments = std::make_shared<TrainArguments>();
  command->add_option("config", arguments->config, "YAML file, see docs/config.md")->required();
  command->add_flag("--resume", arguments->resume,
                    "continue from the last checkpoint in run.dir, or start if there is none");
  command->footer("Any key of the config can be overridden: --section.key=value");
  command->callback([&program, arguments] {
    program.takes_overrides = true;
    arguments->overrides = program.overrides;
    arguments->command = program.command_line;
    program.run = [&program, arguments] { return RunTraining(*arguments, program.world); };
  });
}

}  // namespace choir
