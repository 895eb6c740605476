#include "data/build/data_report.h"

#include <string>
#include <vector>

#include "absl/strings/str_join.h"
#include "base/strings.h"
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

}  // namespace

void PrintDataReport(const CorpusIndex& index, std::ostream& out) {
  TextTable table({"language", "documents", "= train", "+ heldout", "train bytes", "heldout bytes",
                   "train tokens", "heldout tokens", "bytes/token", "+ dropped"});
  LanguageReport total[kNumSplits];
  for (size_t l = 0; l < index.languages.size(); ++l) {
    table.Add(RowOf(index.languages[l], index.report[0][l], index.report[1][l]));
    for (int s = 0; s < kNumSplits; ++s) Accumulate(index.report[s][l], total[s]);
  }
  table.Add(RowOf("all", total[0], total[1]));
  table.Print(out);
  out << index.languages.size() << " languages, " << index.sources.size() << " sources, "
      << index.shards.size() << " shards; vocabulary " << index.tokenizer.vocab_size
      << ", tokenizer " << index.tokenizer.fingerprint << ", corpus " << index.fingerprint << '\n';
}

}  // namespace choir
