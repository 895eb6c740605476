// `choir data build|stats|langid|peek`
#include <iostream>
#include <memory>

#include "data/build/commands.h"
#include "data/build/langid_report.h"
#include "train/commands.h"
#include "train/config.h"
#include "train/exit_code.h"

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
  CLI::App* stats = data->add_subcommand("stats", "Verify token shards and count by language");
  stats->add_option("path", *path, "folder of token shards")->required();
  stats->callback([&program, path] {
    program.run = [path] { return ReportError(PrintDataStats(*path, std::cout)); };
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
