// The committed fixture (tests/fixtures/corpus: a few paragraphs in 29 languages), and a small
// tokenizer and token shards of it, made once in each test program.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "data/build/commands.h"
#include "data/data_config.h"
#include "tests/base/scratch_folder.h"

namespace choir::testing_data {

// A fresh folder, removed when the program ends.
inline std::string TempFolder(const std::string& name) {
  static const ScratchFolder root;
  const std::filesystem::path folder = std::filesystem::path(root.path()) / name;
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  return folder.string();
}

inline void WriteText(const std::string& path, const std::string& text) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream(path, std::ios::binary) << text;
  ASSERT_TRUE(std::filesystem::exists(path));
}

inline std::string FixtureCorpus() {
  return std::string(CHOIR_SOURCE_DIR) + "/tests/fixtures/corpus";
}

// Records of the fixture, by language in alphabetical order.
inline std::vector<nlohmann::json> FixtureRecords(const std::string& split) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(FixtureCorpus() + "/" + split)) {
    files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  std::vector<nlohmann::json> records;
  for (const std::filesystem::path& path : files) {
    std::ifstream file(path);
    for (std::string line; std::getline(file, line);) {
      records.push_back(nlohmann::json::parse(line));
    }
  }
  EXPECT_GT(records.size(), 28u);
  return records;
}

inline DataBuildConfig BuildConfigIn(const std::string& folder) {
  DataBuildConfig config;
  config.corpus.path = FixtureCorpus();
  // Documents as they are, so that tests may compare them with their source.
  config.clean.controls = false;
  config.clean.nfc = false;
  config.clean.spaces = SpaceMode::kKeep;
  config.tokenizer.model = folder + "/shards/tokenizer.model";
  config.tokenizer.vocab_size = 2000;
  config.tokenizer.sample_bytes_per_language = 4000;
  config.tokenizer.character_coverage = 0.98;
  config.shards.path = folder + "/shards";
  config.shards.max_tokens_per_shard = 60'000;
  config.shards.threads = 2;
  return config;
}

// The folder with shards/ in it.
inline const std::string& FixtureFolder() {
  static const std::string folder = [] {
    const std::string folder = TempFolder("fixture");
    std::ostringstream out;
    const DataBuildConfig config = BuildConfigIn(folder);
    EXPECT_EQ(BuildTokenizer(config, out), absl::OkStatus());
    EXPECT_EQ(BuildShards(config, out), absl::OkStatus());
    return folder;
  }();
  return folder;
}

inline DataConfig FixtureDataConfig() {
  DataConfig config;
  config.path = FixtureFolder() + "/shards";
  config.sequence_length = 64;
  config.batch_sequences = 6;
  config.lanes = 4;
  config.seed = 7;
  config.packing.look_ahead = 8;
  return config;
}

}  // namespace choir::testing_data
