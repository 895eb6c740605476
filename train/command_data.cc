// `choir data build|stats|verify|langid|peek|ledger`
#include <charconv>
#include <iostream>
#include <memory>

#include "base/strings.h"
#include "data/build/commands.h"
#include "data/build/langid_report.h"
#include "data/shard/verify.h"
#include "train/commands.h"
#include "train/config.h"
#include "train/exit_code.h"
#include "train/run_data.h"

namespace choir {
namespace {

absl::Status Build(const std::string& path, const std::vector<Override>& overrides) {
  ASSIGN_OR_RETURN(const auto config, LoadConfigWith<DataBuildConfig>(path, overrides));
  return BuildShards(config, std::cout);
}

absl::Status Peek(const std::string& path, const std::vector<Override>& overrides, int64_t step) {
  ASSIGN_OR_RETURN(const auto config, LoadConfigWith<RunConfig>(path, overrides));
  return PeekBatch(config.data, step, std::cout);
}

// "--steps 100-200" or "--steps 100" into first and last.
absl::Status ParseSteps(const std::string& text, ReplayOptions& options) {
  if (text.empty()) return absl::OkStatus();
  const size_t dash = std::min(text.find('-'), text.size());
  const auto number = [](const std::string& digits, int64_t& out) {
    const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), out);
    return result.ec == std::errc() && result.ptr == digits.data() + digits.size() && out > 0;
  };
  const bool sound = number(text.substr(0, dash), options.first_step) &&
                     (dash == text.size() ? number(text, options.last_step)
                                          : number(text.substr(dash + 1), options.last_step));
  if (sound) return absl::OkStatus();
  return absl::InvalidArgumentError(
      StrCat("--steps '", text, "': want a step, 100, or the first and the last, 100-200"));
}

// Shards, or what a run has read of them.
void AddVerify(CLI::App& data, Program& program) {
  struct Arguments {
    std::string path, run, steps;
    int64_t threads = 0;
    ReplayOptions options;
  };
  auto args = std::make_shared<Arguments>();
  CLI::App* verify = data.add_subcommand(
      "verify",
      "Compare every byte of shards with its checksum, or what a run has read with its "
      "config, corpus and ledger");
  CLI::Option* path = verify->add_option("path", args->path, "folder of token shards");
  verify->add_option("--threads", args->threads, "threads; 0: one per processor")
      ->check(CLI::Range(0, 1024));
  verify->add_option("--run", args->run, "folder of a run: make its batches again")->excludes(path);
  verify->add_option("--steps", args->steps, "with --run: 100-200; none: all");
  verify->add_option("--ranks", args->options.ranks, "with --run: as so many ranks")
      ->check(CLI::Range(1, 1024));
  verify->callback([&program, args] {
    program.run = [args] {
      if (args->run.empty()) {
        if (args->path.empty()) {
          return ReportError(
              absl::InvalidArgumentError("name a folder of token shards, or --run RUN"));
        }
        return ReportError(VerifyCorpus(args->path, args->threads, std::cout));
      }
      const absl::Status status = ParseSteps(args->steps, args->options);
      return ReportError(status.ok() ? VerifyRunData(args->run, args->options, std::cout) : status);
    };
  });
}

void AddLangid(Program& program, CLI::App& data) {
  auto options = std::make_shared<LangidOptions>();
  CLI::App* langid =
      data.add_subcommand("langid", "Measure language identification on held-out documents");
  langid->add_option("corpus", options->corpus, "folder with heldout/<language>.jsonl")->required();
  langid->add_option("--model", options->identifier.model,
                     "fastText model; default: langid.ftz of the corpus, if it is there");
  langid->add_flag("--cld2-only", options->cld2_only, "no model, also if the corpus has one");
  langid->add_option("--min-characters", options->min_characters, "shorter documents are left out")
      ->check(CLI::NonNegativeNumber);
  langid->add_option("--sample-bytes", options->identifier.sample_bytes, "0: whole documents")
      ->check(CLI::NonNegativeNumber);
  langid->add_flag("--json", options->json, "one JSON object instead of a table");
  langid->callback([&program, options] {
    program.run = [options] { return ReportError(PrintLangidReport(*options, std::cout)); };
  });
}

}  // namespace

void AddDataCommand(Program& program) {
  CLI::App* data = program.app.add_subcommand("data", "Prepare and look at training data");
  data->require_subcommand(1);
  auto path = std::make_shared<std::string>();
  auto step = std::make_shared<int64_t>(0);

  CLI::App* build = data->add_subcommand("build", "Encode a text corpus into token shards");
  build->add_option("config", *path, "YAML file with corpus, tokenizer and shards")->required();
  build->callback([&program, path] {
    program.takes_overrides = true;
    program.run = [&program, path] { return ReportError(Build(*path, program.overrides)); };
  });
  CLI::App* stats = data->add_subcommand("stats", "Count token shards by language");
  stats->add_option("path", *path, "folder of token shards")->required();
  stats->callback([&program, path] {
    program.run = [path] { return ReportError(PrintDataStats(*path, std::cout)); };
  });
  AddVerify(*data, program);
  CLI::App* ledger = data->add_subcommand(
      "ledger", "What a run has consumed, by language and source, and every change of its data");
  auto json = std::make_shared<bool>(false);
  ledger->add_option("run", *path, "folder of a run")->required();
  ledger->add_flag("--json", *json, "for programs");
  ledger->callback([&program, path, json] {
    program.run = [path, json] { return ReportError(PrintDataLedger(*path, *json, std::cout)); };
  });
  AddLangid(program, *data);
  CLI::App* peek = data->add_subcommand("peek", "Decode the batch of one step");
  peek->add_option("config", *path, "config of a run")->required();
  peek->add_option("--step", *step, "step, from 0")->check(CLI::NonNegativeNumber);
  peek->callback([&program, path, step] {
    program.takes_overrides = true;
    program.run = [&program, path, step] {
      return ReportError(Peek(*path, program.overrides, *step));
    };
  });
}

}  // namespace choir
