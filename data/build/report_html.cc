#include "data/build/report_html.h"

#include <algorithm>
#include <span>

#include "absl/strings/str_format.h"
#include "base/strings.h"
#include "data/text_table.h"

namespace choir {
namespace {

constexpr const char* kHead = R"(<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Choir: data build</title>
<style>
body{font:14px/1.4 system-ui,sans-serif;margin:2em auto;max-width:76em;color:#222;padding:0 1em}
table{border-collapse:collapse;margin:1em 0}
th,td{padding:.15em .6em;text-align:right;border-bottom:1px solid #ddd;white-space:nowrap}
th:first-child,td:first-child,td.left{text-align:left}
td.why{white-space:normal;text-align:left}
tr.all td{font-weight:600;border-top:2px solid #888}
.bar{display:inline-block;height:.7em;background:#4a7fb5;margin-right:.4em}
figure{display:inline-block;margin:.5em 1em .5em 0}figcaption{font-size:12px;color:#555}
svg rect{fill:#4a7fb5}svg text{font:9px system-ui,sans-serif;fill:#555}
@media(prefers-color-scheme:dark){body{background:#1b1b1b;color:#ddd}th,td{border-color:#444}}
</style></head><body>
)";

std::string Escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '<') {
      out += "&lt;";
    } else if (c == '&') {
      out += "&amp;";
    } else if (c == '"') {
      out += "&quot;";
    } else {
      out += c;
    }
  }
  return out;
}

std::string Cell(const std::string& text) { return "<td>" + text + "</td>"; }
std::string Number(int64_t number) { return Cell(WithCommas(number)); }

std::string Reasons(const SourceReport& counts) {
  std::string out;
  for (const auto& [reason, bytes] : counts.dropped_bytes) {
    const auto documents = counts.dropped_documents.find(reason);
    if (!out.empty()) out += ", ";
    out += documents == counts.dropped_documents.end()
               ? StrCat(WithCommas(bytes), " bytes ", Escaped(reason))
               : StrCat(WithCommas(documents->second), " ", Escaped(reason));
  }
  return out;
}

double Ratio(int64_t numerator, int64_t denominator) {
  return denominator == 0 ? 0 : static_cast<double>(numerator) / static_cast<double>(denominator);
}

// One row of documents and bytes: in = kept + dropped.
std::string Row(const std::string& name, const SourceReport& counts, double most_tokens) {
  const double fertility = Ratio(counts.tokens, counts.characters);
  const int width = most_tokens > 0 ? static_cast<int>(100 * fertility / most_tokens) : 0;
  return StrCat("<tr><td>", Escaped(name), "</td>", Number(counts.documents_in),
                Number(counts.documents), Number(counts.bytes_in), Number(counts.bytes),
                Number(counts.tokens), Cell(RatioText(counts.bytes, counts.tokens)),
                Cell(absl::StrFormat("%.2f", Ratio(counts.tokens, counts.words))),
                "<td class=\"left\"><span class=\"bar\" style=\"width:", width, "px\"></span>",
                absl::StrFormat("%.3f", fertility), "</td><td class=\"why\">", Reasons(counts),
                "</td></tr>\n");
}

std::string Table(const std::string& title, const std::string& first,
                  const std::map<std::string, SourceReport>& rows) {
  double most = 0;
  SourceReport all;
  for (const auto& [name, counts] : rows) {
    most = std::max(most, Ratio(counts.tokens, counts.characters));
    all.Merge(counts);
  }
  std::string out =
      StrCat("<h2>", title, "</h2>\n<table><tr><th>", first,
             "</th><th>documents in</th><th>= kept</th><th>bytes in</th>"
             "<th>= kept</th><th>tokens</th><th>bytes/token</th>"
             "<th>tokens/word</th><th>tokens/character</th><th>+ dropped</th></tr>\n");
  for (const auto& [name, counts] : rows) out += Row(name, counts, most);
  std::string last = Row("all", all, most);
  last.replace(0, 4, "<tr class=\"all\">");
  return out + last + "</table>\n";
}

// Counts as bars, `label(i)` below every fourth.
template <class Label>
std::string Bars(const std::string& caption, std::span<const int64_t> counts, const Label& label) {
  size_t begin = 0, end = counts.size();
  while (end > begin && counts[end - 1] == 0) --end;
  while (begin < end && counts[begin] == 0) ++begin;
  if (begin == end) return "";
  const int64_t most = *std::max_element(counts.begin(), counts.end());
  constexpr int kWidth = 14, kHeight = 60;
  std::string out = StrCat("<figure><svg width=\"", kWidth * (end - begin) + 40, "\" height=\"",
                           kHeight + 14, "\">");
  for (size_t i = begin; i < end; ++i) {
    const int height = static_cast<int>(kHeight * counts[i] / most);
    const size_t x = kWidth * (i - begin);
    out += StrCat("<rect x=\"", x, "\" y=\"", kHeight - height, "\" width=\"", kWidth - 2,
                  "\" height=\"", height, "\"><title>", label(i), ": ", WithCommas(counts[i]),
                  "</title></rect>");
    if ((i - begin) % 4 == 0) {
      out += StrCat("<text x=\"", x, "\" y=\"", kHeight + 10, "\">", label(i), "</text>");
    }
  }
  return out + "</svg><figcaption>" + caption + "</figcaption></figure>";
}

std::string Histograms(const BuildReport& report) {
  const auto power = [](size_t bucket) -> std::string {
    if (bucket == 0) return "0";
    const uint64_t low = uint64_t{1} << (bucket - 1);
    return low < 1024        ? StrCat(low)
           : low < (1 << 20) ? StrCat(low >> 10, "k")
                             : StrCat(low >> 20, "M");
  };
  const auto score = [](size_t bucket) {
    return absl::StrFormat("%.2f", static_cast<double>(bucket) / 20);
  };
  LanguageHistograms all;
  for (const auto& [language, histograms] : report.languages) all.Merge(histograms);
  std::string out = "<h2>Documents by length and by score of their language</h2>\n";
  const auto add = [&](const std::string& name, const LanguageHistograms& h, bool open) {
    out +=
        StrCat("<details", open ? " open" : "", "><summary>", Escaped(name), "</summary>",
               Bars("characters, from", h.characters, power), Bars("tokens, from", h.tokens, power),
               Bars("score of the language, from", h.score, score), "</details>\n");
  };
  add("all languages", all, true);
  for (const auto& [language, histograms] : report.languages) add(language, histograms, false);
  return out;
}

}  // namespace

std::string ReportHtml(const BuildReport& report, const CorpusIndex& index) {
  std::map<std::string, SourceReport> languages[kNumSplits], sources;
  std::map<std::string, std::pair<int64_t, int64_t>> reasons;
  for (const auto& [key, counts] : report.sources) {
    const auto& [split, language, source] = key;
    languages[static_cast<int>(split)][language].Merge(counts);
    sources[source].Merge(counts);
    for (const auto& [reason, bytes] : counts.dropped_bytes) reasons[reason].second += bytes;
    for (const auto& [reason, n] : counts.dropped_documents) reasons[reason].first += n;
  }
  std::string out = kHead;
  out += StrCat("<h1>Data build</h1>\n<p>", index.languages.size(), " languages, ",
                index.sources.size(), " sources, ", index.shards.size(), " shards; vocabulary ",
                index.tokenizer.vocab_size, ", tokenizer ", index.tokenizer.fingerprint, ".</p>\n");
  for (const Split split : kAllSplits) {
    const auto& rows = languages[static_cast<int>(split)];
    if (!rows.empty()) out += Table(StrCat("Languages, ", SplitName(split)), "language", rows);
  }
  out +=
      "<h2>Dropped, by reason</h2>\n<table><tr><th>reason</th><th>documents</th><th>bytes</th>"
      "</tr>\n";
  for (const auto& [reason, count] : reasons) {
    out += StrCat("<tr><td>", Escaped(reason), "</td>", Number(count.first), Number(count.second),
                  "</tr>\n");
  }
  out += "</table>\n" + Table("Sources", "source", sources) + Histograms(report);
  if (!report.malformed.empty()) {
    out += StrCat("<h2>Malformed records: ", WithCommas(report.num_malformed),
                  "</h2>\n<p>The first of each file:</p>\n<ul>\n");
    for (const std::string& line : report.malformed) out += "<li>" + Escaped(line) + "</li>\n";
    out += "</ul>\n";
  }
  return out + "</body></html>\n";
}

}  // namespace choir
