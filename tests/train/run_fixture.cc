#include "tests/train/run_fixture.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/check.h"
#include "base/config.h"
#include "base/file.h"
#include "base/strings.h"
#include "checkpoint/checkpoint_list.h"
#include "checkpoint/integrity.h"
#include "checkpoint/load.h"
#include "checkpoint/names.h"
#include "data/build/commands.h"
#include "tests/base/scratch_folder.h"

namespace choir::train_test {
namespace fs = std::filesystem;

const std::string& TempRoot() {
  static const ScratchFolder root;
  return root.path();
}

std::string FreshPath(const std::string& name) {
  static int count = 0;
  return StrCat(TempRoot(), "/", name, "-", ++count);
}

std::string Read(const std::string& path) {
  const auto text = ReadFile(path);
  EXPECT_TRUE(text.ok()) << text.status();
  return text.ok() ? *text : "";
}

void Write(const std::string& path, const std::string& text) {
  fs::create_directories(fs::path(path).parent_path());
  std::ofstream(path, std::ios::binary | std::ios::trunc) << text;
  ASSERT_EQ(Read(path), text);
}

bool Exists(const std::string& path) { return fs::exists(path); }

std::vector<std::string> Names(const std::string& folder) {
  std::vector<std::string> names;
  if (!fs::exists(folder)) return names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

std::string ConfigPath(const std::string& name) {
  return StrCat(CHOIR_SOURCE_DIR, "/configs/", name, ".yaml");
}

const std::string& TinyData() {
  static const std::string folder = [] {
    const std::string path = CHOIR_TEST_DATA;
    fs::create_directories(path);
    const int lock = open((path + ".lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    CHECK(lock >= 0 && flock(lock, LOCK_EX) == 0) << path;
    const auto config = LoadConfigFile<DataBuildConfig>(
        ConfigPath("data/tiny"),
        {StrCat("--corpus.path=", CHOIR_SOURCE_DIR, "/tests/fixtures/corpus"),
         StrCat("--tokenizer.model=", path, "/tokenizer.model"), StrCat("--shards.path=", path)});
    EXPECT_TRUE(config.ok()) << config.status();
    std::ostringstream out;
    EXPECT_EQ(BuildTokenizer(*config, out), absl::OkStatus());
    EXPECT_EQ(BuildShards(*config, out), absl::OkStatus());
    close(lock);
    return path;
  }();
  return folder;
}

std::vector<std::string> TrainArgs(const std::string& name, const std::string& run_dir,
                                   const std::vector<std::string>& more) {
  std::vector<std::string> args = {"train", ConfigPath(name), "--run.dir=" + run_dir,
                                   "--data.path=" + TinyData()};
  args.insert(args.end(), more.begin(), more.end());
  return args;
}

Metrics ReadMetrics(const std::string& run_dir) {
  Metrics metrics;
  std::istringstream text(Read(run_dir + "/metrics.jsonl"));
  for (std::string line; std::getline(text, line);) {
    const nlohmann::json object = nlohmann::json::parse(line, nullptr, false);
    EXPECT_TRUE(object.is_object()) << line;
    if (!object.is_object()) continue;
    if (object.contains("eval")) {
      metrics.validations.push_back(object);
      continue;
    }
    if (object.contains("memory_plan")) {
      metrics.memory_plans.push_back(object);
      continue;
    }
    metrics.steps.push_back(object);
    const std::string key = "\"loss\": ";
    const size_t begin = line.find(key) + key.size();
    metrics.losses.push_back(line.substr(begin, line.find(',', begin) - begin));
  }
  return metrics;
}

namespace {

// What may differ between two runs of the same steps.
void RemoveTimes(nlohmann::json& line) {
  for (const char* key : {"seconds", "tokens_per_s", "mfu", "data_wait_s", "memory"}) {
    line.erase(key);
  }
}

Checkpoint Newest(const std::string& run_dir) {
  const auto latest = FindLatest(run_dir);
  EXPECT_TRUE(latest.ok()) << latest.status();
  if (!latest.ok()) return {};
  EXPECT_TRUE(latest->warnings.empty()) << latest->warnings.front();
  return latest->checkpoint;
}

std::vector<NamedTensor> Tensors(const Checkpoint& checkpoint) {
  std::vector<NamedTensor> tensors;
  for (const TensorRecord& record : checkpoint.manifest.tensors) {
    tensors.push_back({record.name, Tensor::Zeros(record.shape, {record.dtype, Device::kCpu})});
  }
  EXPECT_EQ(LoadTensors(checkpoint, tensors), absl::OkStatus());
  return tensors;
}

}  // namespace

void ExpectSameMetrics(const std::string& a, const std::string& b) {
  Metrics left = ReadMetrics(a), right = ReadMetrics(b);
  EXPECT_EQ(left.losses, right.losses);
  ASSERT_EQ(left.steps.size(), right.steps.size());
  for (size_t i = 0; i < left.steps.size(); ++i) {
    RemoveTimes(left.steps[i]);
    RemoveTimes(right.steps[i]);
    EXPECT_EQ(left.steps[i]["step"], i + 1);
    EXPECT_EQ(left.steps[i].dump(), right.steps[i].dump());
  }
  EXPECT_EQ(nlohmann::json(left.validations).dump(), nlohmann::json(right.validations).dump());
}

void ExpectSameCheckpoint(const std::string& a, const std::string& b) {
  const Checkpoint left = Newest(a), right = Newest(b);
  EXPECT_EQ(left.manifest.step, right.manifest.step);
  EXPECT_EQ(left.manifest.state.dump(), right.manifest.state.dump());
  const std::vector<NamedTensor> x = Tensors(left), y = Tensors(right);
  ASSERT_EQ(x.size(), y.size());
  ASSERT_GT(x.size(), 10u);
  for (size_t i = 0; i < x.size(); ++i) {
    EXPECT_EQ(x[i].name, y[i].name);
    ASSERT_EQ(x[i].tensor.bytes(), y[i].tensor.bytes());
    const auto bytes = static_cast<size_t>(x[i].tensor.bytes());
    EXPECT_EQ(std::memcmp(x[i].tensor.raw(), y[i].tensor.raw(), bytes), 0) << x[i].name;
  }
  EXPECT_EQ(LoadBlobs(left).value(), LoadBlobs(right).value());
}

std::vector<int64_t> GoodSteps(const std::string& run_dir) {
  std::vector<int64_t> steps;
  const auto entries = ListCheckpoints(run_dir);
  EXPECT_TRUE(entries.ok()) << entries.status();
  for (const CheckpointEntry& entry : *entries) {
    if (VerifyCheckpoint(entry.path).status().ok()) steps.push_back(entry.step);
  }
  return steps;
}

void DamageCheckpoint(const std::string& run_dir, int64_t step) {
  const std::string path =
      StrCat(CheckpointsFolder(run_dir), "/", StepName(step), "/shard-00000.h5");
  std::string bytes = Read(path);
  ASSERT_GT(bytes.size(), 1000u);
  bytes[bytes.size() / 2] ^= 1;
  Write(path, bytes);
}

std::map<std::string, std::string> Snapshot(const std::string& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) files[entry.path()] = Read(entry.path());
  }
  return files;
}

}  // namespace choir::train_test
