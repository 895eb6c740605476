// `choir data build|stats|verify|peek`
#include <iostream>
#include <memory>

#include "data/build/commands.h"
#include "data/shard/verify.h"
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
  CLI::App* verify = data->add_subcommand("verify", "Compare every byte with its checksum");
  auto threads = std::make_shared<int64_t>(0);
  verify->add_option("path", *path, "folder of token shards")->required();
  verify->add_option("--threads", *threads, "threads; 0: one per processor")
      ->check(CLI::Range(0, 1024));
  verify->callback([&program, path, threads] {
    program.run = [path, threads] { return ReportError(VerifyCorpus(*path, *threads, std::cout)); };
  });
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
