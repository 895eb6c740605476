// `choir bisect CONFIG --layout A --layout B`
#include <cstdio>
#include <memory>

#include "base/status.h"
#include "base/strings.h"
#include "data/loader/loader.h"
#include "train/bisect.h"
#include "train/commands.h"
#include "train/exit_code.h"

namespace choir {
namespace {

struct BisectArguments {
  std::string config;
  std::vector<std::string> layouts;
  int steps = 2;
};

absl::StatusOr<VerifyLayout> LayoutNamed(const std::string& text) {
  ASSIGN_OR_RETURN(VerifyLayout layout, ParseLayout(text == "one" ? "data=1" : text));
  layout.name = text;
  return layout;
}

// The vocabulary, and as in verify microbatches small enough for many data ranks.
absl::StatusOr<RunConfig> Prepare(const BisectArguments& arguments, const Program& program) {
  ASSIGN_OR_RETURN(RunConfig config,
                   LoadConfigWith<RunConfig>(arguments.config, program.overrides));
  ASSIGN_OR_RETURN(const auto loader, BatchLoader::Open(config.data));
  ASSIGN_OR_RETURN(config, ResolveConfig(config, loader->vocab_size()));
  config.train.microbatch_sequences = 1;
  return config;
}

void Print(const BisectReport& report) {
  if (report.difference) {
    std::printf("first difference: %s\n", Describe(*report.difference).c_str());
    return;
  }
  const std::string how = report.bits
                              ? "bit for bit"
                              : StrCat("within ", report.bound, " of the largest number of each");
  std::printf("no difference: %lld tensors of %d steps are equal, %s\n",
              static_cast<long long>(report.tensors), report.steps, how.c_str());
}

absl::StatusOr<int> RunBisect(const BisectArguments& arguments, const Program& program) {
  if (program.world != nullptr) {
    return absl::InvalidArgumentError(
        "choir bisect runs all ranks as threads of one process: start it without mpirun");
  }
  if (arguments.layouts.size() != 2) {
    return absl::InvalidArgumentError(StrCat("choir bisect compares two layouts, got ",
                                             arguments.layouts.size(), ": --layout A --layout B"));
  }
  BisectOptions options;
  options.steps = arguments.steps;
  ASSIGN_OR_RETURN(const VerifyLayout a, LayoutNamed(arguments.layouts[0]));
  ASSIGN_OR_RETURN(const VerifyLayout b, LayoutNamed(arguments.layouts[1]));
  ASSIGN_OR_RETURN(const RunConfig config, Prepare(arguments, program));
  options.numerics = GivesNumerics(program.overrides) ? config.numerics : Numerics::kInvariant;
  ASSIGN_OR_RETURN(const BisectReport report, Bisect(config, a, b, options));
  std::printf("A: %s (%d ranks), B: %s (%d ranks), numerics %s\n", a.name.c_str(), a.world,
              b.name.c_str(), b.world, options.numerics == Numerics::kFast ? "fast" : "invariant");
  Print(report);
  return report.difference ? kExitFailure : kExitOk;
}

}  // namespace

void AddBisectCommand(Program& program) {
  CLI::App* command = program.app.add_subcommand(
      "bisect", "Find the first number in which two layouts of ranks differ");
  auto arguments = std::make_shared<BisectArguments>();
  command->add_option("config", arguments->config, "YAML file, see docs/config.md")->required();
  command
      ->add_option("--layout", arguments->layouts,
                   "twice: like data=2,tensor=2 (keys of parallel:), or one for one rank")
      ->allow_extra_args(false)
      ->required();
  command->add_option("--steps", arguments->steps, "optimizer updates")->check(CLI::Range(1, 100));
  command->footer(
      "Exit status 0: no difference, 1: there is one.\n"
      "Numerics are invariant, unless --numerics=fast is given.\n"
      "Any key of the config can be overridden: --section.key=value");
  command->callback([&program, arguments] {
    program.takes_overrides = true;
    program.run = [&program, arguments] {
      const absl::StatusOr<int> exit = RunBisect(*arguments, program);
      return exit.ok() ? *exit : ReportError(exit.status());
    };
  });
}

}  // namespace choir
