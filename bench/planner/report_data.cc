// The sections that need no prediction of time: FLOPs, rows left out, memory.
#include <map>

#include "absl/strings/str_format.h"
#include "bench/planner/published_memory.h"
#include "bench/planner/published_model.h"
#include "bench/planner/report.h"
#include "bench/planner/statistics.h"

namespace choir::planner {
namespace {

// The shape of a checked model: from a row that has it, or from its public card.
PublishedModel ShapeOf(const ReferenceData& data, const FlopsCheck& check) {
  const std::string name = check.model.substr(0, check.model.find(' '));
  PublishedModel shape = KnownModel(name);
  for (const PublishedRun& run : data.runs) {
    if (shape.layers == 0 && run.model.name == name && run.model.layers > 0) shape = run.model;
  }
  shape.seq = check.seq;
  shape.mtp = check.model.find("MTP") != std::string::npos;
  return shape;
}

// LoRA: forward and the gradients of activations, none of weights; the source leaves attention out.
double CountedFlops(PublishedModel shape, const FlopsCheck& check) {
  if (check.model.find("LoRA") == std::string::npos) return FlopsPerToken(shape);
  shape.seq = 0;
  return FlopsPerToken(shape) * 2 / 3;
}

}  // namespace

std::string FlopsReport(const ReferenceData& data) {
  std::string text = "## FLOPs per token (GFLOP) against what the published tables imply\n";
  text += absl::StrFormat("%-34s %6s %9s %9s %8s  %s\n", "model", "seq", "implied", "counted",
                          "error %", "note");
  for (const FlopsCheck& check : data.flops) {
    const PublishedModel shape = ShapeOf(data, check);
    if (shape.layers == 0) {
      text += absl::StrFormat("%-34s %6d %9.1f %9s %8s  %s\n", check.model, check.seq,
                              check.implied, "-", "-", "not checkable: no shape in the rows");
      continue;
    }
    const double counted = CountedFlops(shape, check) * 1e-9;
    text +=
        absl::StrFormat("%-34s %6d %9.1f %9.1f %+8.2f  %s\n", check.model, check.seq, check.implied,
                        counted, 100 * (counted / check.implied - 1), check.note);
  }
  return text;
}

std::string ExclusionReport(const ReferenceData& data) {
  std::map<std::string, std::vector<std::string>> reasons;
  size_t kept = 0;
  for (const PublishedRun& run : data.runs) {
    if (run.excluded.empty()) {
      ++kept;
    } else {
      reasons[run.excluded].push_back(run.id);
    }
  }
  std::string text = absl::StrFormat("## Rows whose step time is not compared (%d of %d are)\n",
                                     kept, data.runs.size());
  for (const auto& [reason, ids] : reasons) {
    text += absl::StrFormat("%s: %d\n", reason, ids.size());
    for (const std::string& id : ids) text += "  " + id + "\n";
  }
  return text;
}

std::string MemoryReport(const ReferenceData& data) {
  std::string text = "## Peak memory of a rank against published peaks (GiB)\n";
  text += absl::StrFormat("%-44s %9s %8s %8s %8s %8s %9s %8s\n", "row", "measured", "state",
                          "activ.", "logits", "gathers", "predicted", "error %");
  std::vector<double> errors;
  for (const PublishedRun& run : data.runs) {
    const bool shaped = run.model.layers > 0 && run.model.hidden > 0 && run.model.vocab > 0;
    const bool formula = shaped && run.batch > 0 && run.microbatch > 0 && !run.moe();
    if (run.peak_bytes == 0 || !formula || run.machine.empty()) continue;
    const bool offload = run.excluded.find("offload") != std::string::npos ||
                         run.excluded.find("state") != std::string::npos;
    if (offload) continue;
    constexpr double kGiB = 1024.0 * 1024 * 1024;
    const PublishedMemory memory = MemoryOf(run);
    errors.push_back(memory.Total() / run.peak_bytes - 1);
    text += absl::StrFormat("%-44s %9.2f %8.2f %8.2f %8.2f %8.2f %9.2f %+8.1f\n", run.id,
                            run.peak_bytes / kGiB, memory.weights / kGiB, memory.activations / kGiB,
                            memory.logits / kGiB, memory.gathers / kGiB, memory.Total() / kGiB,
                            100 * errors.back());
  }
  const ErrorSummary e = Summarize(errors);
  text += absl::StrFormat("%d rows: mean %.1f, max %.1f, bias %+.1f\n", e.count, 100 * e.mean,
                          100 * e.max, 100 * e.bias);
  return text;
}

}  // namespace choir::planner
