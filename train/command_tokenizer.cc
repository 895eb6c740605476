// `choir tokenizer train|encode|stats|decode`
#include <iostream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "data/build/commands.h"
#include "train/commands.h"
#include "train/exit_code.h"

namespace choir {
namespace {

std::string StandardInput() {
  return {std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
}

absl::Status Train(const std::string& path, const std::vector<Override>& overrides) {
  ASSIGN_OR_RETURN(const auto config, LoadConfigWith<DataBuildConfig>(path, overrides));
  return BuildTokenizer(config, std::cout);
}

}  // namespace

void AddTokenizerCommand(Program& program) {
  CLI::App* tokenizer = program.app.add_subcommand("tokenizer", "Train and use a tokenizer");
  tokenizer->require_subcommand(1);
  auto path = std::make_shared<std::string>();

  CLI::App* train = tokenizer->add_subcommand("train", "Train on a sample of every language");
  train->add_option("config", *path, "YAML file with corpus, tokenizer and shards")->required();
  train->callback([&program, path] {
    program.takes_overrides = true;
    program.run = [&program, path] { return ReportError(Train(*path, program.overrides)); };
  });
  CLI::App* encode = tokenizer->add_subcommand("encode", "Standard input as token ids");
  encode->add_option("model", *path, "tokenizer file")->required();
  auto lines = std::make_shared<bool>(false), special = std::make_shared<bool>(false);
  CLI::Option* jsonl = encode->add_flag("--jsonl", *lines, "each line is a text: a JSON string");
  encode->add_flag("--special", *special, "text that spells a special token becomes it")
      ->needs(jsonl);
  encode->callback([&program, path, lines, special] {
    program.run = [path, lines, special] {
      if (*lines) return ReportError(EncodeLines(*path, *special, std::cin, std::cout));
      return ReportError(EncodeText(*path, StandardInput(), std::cout));
    };
  });
  auto files = std::make_shared<std::vector<std::string>>();
  CLI::App* stats = tokenizer->add_subcommand("stats", "Tokens by character, word and byte");
  stats->add_option("model", *path, "tokenizer file")->required();
  stats->add_option("texts", *files, "JSON lines with text and language")->required();
  stats->callback([&program, path, files] {
    program.run = [path, files] { return ReportError(PrintFertility(*path, *files, std::cout)); };
  });
  CLI::App* decode = tokenizer->add_subcommand("decode", "Token ids on standard input as text");
  decode->add_option("model", *path, "tokenizer file")->required();
  decode->callback([&program, path] {
    program.run = [path] { return ReportError(DecodeIds(*path, StandardInput(), std::cout)); };
  });
}

}  // namespace choir
