#include "train/commands.h"

#include <algorithm>
#include <cstdio>

#include "base/strings.h"
#include "train/exit_code.h"
#include "train/trainer.h"

namespace choir {
namespace {

// As a shell would need it.
std::string Quoted(const std::string& argument) {
  const bool plain = argument.find_first_not_of(
                         "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                         "-_=./:,+@%") == std::string::npos;
  if (plain && !argument.empty()) return argument;
  std::string quoted = "'";
  for (char c : argument) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

}  // namespace

int RunProgram(const std::string& name, const std::vector<std::string>& arguments, World* world) {
  Program program;
  program.world = world;
  program.app.require_subcommand(1);
  program.app.set_version_flag("--version", CodeVersion());
  AddTrainCommand(program);
  AddGenerateCommand(program);
  AddDataCommand(program);
  AddTokenizerCommand(program);
  AddCheckpointCommand(program);
  AddConfigCommand(program);
  AddPlanCommand(program);
  AddVerifyCommand(program);
  AddBisectCommand(program);
  AddDoctorCommand(program);

  program.command_line = Quoted(name);
  std::vector<std::string> parsed;
  for (size_t i = 0; i < arguments.size(); ++i) {
    program.command_line += " " + Quoted(arguments[i]);
    if (IsOverride(arguments[i])) {
      program.overrides.push_back({arguments[i], static_cast<int>(i) + 1});
    } else {
      parsed.push_back(arguments[i]);
    }
  }
  std::reverse(parsed.begin(), parsed.end());  // CLI11 takes arguments from the back
  try {
    program.app.parse(parsed);
  } catch (const CLI::Success& e) {  // --help, --version
    program.app.exit(e);
    return kExitOk;
  } catch (const CLI::ParseError& e) {
    std::fprintf(stderr, "choir: %s; see `choir --help`\n", e.what());
    return kExitBadInput;
  }
  if (!program.overrides.empty() && !program.takes_overrides) {
    const Override& first = program.overrides.front();
    std::fprintf(stderr, "argument:%d: %s: this sub-command reads no config to override\n",
                 first.number, first.argument.c_str());
    return kExitBadInput;
  }
  return program.run();
}

}  // namespace choir
