// `choir checkpoint list|show|verify|diff`
#include <iostream>
#include <memory>

#include "checkpoint/checkpoint_list.h"
#include "checkpoint/compare.h"
#include "checkpoint/describe.h"
#include "checkpoint/integrity.h"
#include "train/commands.h"
#include "train/exit_code.h"

namespace choir {
namespace {

void Print(const std::string& text, const nlohmann::json& json, bool as_json) {
  std::cout << (as_json ? json.dump(2) + "\n" : text);
}

absl::Status List(const std::string& run, bool as_json) {
  ASSIGN_OR_RETURN(const auto entries, ListCheckpoints(run));
  Print(ListText(entries), ListJson(entries), as_json);
  return absl::OkStatus();
}

absl::Status Show(const std::string& path, bool as_json) {
  ASSIGN_OR_RETURN(const Checkpoint checkpoint, OpenCheckpoint(path));
  Print(DescribeText(checkpoint), DescribeJson(checkpoint), as_json);
  return absl::OkStatus();
}

absl::Status Verify(const std::string& path, bool as_json) {
  const VerifyReport report = VerifyCheckpoint(path);
  Print(VerifyText(report), VerifyJson(report), as_json);
  return report.status();
}

struct DiffArguments {
  std::string a, b;
  int64_t most = 30;
  bool json = false;
};

absl::Status Diff(const DiffArguments& arguments) {
  ASSIGN_OR_RETURN(const Checkpoint a, OpenCheckpoint(arguments.a));
  ASSIGN_OR_RETURN(const Checkpoint b, OpenCheckpoint(arguments.b));
  ASSIGN_OR_RETURN(const CheckpointDifference difference, CompareCheckpoints(a, b));
  Print(DifferenceText(difference, arguments.most), DifferenceJson(difference), arguments.json);
  return absl::OkStatus();
}

void AddDiff(CLI::App& checkpoint, Program& program) {
  auto arguments = std::make_shared<DiffArguments>();
  CLI::App* command =
      checkpoint.add_subcommand("diff", "Tensors of two checkpoints, most different first");
  command->add_option("a", arguments->a, "folder of a checkpoint")->required();
  command->add_option("b", arguments->b, "folder of another")->required();
  command->add_option("--most", arguments->most, "tensors to print")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 40))
      ->capture_default_str();
  command->add_flag("--json", arguments->json, "for programs");
  command->callback([&program, arguments] {
    program.run = [arguments] { return ReportError(Diff(*arguments)); };
  });
}

}  // namespace

void AddCheckpointCommand(Program& program) {
  CLI::App* checkpoint = program.app.add_subcommand("checkpoint", "Look at checkpoints");
  checkpoint->require_subcommand(1);
  auto path = std::make_shared<std::string>();
  auto json = std::make_shared<bool>(false);
  auto add = [&](const char* name, const char* help, const char* argument,
                 absl::Status (*run)(const std::string&, bool)) {
    CLI::App* command = checkpoint->add_subcommand(name, help);
    command->add_option("path", *path, argument)->required();
    command->add_flag("--json", *json, "for programs");
    command->callback([&program, path, json, run] {
      program.run = [path, json, run] { return ReportError(run(*path, *json)); };
    });
  };
  add("list", "Checkpoints of a run", "folder of a run", List);
  add("show", "What a checkpoint holds", "folder of a checkpoint", Show);
  add("verify", "Recompute every checksum", "folder of a checkpoint", Verify);
  AddDiff(*checkpoint, program);
}

}  // namespace choir
