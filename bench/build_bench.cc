// `choir data build` on a corpus, by number of threads: the table of its stages and the rate. The
// text is in the page cache; every build starts from nothing.
//
//   build_bench CONFIG [--threads 1 2] [--repeats 2]     CONFIG as of `choir data build`
#include <CLI/CLI.hpp>
#include <chrono>
#include <filesystem>
#include <iostream>
#include <sstream>
#include <vector>

#include "absl/strings/str_format.h"
#include "base/config_load.h"
#include "base/strings.h"
#include "data/build/commands.h"

namespace choir {
namespace {

// Builds into a fresh folder beside that of the config; seconds, and what was printed.
absl::StatusOr<double> BuildOnce(DataBuildConfig config, int64_t threads, std::string& printed) {
  config.shards.path += "-bench";
  config.shards.threads = threads;
  std::filesystem::remove_all(config.shards.path);
  std::ostringstream out;
  const auto start = std::chrono::steady_clock::now();
  const absl::Status status = BuildShards(config, out);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  std::filesystem::remove_all(config.shards.path);
  if (!status.ok()) return status;
  printed = out.str();
  return seconds.count();
}

absl::Status Run(const std::string& path, const std::vector<int64_t>& threads, int repeats) {
  const absl::StatusOr<DataBuildConfig> config = LoadConfigFile<DataBuildConfig>(path);
  if (!config.ok()) return config.status();
  for (const int64_t t : threads) {
    double best = 0;
    std::string best_printed;
    for (int r = 0; r < repeats; ++r) {
      std::string printed;
      const absl::StatusOr<double> seconds = BuildOnce(*config, t, printed);
      if (!seconds.ok()) return seconds.status();
      if (r > 0 && *seconds >= best) continue;
      best = *seconds;
      best_printed = printed;
    }
    std::cout << "threads " << t << ", best of " << repeats << ": " << absl::StrFormat("%.2f", best)
              << " s\n"
              << best_printed.substr(best_printed.find("\nstage") + 1) << '\n';
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace choir

int main(int argc, char** argv) {
  CLI::App app("Times `choir data build` by number of threads.");
  std::string config;
  std::vector<int64_t> threads = {1, 2};
  int repeats = 2;
  app.add_option("config", config, "config of `choir data build`")->required();
  app.add_option("--threads", threads, "numbers of threads")->check(CLI::Range(1, 1024));
  app.add_option("--repeats", repeats, "builds, of which the fastest counts")
      ->check(CLI::Range(1, 100));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    app.exit(error);
    return error.get_exit_code() == 0 ? 0 : 2;
  }
  const absl::Status status = choir::Run(config, threads, repeats);
  if (!status.ok()) std::cerr << status.message() << '\n';
  return status.ok() ? 0 : 1;
}
