// `choir config show|docs|diff`
#include <iostream>
#include <memory>

#include "train/commands.h"
#include "train/config.h"
#include "train/exit_code.h"

namespace choir {
namespace {

absl::Status Show(const std::string& path, const std::vector<Override>& overrides) {
  ASSIGN_OR_RETURN(const auto config, LoadConfigWith<RunConfig>(path, overrides));
  std::cout << ConfigDump(config);
  return absl::OkStatus();
}

absl::Status Diff(const std::string& a, const std::string& b) {
  ASSIGN_OR_RETURN(const auto left, LoadConfigWith<RunConfig>(a, {}));
  ASSIGN_OR_RETURN(const auto right, LoadConfigWith<RunConfig>(b, {}));
  for (const ConfigDifference& d : ConfigDiff(left, right)) {
    std::cout << d.key << ": " << d.a << " -> " << d.b << "\n";
  }
  return absl::OkStatus();
}

}  // namespace

void AddConfigCommand(Program& program) {
  CLI::App* config = program.app.add_subcommand("config", "Look at configs");
  config->require_subcommand(1);
  auto path = std::make_shared<std::string>();
  auto other = std::make_shared<std::string>();

  CLI::App* show = config->add_subcommand("show", "A config with every key, checked");
  show->add_option("config", *path, "config of a run")->required();
  show->callback([&program, path] {
    program.takes_overrides = true;
    program.run = [&program, path] { return ReportError(Show(*path, program.overrides)); };
  });
  CLI::App* docs = config->add_subcommand("docs", "All keys, as docs/config.md");
  docs->callback([&program] {
    program.run = [] {
      std::cout << ConfigDocs<RunConfig>();
      return kExitOk;
    };
  });
  CLI::App* diff = config->add_subcommand("diff", "Keys that differ between two configs");
  diff->add_option("a", *path, "config of a run")->required();
  diff->add_option("b", *other, "another one")->required();
  diff->callback([&program, path, other] {
    program.run = [path, other] { return ReportError(Diff(*path, *other)); };
  });
}

}  // namespace choir
