// What a step or a validation writes to metrics.jsonl, and the validation table for people.
#pragma once

#include <string>
#include <vector>

#include "eval/validate.h"
#include "train/json_line.h"
#include "train/trainer.h"

namespace choir {

struct StepTiming {
  double seconds = 0;
  double gemm_peak = 0;  // FLOP/s; mfu is relative to it
};

// Memory is the peak since the ledger's last reset, by category.
JsonLine StepMetrics(const StepReport& report, const StepTiming& timing,
                     const std::vector<std::string>& languages);
JsonLine ValidationMetrics(int64_t step, const LanguageLoss& loss);

// A line with the mean, and the worst margin to the unigram loss; with `by_language`, a line each.
std::string ValidationTable(int64_t step, const std::vector<LanguageLoss>& losses,
                            bool by_language);
std::string FormatSeconds(double seconds);

}  // namespace choir
