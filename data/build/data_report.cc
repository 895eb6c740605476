#include "data/build/data_report.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_join.h"
#include "base/file.h"
#include "base/status.h"
#include "base/strings.h"
#include "data/build/report_html.h"
#include "data/text_table.h"

namespace choir {
namespace {

void Accumulate(const LanguageReport& from, LanguageReport& into) {
  into.documents_in += from.documents_in;
  into.bytes_in += from.bytes_in;
  into.documents += from.documents;
  into.bytes += from.bytes;
  into.tokens += from.tokens;
  for (const auto& [reason, count] : from.dropped_documents)
    into.dropped_documents[reason] += count;
  for (const auto& [reason, count] : from.dropped_bytes) into.dropped_bytes[reason] += count;
}

std::string DroppedText(const LanguageReport& report) {
  std::vector<std::string> reasons;
  for (const auto& [reason, count] : report.dropped_documents) {
    reasons.push_back(StrCat(WithCommas(count), " ", reason));
  }
  return reasons.empty() ? "0" : absl::StrJoin(reasons, ", ");
}

std::vector<std::string> RowOf(const std::string& name, const LanguageReport& train,
                               const LanguageReport& heldout) {
  LanguageReport both = train;
  Accumulate(heldout, both);
  return {name,
          WithCommas(both.documents_in),
          WithCommas(train.documents),
          WithCommas(heldout.documents),
          WithCommas(train.bytes),
          WithCommas(heldout.bytes),
          WithCommas(train.tokens),
          WithCommas(heldout.tokens),
          RatioText(both.bytes, both.tokens),
          DroppedText(both)};
}

void PrintTable(const CorpusIndex& index, std::ostream& out) {
  TextTable table({"language", "documents", "= train", "+ heldout", "train bytes", "heldout bytes",
                   "train tokens", "heldout tokens", "bytes/token", "+ dropped"});
  LanguageReport total[kNumSplits];
  for (size_t l = 0; l < index.languages.size(); ++l) {
    table.Add(RowOf(index.languages[l], index.report[0][l], index.report[1][l]));
    for (int s = 0; s < kNumSplits; ++s) Accumulate(index.report[s][l], total[s]);
  }
  table.Add(RowOf("all", total[0], total[1]));
  table.Print(out);
}

}  // namespace

void PrintSummary(const CorpusIndex& index, std::ostream& out) {
  out << index.languages.size() << " languages, " << index.sources.size() << " sources, "
      << index.shards.size() << " shards; vocabulary " << index.tokenizer.vocab_size
      << ", tokenizer " << index.tokenizer.fingerprint << ", corpus " << index.fingerprint << '\n';
}

void PrintDataReport(const CorpusIndex& index, std::ostream& out) {
  PrintTable(index, out);
  PrintSummary(index, out);
}

void PrintBuildReport(const BuildReport& report, std::ostream& out) {
  CorpusIndex index;
  std::set<std::string> languages;
  for (const auto& [key, counts] : report.sources) languages.insert(std::get<1>(key));
  index.languages.assign(languages.begin(), languages.end());
  report.Fill(index);
  PrintTable(index, out);
  if (report.malformed.empty()) return;
  out << WithCommas(report.num_malformed) << " malformed records, the first of each file:\n";
  constexpr size_t kShown = 20;
  for (size_t i = 0; i < std::min(kShown, report.malformed.size()); ++i) {
    out << "  " << report.malformed[i] << '\n';
  }
  if (report.malformed.size() > kShown) out << "  ... more in report.json\n";
}

absl::Status WriteBuildReport(const std::string& folder, const BuildReport& report,
                              const CorpusIndex& index) {
  nlohmann::json json = ToJson(report);
  json["inputs"] = index.inputs;
  json["tokenizer"] = index.tokenizer.fingerprint;
  RETURN_IF_ERROR(WriteFileAtomic(folder + "/report.html", ReportHtml(report, index)));
  return WriteFileAtomic(folder + "/report.json",
                         json.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

}  // namespace choir
