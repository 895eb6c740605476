#include "parallel/mesh/degree_rules.h"

#include <utility>

#include "base/strings.h"

namespace choir {
namespace {

int64_t Stages(const ParallelConfig& config) {
  return int64_t{config.pipeline} * config.virtual_stages;
}

// `key` must be at most `most`, which is `what`.
void AtMostOf(DegreeProblems& problems, const char* key, int value, int64_t most,
              const std::string& what) {
  if (value <= most) return;
  problems.push_back({{key}, StrCat("must be at most ", what, ", got ", value, " > ", most)});
}

// The number of stages a rank may have is the schedule's.
void VirtualStageRule(const ParallelConfig& config, DegreeProblems& problems) {
  const std::string name = EnumToString(config.schedule);
  const std::string got = StrCat(", got ", config.virtual_stages);
  const std::vector<std::string> fields = {"virtual_stages", "schedule"};
  if (config.schedule == PipelineKind::kInterleaved) {
    if (config.virtual_stages < 2) {
      problems.push_back({fields, StrCat("must be at least 2 for interleaved", got)});
    }
  } else if (config.schedule == PipelineKind::kDualPipeV) {
    if (config.virtual_stages != 2) {
      problems.push_back(
          {fields, StrCat("must be 2 for dualpipev: a rank has two stages of its V", got)});
    }
  } else if (config.virtual_stages != 1) {
    problems.push_back({fields, StrCat("must be 1 for ", name, got, "; interleaved takes more")});
  }
}

// auto_layout and a degree contradict each other.
void AutoRule(const ParallelConfig& config, DegreeProblems& problems) {
  if (!config.auto_layout) {
    if (!config.rank_memory_gib) return;
    problems.push_back({{"rank_memory_gib", "auto_layout"}, "is used by auto_layout only"});
    return;
  }
  std::string given;
  std::vector<std::string> fields = {"auto_layout"};
  const auto note = [&](const char* key, bool is_given) {
    if (!is_given) return;
    given += (given.empty() ? "" : ", ") + std::string(key);
    fields.push_back(key);
  };
  note("data", config.data.has_value());
  note("shard", config.shard != 1);
  note("zero", config.zero.has_value());
  note("tensor", config.tensor != 1);
  note("expert", config.expert != 1);
  note("expert_tensor", config.expert_tensor != 1);
  note("context", config.context != 1);
  note("pipeline", config.pipeline != 1);
  note("layers_per_stage", !config.layers_per_stage.empty());
  if (!given.empty()) {
    problems.push_back({fields, StrCat("chooses the layout: leave out ", given)});
  }
}

void ContextRules(const ParallelConfig& config, const ModelLimits& limits,
                  DegreeProblems& problems) {
  AtMostOf(problems, "context", config.context, limits.tokens, "the tokens of a sequence");
  const int64_t sharing = int64_t{config.context} * config.tensor;
  if (config.context > 1 && config.context_method == ContextMethod::kUlysses &&
      sharing > limits.heads) {
    problems.push_back({{"context", "tensor", "context_method"},
                        StrCat(config.context, " x tensor ", config.tensor, " = ", sharing,
                               " ranks share the heads under ulysses, but the model has ",
                               limits.heads, ": take fewer ranks, or context_method ring")});
  }
}

void MicrobatchRules(const ParallelConfig& config, const ModelLimits& limits,
                     DegreeProblems& problems) {
  if (!config.data) return;
  if (limits.microbatches % *config.data != 0) {
    problems.push_back({{"data"},
                        StrCat(*config.data, " does not divide the ", limits.microbatches,
                               " microbatches of a step")});
    return;
  }
  // Both arms of the V are filled from one end (as DeepSeek's DualPipeV).
  const int64_t here = limits.microbatches / *config.data, needed = 2 * int64_t{config.pipeline};
  if (config.schedule == PipelineKind::kDualPipeV && here < needed) {
    problems.push_back({{"schedule", "pipeline", "data"},
                        StrCat("dualpipev needs 2 x pipeline ", config.pipeline, " = ", needed,
                               " microbatches on a rank, but ", limits.microbatches, " / data ",
                               *config.data, " = ", here)});
  }
}

}  // namespace

std::string Ranks(int n) { return StrCat(n, n == 1 ? " rank" : " ranks"); }

void Append(DegreeProblems& all, DegreeProblems more) {
  for (DegreeProblem& problem : more) all.push_back(std::move(problem));
}

std::string Sentences(const DegreeProblems& problems) {
  std::string text;
  for (const DegreeProblem& problem : problems) {
    text += StrCat(text.empty() ? "" : "\n", "parallel.", problem.fields[0], " ", problem.message);
  }
  return text;
}

DegreeProblems OptionProblems(const ParallelConfig& config) {
  DegreeProblems problems;
  VirtualStageRule(config, problems);
  AutoRule(config, problems);
  return problems;
}

DegreeProblems LayerSumProblems(const ParallelConfig& config, const ModelLimits& limits) {
  if (config.layers_per_stage.empty()) return {};
  int64_t sum = 0;
  for (int layers : config.layers_per_stage) sum += layers;
  if (sum == limits.layers) return {};
  return {{{"layers_per_stage"},
           StrCat("adds up to ", sum, " layers, but the model has ", limits.layers)}};
}

DegreeProblems NodeProblems(const ParallelConfig& config, int world) {
  if (!config.node_size || world % *config.node_size == 0) return {};
  return {{{"node_size"}, StrCat(*config.node_size, " does not divide the job's ", Ranks(world))}};
}

DegreeProblems StageListProblems(const ParallelConfig& config) {
  const int64_t listed = static_cast<int64_t>(config.layers_per_stage.size());
  if (listed == 0 || listed == Stages(config)) return {};
  return {{{"layers_per_stage", "pipeline", "virtual_stages"},
           StrCat("lists ", listed, " stages, but pipeline ", config.pipeline, " x virtual_stages ",
                  config.virtual_stages, " = ", Stages(config))}};
}

DegreeProblems ShardProblems(const ParallelConfig& config) {
  DegreeProblems problems;
  if (config.data && *config.data % config.shard != 0) {
    problems.push_back(
        {{"shard", "data"}, StrCat(config.shard, " does not divide data ", *config.data)});
  }
  if (config.zero.value_or(0) > 0 && config.shard == 1) {
    problems.push_back({{"zero", "shard"},
                        StrCat("is ", *config.zero,
                               ", but shard 1 cuts nothing: set parallel.shard to a divisor of "
                               "data above 1, or zero to 0")});
  }
  if (config.zero == 0 && config.shard > 1) {
    problems.push_back({{"zero", "shard"},
                        StrCat("is 0, so shard ", config.shard,
                               " cuts nothing: set zero to 1, 2 or 3, or shard to 1")});
  }
  return problems;
}

DegreeProblems BlockProblems(const ParallelConfig& config, const ModelLimits& limits) {
  DegreeProblems problems;
  if (Stages(config) > limits.layers) {
    problems.push_back(
        {{"pipeline", "virtual_stages"},
         StrCat(config.pipeline, " x virtual_stages ", config.virtual_stages, " = ", Stages(config),
                " stages, but the model has ", limits.layers, " layers")});
  }
  AtMostOf(problems, "tensor", config.tensor, limits.heads, "the model's heads");
  AtMostOf(problems, "tensor", config.tensor, limits.hidden, "the model's hidden width");
  AtMostOf(problems, "tensor", config.tensor, limits.vocab, "the model's vocabulary");
  if (limits.ffn > 0) {
    AtMostOf(problems, "tensor", config.tensor, limits.ffn, "the model's feed-forward width");
  }
  ContextRules(config, limits, problems);
  MicrobatchRules(config, limits, problems);
  return problems;
}

DegreeProblems ExpertProblems(const ParallelConfig& config, const ModelLimits& limits) {
  DegreeProblems problems;
  if (limits.experts == 0) {
    AtMostOf(problems, "expert", config.expert, 1, "1 in a model without experts");
    AtMostOf(problems, "expert_tensor", config.expert_tensor, 1, "1 in a model without experts");
  } else {
    AtMostOf(problems, "expert", config.expert, limits.experts, "the model's experts");
    AtMostOf(problems, "expert_tensor", config.expert_tensor, limits.expert_width,
             "the width of an expert");
  }
  if (!config.data) return problems;
  const int64_t ranks = int64_t{*config.data} * config.context * config.tensor;
  const int64_t experts = int64_t{config.expert} * config.expert_tensor;
  if (ranks % experts != 0) {
    problems.push_back({{"expert", "expert_tensor", "data", "context", "tensor"},
                        StrCat(config.expert, " x expert_tensor ", config.expert_tensor, " = ",
                               experts, " does not divide data ", *config.data, " x context ",
                               config.context, " x tensor ", config.tensor, " = ", ranks)});
  }
  return problems;
}

DegreeProblems WorldProblems(const ParallelConfig& config, int world) {
  const int64_t others = int64_t{config.pipeline} * config.context * config.tensor;
  if (!config.data) {
    if (world % others == 0) return {};
    return {{{"pipeline", "context", "tensor"},
             StrCat(config.pipeline, " x context ", config.context, " x tensor ", config.tensor,
                    " = ", others, " does not divide the job's ", Ranks(world))}};
  }
  const int64_t product = others * *config.data;
  if (product == world) return {};
  return {{{"data", "pipeline", "context", "tensor"},
           StrCat("does not fit: pipeline ", config.pipeline, " x data ", *config.data,
                  " x context ", config.context, " x tensor ", config.tensor, " = ", product,
                  ", but the job has ", Ranks(world))}};
}

}  // namespace choir
