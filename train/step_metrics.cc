#include "train/step_metrics.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>

#include "tensor/memory.h"

namespace choir {
namespace {

JsonLine MemoryMetrics() {
  const MemoryLedger& ledger = CurrentLedger(Device::kCpu);
  JsonLine memory;
  for (int i = 0; i < kNumMemoryCategories; ++i) {
    const auto category = static_cast<MemoryCategory>(i);
    memory.Add(Name(category), ledger.Peak(category));
  }
  return memory.Add("total", ledger.PeakTotal());
}

template <class... Args>
std::string Format(const char* format, Args... args) {
  char text[256];
  std::snprintf(text, sizeof(text), format, args...);
  return text;
}

}  // namespace

std::string FormatSeconds(double seconds) { return Format("%.2f s", seconds); }

JsonLine StepMetrics(const StepReport& report, const StepTiming& timing,
                     const std::vector<std::string>& languages) {
  JsonLine tokens, losses;
  for (size_t i = 0; i < languages.size(); ++i) {
    tokens.Add(languages[i], report.language_tokens[i]);
    if (std::isfinite(report.language_loss[i])) losses.Add(languages[i], report.language_loss[i]);
  }
  JsonLine line;
  line.Add("step", report.step)
      .Add("tokens", report.tokens)
      .Add("loss", report.loss)
      .Add("balance_loss", report.balance_loss)
      .Add("grad_norm", report.grad_norm)
      .Add("lr", report.lr)
      .Add("seconds", timing.seconds)
      .Add("tokens_per_s", static_cast<double>(report.step_labels) / timing.seconds)
      .Add("mfu", report.flops / timing.seconds / timing.gemm_peak)
      .Add("data_wait_s", report.data_wait_s)
      .Add("padding", report.padding)
      .Add("memory", MemoryMetrics());
  if (report.loss_scale != 1) {
    line.Add("loss_scale", report.loss_scale)
        .Add("skipped", report.skipped)
        .Add("skipped_steps", report.skipped_steps);
  }
  if (!report.expert_load.empty()) {
    const double sum = std::accumulate(report.expert_load.begin(), report.expert_load.end(), 0.0);
    line.Add("expert_load_max",
             *std::max_element(report.expert_load.begin(), report.expert_load.end()))
        .Add("expert_load_mean", sum / static_cast<double>(report.expert_load.size()));
  }
  if (!report.language_dropped.empty()) {
    JsonLine dropped;
    int64_t total = 0;
    for (size_t i = 0; i < languages.size(); ++i) {
      dropped.Add(languages[i], report.language_dropped[i]);
      total += report.language_dropped[i];
    }
    line.Add("dropped_total", total).Add("dropped", dropped);
  }
  return line.Add("language_tokens", tokens)
      .Add("language_loss", losses)
      .Add("data_digest", report.data_digest);
}

JsonLine ValidationMetrics(int64_t step, const LanguageLoss& loss) {
  return JsonLine()
      .Add("step", step)
      .Add("eval", "validation")
      .Add("language", loss.language)
      .Add("loss", loss.loss)
      .Add("bits_per_byte", loss.bits_per_byte)
      .Add("unigram_loss", loss.unigram_loss)
      .Add("labels", loss.labels);
}

std::string ValidationTable(int64_t step, const std::vector<LanguageLoss>& losses,
                            bool by_language) {
  double nll = 0, labels = 0, worst = INFINITY;
  std::string table, worst_language = "none";
  for (const LanguageLoss& l : losses) {
    nll += l.loss * static_cast<double>(l.labels);
    labels += static_cast<double>(l.labels);
    if (l.unigram_loss - l.loss < worst) {
      worst = l.unigram_loss - l.loss;
      worst_language = l.language;
    }
    table += Format("\n  %-8s %10.4f %10.4f %10.3f", l.language.c_str(), l.loss, l.unigram_loss,
                    l.bits_per_byte);
  }
  std::string text = Format(
      "validation after step %lld: loss %.4f over %zu languages; smallest gain on unigrams %.4f "
      "(%s)",
      static_cast<long long>(step), nll / std::max(1.0, labels), losses.size(), worst,
      worst_language.c_str());
  if (by_language) {
    text += Format("\n  %-8s %10s %10s %10s", "language", "loss", "unigram", "bits/byte") + table;
  }
  return text;
}

}  // namespace choir
