// `choir generate RUN --prompt TEXT`
#include <cstdio>
#include <memory>

#include "base/strings.h"
#include "eval/generate.h"
#include "train/commands.h"
#include "train/exit_code.h"
#include "train/load_run.h"

namespace choir {
namespace {

struct GenerateArguments {
  std::string run, prompt;
  bool average = false;
  GenerateOptions options;
};

absl::Status RunGenerate(const GenerateArguments& arguments) {
  ASSIGN_OR_RETURN(const LoadedRun run, LoadRun(arguments.run, arguments.average));
  std::printf("%s", arguments.prompt.c_str());
  Generate(*run.model, *run.tokenizer, arguments.prompt, arguments.options,
           [](std::string_view text) {
             std::fwrite(text.data(), 1, text.size(), stdout);
             std::fflush(stdout);
           });
  std::printf("\n");
  return absl::OkStatus();
}

}  // namespace

void AddGenerateCommand(Program& program) {
  CLI::App* command = program.app.add_subcommand("generate", "Continue a text");
  auto arguments = std::make_shared<GenerateArguments>();
  command->add_option("run", arguments->run, "folder of a run")->required();
  command->add_option("--prompt", arguments->prompt, "text to continue")->required();
  command->add_flag("--ema", arguments->average, "with the average of the weights (optim.ema)");
  command->add_option("--temperature", arguments->options.temperature, "0: the likeliest token")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--top-p", arguments->options.top_p, "mass of the likeliest tokens")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  command->add_option("--seed", arguments->options.seed, "the same seed gives the same text")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--max-tokens", arguments->options.max_tokens, "new tokens at most")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->callback([&program, arguments] {
    program.run = [arguments] { return ReportError(RunGenerate(*arguments)); };
  });
}

}  // namespace choir
