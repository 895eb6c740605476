#include "data/build/build_report.h"

#include <algorithm>
#include <bit>
#include <nlohmann/json.hpp>

namespace choir {
namespace {

using Json = nlohmann::json;

template <class Map>
void AddTo(Map& into, const Map& from) {
  for (const auto& [name, count] : from) into[name] += count;
}

template <class Histogram>
void AddCells(Histogram& into, const Histogram& from) {
  for (size_t i = 0; i < into.size(); ++i) into[i] += from[i];
}

}  // namespace

int LogBucket(uint64_t value) { return std::min(32, static_cast<int>(std::bit_width(value))); }

int ScoreBucket(double score) { return std::clamp(static_cast<int>(20 * score), 0, 19); }

void SourceReport::Drop(const std::string& reason, int64_t documents, int64_t bytes) {
  if (documents != 0) dropped_documents[reason] += documents;
  dropped_bytes[reason] += bytes;
}

void SourceReport::Merge(const SourceReport& other) {
  documents_in += other.documents_in;
  bytes_in += other.bytes_in;
  documents += other.documents;
  bytes += other.bytes;
  characters += other.characters;
  words += other.words;
  tokens += other.tokens;
  AddTo(dropped_documents, other.dropped_documents);
  AddTo(dropped_bytes, other.dropped_bytes);
}

void LanguageHistograms::Merge(const LanguageHistograms& other) {
  AddCells(characters, other.characters);
  AddCells(tokens, other.tokens);
  AddCells(score, other.score);
}

void BuildReport::Merge(const BuildReport& other) {
  for (const auto& [key, report] : other.sources) sources[key].Merge(report);
  for (const auto& [language, histograms] : other.languages) languages[language].Merge(histograms);
  num_malformed += other.num_malformed;
  malformed.insert(malformed.end(), other.malformed.begin(), other.malformed.end());
}

void BuildReport::Fill(CorpusIndex& index) const {
  for (auto& report : index.report) report.assign(index.languages.size(), {});
  for (const auto& [key, from] : sources) {
    const auto& [split, language, source] = key;
    const auto it = std::find(index.languages.begin(), index.languages.end(), language);
    if (it == index.languages.end()) continue;
    LanguageReport& into =
        index.report[static_cast<int>(split)][static_cast<size_t>(it - index.languages.begin())];
    into.documents_in += from.documents_in;
    into.bytes_in += from.bytes_in;
    into.documents += from.documents;
    into.bytes += from.bytes;
    into.tokens += from.tokens;
    AddTo(into.dropped_documents, from.dropped_documents);
    AddTo(into.dropped_bytes, from.dropped_bytes);
  }
}

Json ToJson(const BuildReport& report) {
  Json sources = Json::array();
  for (const auto& [key, counts] : report.sources) {
    const auto& [split, language, source] = key;
    sources.push_back({{"split", SplitName(split)},
                       {"language", language},
                       {"source", source},
                       {"documents_in", counts.documents_in},
                       {"bytes_in", counts.bytes_in},
                       {"documents", counts.documents},
                       {"bytes", counts.bytes},
                       {"characters", counts.characters},
                       {"words", counts.words},
                       {"tokens", counts.tokens},
                       {"dropped_documents", counts.dropped_documents},
                       {"dropped_bytes", counts.dropped_bytes}});
  }
  Json languages = Json::object();
  for (const auto& [language, histograms] : report.languages) {
    languages[language] = {{"characters", histograms.characters},
                           {"tokens", histograms.tokens},
                           {"score", histograms.score}};
  }
  return {{"sources", sources},
          {"histograms", languages},
          {"num_malformed", report.num_malformed},
          {"malformed", report.malformed}};
}

BuildReport BuildReportFrom(const Json& json) {
  BuildReport report;
  for (const Json& from : json.at("sources")) {
    const Split split =
        from.at("split") == SplitName(Split::kTrain) ? Split::kTrain : Split::kHeldout;
    SourceReport& counts = report.At(split, from.at("language"), from.at("source"));
    counts.documents_in = from.at("documents_in");
    counts.bytes_in = from.at("bytes_in");
    counts.documents = from.at("documents");
    counts.bytes = from.at("bytes");
    counts.characters = from.at("characters");
    counts.words = from.at("words");
    counts.tokens = from.at("tokens");
    counts.dropped_documents = from.at("dropped_documents").get<std::map<std::string, int64_t>>();
    counts.dropped_bytes = from.at("dropped_bytes").get<std::map<std::string, int64_t>>();
  }
  for (const auto& [language, from] : json.at("histograms").items()) {
    LanguageHistograms& histograms = report.languages[language];
    histograms.characters = from.at("characters").get<LogHistogram>();
    histograms.tokens = from.at("tokens").get<LogHistogram>();
    histograms.score = from.at("score").get<ScoreHistogram>();
  }
  report.num_malformed = json.at("num_malformed");
  report.malformed = json.at("malformed").get<std::vector<std::string>>();
  return report;
}

}  // namespace choir
