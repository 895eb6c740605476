// Cleaning of one document: repairs of its text, then the judgement whether to keep it.
//
// The stages, each optional (data/clean/clean_config.h):
//   utf8_repair, controls, nfc, spaces, pii   edit the text;
//   language_id, filters                      judge the edited text.
// All edits come before all judgements, so that cleaning a clean document changes neither its text
// nor the verdict.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "data/clean/clean_config.h"
#include "data/clean/filters.h"
#include "data/clean/language_id.h"
#include "data/clean/pii.h"
#include "data/text/documents.h"

namespace choir {

struct CleanVerdict {
  const char* reason = nullptr;  // why the document is dropped (data/clean/reasons.h); null: kept
  std::string language;          // as identified; empty where language_id is off or has no idea
  double language_score = 0;
  int64_t repaired = 0;  // U+FFFD that stand for bytes which were not UTF-8
  PiiCounts masked;
};

class Cleaner {
 public:
  // Errors: those of the language model.
  static absl::StatusOr<std::unique_ptr<Cleaner>> Make(const CleanConfig& config);

  // Edits `document.text`, and with language_id.action: assign also `document.language`. A pure
  // function of text and language; thread-safe. The text of a dropped document is unspecified, but
  // valid UTF-8 unless the reason is "not UTF-8" or "over 512 MiB".
  CleanVerdict Clean(TextDocument& document) const;

 private:
  // What one language's documents must satisfy.
  struct Rules {
    double min_score;
    DocumentFilter filter;
  };

  explicit Cleaner(const CleanConfig& config) : config_(config) {}
  const char* Edit(std::string& text, CleanVerdict& verdict) const;
  const char* JudgeLanguage(TextDocument& document, CleanVerdict& verdict) const;
  const Rules& RulesFor(const std::string& language) const;

  const CleanConfig config_;
  std::unique_ptr<LanguageIdentifier> identifier_;  // null: off
  bool filtering_ = false;
  // By normal language; made when a document in the language is first met, and never moved.
  mutable std::shared_mutex mutex_;
  mutable absl::flat_hash_map<std::string, std::unique_ptr<const Rules>> rules_;
};

}  // namespace choir
