#include "data/build/langid_report.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "absl/strings/str_format.h"
#include "base/status.h"
#include "base/strings.h"
#include "data/clean/code_points.h"
#include "data/clean/language_codes.h"
#include "data/clean/language_id.h"
#include "data/text/documents.h"
#include "data/text/list_files.h"
#include "data/text_table.h"

namespace choir {
namespace {

struct Tally {
  int64_t documents = 0;
  int64_t agree = 0;
  int64_t bytes = 0;
  int64_t skipped = 0;  // too short
  double score = 0;     // summed
  std::map<std::string, int64_t> taken_for;

  void Add(const Tally& other) {
    documents += other.documents;
    agree += other.agree;
    bytes += other.bytes;
    skipped += other.skipped;
    score += other.score;
  }
  double agreement() const {
    return documents == 0 ? 0 : static_cast<double>(agree) / static_cast<double>(documents);
  }
  double mean_score() const { return documents == 0 ? 0 : score / static_cast<double>(documents); }
  // The language that most of the others were taken for.
  std::string confusion() const {
    std::string name = "-";
    int64_t most = 0;
    for (const auto& [language, count] : taken_for) {
      if (count > most) name = StrCat(language.empty() ? "none" : language, " ", count);
      most = std::max(most, count);
    }
    return name;
  }
};

struct Measurement {
  std::map<std::string, Tally> languages;
  Tally total;
  double seconds = 0;  // of identification alone
};

absl::StatusOr<Measurement> Measure(const LangidOptions& options,
                                    const LanguageIdentifier& identifier) {
  CorpusConfig corpus;
  corpus.path = options.corpus;
  ASSIGN_OR_RETURN(const std::vector<TextFile> files, ListTextFiles(corpus));
  Measurement result;
  for (const TextFile& file : files) {
    if (file.split != Split::kHeldout) continue;
    Tally& tally = result.languages[file.language];
    ASSIGN_OR_RETURN(const auto reader, DocumentReader::Open(file));
    TextDocument document;
    while (true) {
      ASSIGN_OR_RETURN(const bool more, reader->Next(document));
      if (!more) break;
      if (CountCodePoints(document.text) < options.min_characters) {
        ++tally.skipped;
        continue;
      }
      const auto start = std::chrono::steady_clock::now();
      const LanguageGuess guess = identifier.Identify(document.text);
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
      result.seconds += seconds.count();
      ++tally.documents;
      tally.bytes += static_cast<int64_t>(document.text.size());
      tally.score += guess.score;
      if (guess.language == NormalLanguage(file.language)) {
        ++tally.agree;
      } else {
        ++tally.taken_for[guess.language];
      }
    }
    result.total.Add(tally);
  }
  return result;
}

void PrintTable(const Measurement& result, std::ostream& out) {
  TextTable table(
      {"language", "documents", "shorter", "agree %", "mean score", "mostly taken for"});
  const auto add = [&](const std::string& name, const Tally& tally, const std::string& confusion) {
    table.Add({name, WithCommas(tally.documents), WithCommas(tally.skipped),
               absl::StrFormat("%.2f", 100 * tally.agreement()),
               absl::StrFormat("%.3f", tally.mean_score()), confusion});
  };
  for (const auto& [language, tally] : result.languages) add(language, tally, tally.confusion());
  add("all", result.total, "");
  table.Print(out);
  out << absl::StrFormat("%.1f MB of text in %.2f s: %.1f MB/s\n",
                         static_cast<double>(result.total.bytes) * 1e-6, result.seconds,
                         static_cast<double>(result.total.bytes) * 1e-6 / result.seconds);
}

void PrintJson(const LangidOptions& options, const Measurement& result, std::ostream& out) {
  const auto object = [](const Tally& tally) {
    return nlohmann::json{{"documents", tally.documents},   {"agree", tally.agree},
                          {"agreement", tally.agreement()}, {"bytes", tally.bytes},
                          {"shorter", tally.skipped},       {"mean_score", tally.mean_score()},
                          {"taken_for", tally.taken_for}};
  };
  nlohmann::json report = {{"model", options.identifier.model},
                           {"cld2", options.identifier.cld2},
                           {"min_characters", options.min_characters},
                           {"sample_bytes", options.identifier.sample_bytes},
                           {"seconds", result.seconds},
                           {"all", object(result.total)}};
  for (const auto& [language, tally] : result.languages) {
    report["languages"][language] = object(tally);
  }
  out << report.dump(1) << '\n';
}

}  // namespace

absl::Status PrintLangidReport(const LangidOptions& asked, std::ostream& out) {
  LangidOptions options = asked;
  std::string& model = options.identifier.model;
  if (options.cld2_only && !model.empty()) {
    return absl::InvalidArgumentError("--cld2-only and --model: one of them");
  }
  const std::string own_model = options.corpus + "/langid.ftz";
  if (model.empty() && !options.cld2_only && std::filesystem::exists(own_model)) model = own_model;
  ASSIGN_OR_RETURN(const auto identifier, LanguageIdentifier::Make(options.identifier));
  ASSIGN_OR_RETURN(const Measurement result, Measure(options, *identifier));
  if (options.json) {
    PrintJson(options, result, out);
    return absl::OkStatus();
  }
  out << (model.empty() ? "CLD2" : StrCat(model, options.identifier.cld2 ? " and CLD2" : ""))
      << ", held-out documents of at least " << options.min_characters << " characters\n";
  PrintTable(result, out);
  return absl::OkStatus();
}

}  // namespace choir
