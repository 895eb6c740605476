// `choir doctor`
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "base/status.h"
#include "base/strings.h"
#include "ops/parallel_for.h"
#include "train/commands.h"
#include "train/doctor.h"
#include "train/exit_code.h"

namespace choir {
namespace {

struct DoctorArguments {
  bool measure = false;
  std::optional<std::string> out;
  std::optional<int> ranks, threads;
};

// Before a minute of measuring, not after it.
absl::Status CheckArguments(const DoctorArguments& arguments, const Program& program) {
  if (arguments.ranks && program.world != nullptr) {
    return absl::InvalidArgumentError(
        "choir doctor: --ranks makes threads of one process; under mpirun the ranks are its "
        "processes");
  }
  if (!arguments.out) return absl::OkStatus();
  const std::filesystem::path folder = std::filesystem::path(*arguments.out).parent_path();
  std::error_code error;
  if (!folder.empty() && !std::filesystem::is_directory(folder, error)) {
    return absl::InvalidArgumentError(
        StrCat("choir doctor: --out: there is no folder ", folder.string()));
  }
  if (std::filesystem::is_directory(*arguments.out, error)) {
    return absl::InvalidArgumentError(
        StrCat("choir doctor: --out: ", *arguments.out, " is a folder; a file is wanted"));
  }
  return absl::OkStatus();
}

absl::StatusOr<Measurement> Measure(const DoctorArguments& arguments, World* world) {
  if (arguments.ranks) return MeasureThreads(*arguments.ranks);
  return MeasureMachine(world);
}

absl::Status Doctor(const DoctorArguments& arguments, const Program& program) {
  RETURN_IF_ERROR(CheckArguments(arguments, program));
  // Ranks that are threads of one process share its processors.
  if (arguments.ranks) SetNumThreads(std::max(1, NumThreads() / *arguments.ranks));
  if (arguments.threads) SetNumThreads(*arguments.threads);
  const bool speaks = program.world == nullptr || program.world->rank() == 0;
  if (speaks) {
    std::printf("%s", DescribeMachine(program.world).c_str());
    std::fflush(stdout);
  }
  if (!arguments.measure) return absl::OkStatus();
  ASSIGN_OR_RETURN(const Measurement measurement, Measure(arguments, program.world));
  if (!speaks) return absl::OkStatus();
  std::printf("\n%s", DescribeMeasurement(measurement).c_str());
  if (!arguments.out) return absl::OkStatus();
  RETURN_IF_ERROR(SaveHardware(measurement.hardware, *arguments.out));
  std::printf("\nwritten: %s, for choir plan --hardware\n", arguments.out->c_str());
  return absl::OkStatus();
}

}  // namespace

void AddDoctorCommand(Program& program) {
  CLI::App* command =
      program.app.add_subcommand("doctor", "What this program and machine have and can do");
  auto arguments = std::make_shared<DoctorArguments>();
  CLI::Option* measure = command->add_flag("--measure", arguments->measure,
                                           "time kernels and exchanges; under a minute");
  command->add_option("--out", arguments->out, "hardware file for choir plan --hardware; replaced")
      ->needs(measure);
  command
      ->add_option("--ranks", arguments->ranks,
                   "measure this many ranks as threads of this process (default: the job's)")
      ->needs(measure)
      ->check(CLI::Range(2, 64));
  command
      ->add_option(
          "--threads", arguments->threads,
          "of each rank (default: OMP_NUM_THREADS, or all processors; with --ranks shared out)")
      ->check(CLI::Range(1, 1024));
  command->footer("Under mpirun the exchanges of its ranks are measured, over MPI.");
  command->callback([&program, arguments] {
    program.run = [&program, arguments] { return ReportError(Doctor(*arguments, program)); };
  });
}

}  // namespace choir
