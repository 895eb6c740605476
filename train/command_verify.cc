// `choir verify CONFIG`
#include <cstdio>
#include <memory>

#include "base/status.h"
#include "base/strings.h"
#include "data/loader/loader.h"
#include "train/commands.h"
#include "train/exit_code.h"
#include "train/trainer.h"
#include "train/verify.h"

namespace choir {
namespace {

struct VerifyArguments {
  std::string config;
  std::vector<std::string> layouts;
  std::vector<std::string> precisions;
  int steps = 2;
  int ranks = 8;
};

std::string Cell(const Deviation& d) {
  char text[64];
  if (!d.compared) return "not compared";
  if (d.equal) return "bit-equal";
  std::snprintf(text, sizeof(text), "%.1e/%.1e", d.difference, d.bound);
  return text;
}

void PrintHeader(const RunConfig& config) {
  std::printf("numerics: %s, precision: %s\n%-56s %-17s %-17s %-17s %-17s\n",
              EnumToString(config.numerics), EnumToString(config.precision.recipe), "layout",
              "loss", "grad norm", "gradients", "weights");
}

void PrintVerdict(const LayoutVerdict& v) {
  std::printf("%-56s ", v.layout.name.c_str());
  if (!v.status.ok()) {
    std::printf("FAILED\n  %s\n", std::string(v.status.message()).c_str());
  } else {
    std::printf("%-17s %-17s %-17s %-17s %s\n", Cell(v.loss).c_str(), Cell(v.grad_norm).c_str(),
                Cell(v.gradients).c_str(), Cell(v.weights).c_str(), v.ok() ? "ok" : "DIFFERS");
    for (const Deviation* d : {&v.initial, &v.loss, &v.grad_norm, &v.gradients, &v.weights}) {
      if (!v.ok() && !d->equal) std::printf("  %s\n", d->where.c_str());
    }
  }
  std::fflush(stdout);
}

// Both, unless the command line says which.
std::vector<Numerics> ChooseNumerics(const Program& program, const RunConfig& config) {
  if (GivesNumerics(program.overrides)) return {config.numerics};
  return {Numerics::kInvariant, Numerics::kFast};
}

// The vocabulary, and microbatches small enough for many data ranks.
absl::StatusOr<RunConfig> Prepare(const VerifyArguments& arguments, const Program& program) {
  ASSIGN_OR_RETURN(RunConfig config,
                   LoadConfigWith<RunConfig>(arguments.config, program.overrides));
  ASSIGN_OR_RETURN(const auto loader, BatchLoader::Open(config.data));
  ASSIGN_OR_RETURN(config, ResolveConfig(config, loader->vocab_size()));
  config.train.microbatch_sequences = 1;
  return config;
}

absl::StatusOr<std::vector<VerifyLayout>> ChooseLayouts(const VerifyArguments& arguments,
                                                        const RunConfig& config, World* world) {
  std::vector<VerifyLayout> chosen;
  for (const std::string& text : arguments.layouts) {
    ASSIGN_OR_RETURN(VerifyLayout layout, ParseLayout(text));
    RunConfig changed = config;
    changed.parallel = ParallelOf(layout, config);
    RETURN_IF_ERROR(PlanLayout(changed, layout.world).status());
    chosen.push_back(std::move(layout));
  }
  if (arguments.layouts.empty()) {
    chosen = DefaultLayouts(config, world != nullptr ? world->size() : arguments.ranks);
  }
  if (world != nullptr) {
    std::erase_if(chosen, [&](const VerifyLayout& l) { return l.world != world->size(); });
  }
  return chosen;
}

// The config's own, unless the command line names some.
absl::StatusOr<std::vector<PrecisionRecipe>> ChoosePrecisions(const VerifyArguments& arguments,
                                                              const RunConfig& config) {
  if (arguments.precisions.empty()) return std::vector{config.precision.recipe};
  std::vector<PrecisionRecipe> chosen;
  for (const std::string& name : arguments.precisions) {
    const auto recipe = EnumFromString<PrecisionRecipe>(name);
    if (recipe) {
      chosen.push_back(*recipe);
    } else if (name == "all") {
      for (const auto& entry : EnumNames<PrecisionRecipe>::kAll) chosen.push_back(entry.value);
    } else {
      return absl::InvalidArgumentError(StrCat("--precision must be all, ",
                                               JoinAlternatives(AllEnumNames<PrecisionRecipe>()),
                                               ", got '", name, "'"));
    }
  }
  return chosen;
}

struct Variant {
  PrecisionRecipe precision;
  Numerics numerics;
};

absl::StatusOr<std::vector<Variant>> ChooseVariants(const VerifyArguments& arguments,
                                                    const Program& program,
                                                    const RunConfig& config) {
  ASSIGN_OR_RETURN(const auto precisions, ChoosePrecisions(arguments, config));
  std::vector<Variant> variants;
  for (PrecisionRecipe precision : precisions) {
    for (Numerics numerics : ChooseNumerics(program, config)) {
      variants.push_back({precision, numerics});
    }
  }
  return variants;
}

absl::StatusOr<int> Verify(const VerifyArguments& arguments, const Program& program) {
  ASSIGN_OR_RETURN(RunConfig config, Prepare(arguments, program));
  ASSIGN_OR_RETURN(const auto variants, ChooseVariants(arguments, program, config));
  World* world = program.world;
  int checked = 0, wrong = 0;
  for (const auto& [precision, numerics] : variants) {
    config.precision.recipe = precision;
    config.numerics = numerics;
    ASSIGN_OR_RETURN(const auto layouts, ChooseLayouts(arguments, config, world));
    const bool speaks = world == nullptr || world->rank() == 0;
    if (speaks) PrintHeader(config);
    VerifyOptions options;
    options.steps = arguments.steps;
    options.numerics = numerics;
    const auto done = [&](const LayoutVerdict& verdict) {
      PrintVerdict(verdict);
      ++checked;
      wrong += verdict.ok() ? 0 : 1;
    };
    if (world != nullptr) {
      RETURN_IF_ERROR(VerifyOnWorld(*world, config, layouts, options, done));
    } else {
      RETURN_IF_ERROR(VerifyLocal(config, layouts, options, done));
    }
  }
  if (world == nullptr || world->rank() == 0) {
    std::printf("%d layouts, %d differ\n", checked, wrong);
  }
  if (checked == 0 && (world == nullptr || world->rank() == 0)) {
    return absl::InvalidArgumentError("no layout of this many ranks fits this config");
  }
  return wrong == 0 ? kExitOk : kExitFailure;
}

}  // namespace

void AddVerifyCommand(Program& program) {
  CLI::App* command = program.app.add_subcommand(
      "verify", "Compare layouts of ranks with one rank, number by number");
  auto arguments = std::make_shared<VerifyArguments>();
  command->add_option("config", arguments->config, "YAML file, see docs/config.md")->required();
  command->add_option("--layouts", arguments->layouts,
                      "like data=2,tensor=2 (keys of parallel:), several; default: a matrix that "
                      "crosses every axis");
  command->add_option("--precision", arguments->precisions,
                      "recipes to try each layout with (precision.recipe), several, or all; "
                      "default: the config's");
  command->add_option("--steps", arguments->steps, "optimizer updates")->check(CLI::Range(1, 100));
  command->add_option("--ranks", arguments->ranks, "largest layout, as threads of this process")
      ->check(CLI::Range(1, 64));
  command->footer(
      "Under mpirun the layouts of exactly its ranks are run over MPI.\n"
      "Both numerics are checked, unless --numerics=invariant or --numerics=fast is given.\n"
      "Any key of the config can be overridden: --section.key=value");
  command->callback([&program, arguments] {
    program.takes_overrides = true;
    program.run = [&program, arguments] {
      const absl::StatusOr<int> exit = Verify(*arguments, program);
      return exit.ok() ? *exit : ReportError(exit.status());
    };
  });
}

}  // namespace choir
