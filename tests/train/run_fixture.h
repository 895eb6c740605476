// Runs on the committed fixture corpus: folders, configs, and what a run left behind.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "checkpoint/manifest.h"
#include "tests/train/process.h"

namespace choir::train_test {

// A folder of this program that is removed when it ends.
const std::string& TempRoot();
// A name in it that does not exist yet.
std::string FreshPath(const std::string& name);

std::string Read(const std::string& path);
void Write(const std::string& path, const std::string& text);
bool Exists(const std::string& path);
// The names in a folder, sorted; empty if it is not there.
std::vector<std::string> Names(const std::string& folder);

// Token shards of the fixture by configs/data/tiny.yaml. They are kept in the build folder: made by
// the first program that asks, made again when their inputs change.
const std::string& TinyData();

// Path of configs/<name>.yaml.
std::string ConfigPath(const std::string& name);
// `train configs/<name>.yaml` into `run_dir` on TinyData, and more arguments.
std::vector<std::string> TrainArgs(const std::string& name, const std::string& run_dir,
                                   const std::vector<std::string>& more = {});

// Lines of metrics.jsonl.
struct Metrics {
  std::vector<nlohmann::json> steps;        // training, in order
  std::vector<nlohmann::json> validations;  // in order
  std::vector<nlohmann::json> memory_plans;
  std::vector<std::string> losses;  // of steps: the number as printed
};
Metrics ReadMetrics(const std::string& run_dir);

// Both runs did the same steps with the same results: the text of every loss, and all that
// metrics.jsonl holds but time and memory.
void ExpectSameMetrics(const std::string& a, const std::string& b);
// The newest checkpoints hold the same step, state and bits of weights and moments.
void ExpectSameCheckpoint(const std::string& a, const std::string& b);
inline void ExpectSameRun(const std::string& a, const std::string& b) {
  ExpectSameMetrics(a, b);
  ExpectSameCheckpoint(a, b);
}

// Steps of the checkpoints of a run that are whole, oldest first.
std::vector<int64_t> GoodSteps(const std::string& run_dir);
// Turns a bit in the middle of the data file of a checkpoint.
void DamageCheckpoint(const std::string& run_dir, int64_t step);
// Every file below a folder and its content.
std::map<std::string, std::string> Snapshot(const std::string& folder);

}  // namespace choir::train_test
