// The sections of data_bench. Each prints its own table and is one file of this folder.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace choir {

struct DataBenchOptions {
  std::string scratch;  // a folder for files; removed at the end
  std::string shards;   // token shards of real text; empty: the sections that want some do without
  int64_t repeats = 5;  // the best counts
};

// Reading token shards beside a copy of the same bytes from a memory map.
void BenchLoad(const DataBenchOptions& options);
// Packing: documents a second, padding by row length and by number of lanes.
void BenchPack(const DataBenchOptions& options);

// Seconds that `body` takes.
double Seconds(const auto& body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace choir
