// What became of every document of a build, by split, language and source:
//   in = kept + dropped by reason, for documents and for bytes of text.
// Bytes that cleaning took from kept documents (or added to them) stand under kChangedBytes.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <tuple>
#include <vector>

#include "absl/status/status.h"
#include "data/shard/corpus_index.h"

namespace choir {

inline constexpr const char* kChangedBytes = "changed by cleaning";
inline constexpr const char* kUnknownLanguage = "und";  // of records that name none

// Counts of a number by its binary digits: bucket 0 holds 0, bucket k holds [2^(k-1), 2^k).
using LogHistogram = std::array<int64_t, 33>;
int LogBucket(uint64_t value);

// Counts of a score in [0, 1] by twentieths; 1 is in the last.
using ScoreHistogram = std::array<int64_t, 20>;
int ScoreBucket(double score);

struct SourceReport {
  int64_t documents_in = 0;
  int64_t bytes_in = 0;
  int64_t documents = 0;
  int64_t bytes = 0;
  int64_t characters = 0;
  int64_t words = 0;  // as data/tokenizer/fertility.h counts them
  int64_t tokens = 0;
  std::map<std::string, int64_t> dropped_documents;
  std::map<std::string, int64_t> dropped_bytes;

  void Drop(const std::string& reason, int64_t documents, int64_t bytes);
  void Merge(const SourceReport& other);
};

struct LanguageHistograms {
  LogHistogram characters{};
  LogHistogram tokens{};
  ScoreHistogram score{};  // empty where no language was identified

  void Merge(const LanguageHistograms& other);
};

struct BuildReport {
  using Key = std::tuple<Split, std::string, std::string>;  // split, language, source
  std::map<Key, SourceReport> sources;
  std::map<std::string, LanguageHistograms> languages;  // of kept documents; score: of all judged
  int64_t num_malformed = 0;
  std::vector<std::string> malformed;  // `path:line: why` of the first few of each file

  SourceReport& At(Split split, const std::string& language, const std::string& source) {
    return sources[{split, language, source}];
  }
  void Merge(const BuildReport& other);
  // Sums over sources, by language of `index`; languages that it lacks are left out.
  void Fill(CorpusIndex& index) const;
};

nlohmann::json ToJson(const BuildReport& report);
// Throws nlohmann::json::exception where `json` is not of ToJson.
BuildReport BuildReportFrom(const nlohmann::json& json);

}  // namespace choir
