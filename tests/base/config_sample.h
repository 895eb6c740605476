// The config that the tests of base/config*.h share: every type of field, every limit, nested
// sections with rules.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/config.h"

namespace choir {

enum class Numerics { kFast, kInvariant };
template <>
struct EnumNames<Numerics> {
  static constexpr EnumName<Numerics> kAll[] = {{Numerics::kFast, "fast"},
                                                {Numerics::kInvariant, "invariant"}};
};

namespace sample {

struct SourceConfig {
  std::string path;
  double weight = 1;
  std::vector<std::string> tags;
  void Visit(auto&& v) {
    v("path", path, "file to read", Required(), MustExist());
    v("weight", weight, "share of this source", Above(0));
    v("tags", tags, "free labels", NonEmpty());
  }
};

struct DataConfig {
  std::vector<SourceConfig> sources;
  std::map<std::string, double> language_weights;
  std::string tokenizer;
  void Visit(auto&& v) {
    v("sources", sources, "where the text comes from");
    v("language_weights", language_weights, "share of each language", AtLeast(0));
    v("tokenizer", tokenizer, "model of the tokenizer", MustExist());
  }
};

struct ScheduleConfig {
  int warmup_steps = 10;
  std::optional<double> floor;
  void Visit(auto&& v) {
    v("warmup_steps", warmup_steps, "steps of linear increase", AtLeast(0));
    v("floor", floor, "lowest rate; auto: a tenth of lr", AtLeast(0.0));
  }
};

struct OptimConfig {
  double lr = 3e-4;
  std::vector<double> betas = {0.9, 0.95};
  std::optional<std::string> state_dtype;
  std::optional<Numerics> numerics;
  ScheduleConfig schedule;
  void Visit(auto&& v) {
    v("lr", lr, "peak learning rate", InRange(0, 1));
    v("betas", betas, "decay of the first | second moment", AtLeast(0), Below(1));
    v("state_dtype", state_dtype, "dtype of the moments", OneOf({"f32", "bf16"}));
    v("numerics", numerics, "overrides the run's");
    v("schedule", schedule, "how the rate changes");
  }
  void Check(ConfigErrors& errors) const {
    if (betas.size() != 2) {
      errors.Add("betas", StrCat("must have 2 values, got ", betas.size()));
    }
    if (schedule.floor && *schedule.floor > lr) {
      errors.Conflict({"schedule.floor", "lr"}, StrCat("must be at most lr (", ShortestDouble(lr),
                                                       "), got ", ShortestDouble(*schedule.floor)));
    }
  }
};

struct RunConfig {
  std::string name = "run";
  int steps = 100;
  int64_t tokens = 0;
  bool resume = false;
  Numerics numerics = Numerics::kFast;
  int heads = 8;
  int experts = 16;
  OptimConfig optim;
  DataConfig data;
  void Visit(auto&& v) {
    v("name", name, "name of the run", NonEmpty());
    v("steps", steps, "optimizer steps", AtLeast(1), AtMost(1000000));
    v("tokens", tokens, "token budget");
    v("resume", resume, "go on from the last checkpoint");
    v("numerics", numerics, "kernels and reductions");
    v("heads", heads, "attention heads", MultipleOf(4));
    v("experts", experts, "experts of each layer", PowerOfTwo());
    v("optim", optim, "");
    v("data", data, "");
  }
  void Check(ConfigErrors& errors) const {
    if (optim.schedule.warmup_steps > steps) {
      errors.Conflict(
          {"optim.schedule.warmup_steps", "steps"},
          StrCat("must be at most steps (", steps, "), got ", optim.schedule.warmup_steps));
    }
  }
};

// The messages of loading `text` as run.yaml with overrides; empty if it loads.
inline std::string ErrorsOf(const std::string& text,
                            const std::vector<std::string>& arguments = {}) {
  auto tree = ConfigTree::ParseString(text, "run.yaml");
  if (!tree.ok()) return std::string(tree.status().message());
  tree->Override(arguments, 3);
  return std::string(LoadConfig<RunConfig>(*tree).status().message());
}

inline RunConfig Loaded(const std::string& text, const std::vector<std::string>& arguments = {}) {
  auto tree = ConfigTree::ParseString(text, "run.yaml");
  CHECK(tree.ok()) << tree.status();
  tree->Override(arguments, 3);
  auto config = LoadConfig<RunConfig>(*tree, {.check_paths = false});
  CHECK(config.ok()) << config.status();
  return *config;
}

}  // namespace sample
}  // namespace choir
