// The data pipeline's speed, beside what bounds it in the same run.
//
//   data_bench [--repeats N] [--shards FOLDER] [SECTION...]     default: every section
//
// --shards: token shards of real text (`choir data build`), for the padding of real lengths.
#include <stdlib.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "bench/data/sections.h"

namespace choir {
namespace {

const std::vector<std::pair<std::string, std::function<void(const DataBenchOptions&)>>> kSections =
    {{"load", BenchLoad}, {"pack", BenchPack}};

int Usage() {
  std::string names;
  for (const auto& [name, section] : kSections) names += " " + name;
  std::fprintf(stderr,
               "usage: data_bench [--repeats N] [--shards FOLDER] [SECTION...]; sections:%s\n",
               names.c_str());
  return 2;
}

int Main(const std::vector<std::string>& arguments) {
  DataBenchOptions options;
  std::vector<std::string> wanted;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const bool has_value = i + 1 < arguments.size();
    if (arguments[i] == "--repeats" && has_value) {
      options.repeats = std::atoll(arguments[++i].c_str());
    } else if (arguments[i] == "--shards" && has_value) {
      options.shards = arguments[++i];
    } else {
      wanted.push_back(arguments[i]);
    }
  }
  const auto known = [](const std::string& name) {
    return std::ranges::any_of(kSections, [&](const auto& s) { return s.first == name; });
  };
  if (options.repeats < 1 || !std::ranges::all_of(wanted, known)) return Usage();
  options.scratch = std::filesystem::temp_directory_path().string() + "/choir-data-bench-XXXXXX";
  CHECK(mkdtemp(options.scratch.data()) != nullptr) << options.scratch;
  for (const auto& [name, section] : kSections) {
    if (!wanted.empty() && std::ranges::find(wanted, name) == wanted.end()) continue;
    std::printf("== %s\n", name.c_str());
    section(options);
    std::fflush(stdout);
  }
  std::filesystem::remove_all(options.scratch);
  return 0;
}

}  // namespace
}  // namespace choir

int main(int argc, char** argv) { return choir::Main({argv + 1, argv + argc}); }
