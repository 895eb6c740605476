// Any bytes through all stages of cleaning: valid UTF-8 comes out, and cleaning again changes
// nothing. The first byte chooses the options.
#include "base/check.h"
#include "data/clean/cleaner.h"
#include "data/clean/dedup.h"
#include "data/text/utf8.h"
#include "tests/fuzz/fuzz_input.h"

namespace choir {
namespace {

// Bits: 1 fold spaces (else trim), 2 mask personal data, 4 identify the language, 8 filter.
CleanConfig ConfigOf(uint8_t options) {
  CleanConfig config;
  config.max_repaired = 1;
  config.spaces = options & 1 ? SpaceMode::kFold : SpaceMode::kTrim;
  config.pii.email = config.pii.ip = config.pii.phone = (options & 2) != 0;
  if (options & 4) config.language_id.action = LanguageAction::kAssign;
  if (options & 8) config.preset = FilterPreset::kGopher;
  config.filters.min_script_letters = options & 8 ? std::optional(0.5) : std::nullopt;
  return config;
}

const Cleaner& CleanerOf(uint8_t options) {
  static const auto* const cleaners = [] {
    auto* const made = new std::vector<std::unique_ptr<Cleaner>>;
    for (uint8_t i = 0; i < 16; ++i) {
      auto cleaner = Cleaner::Make(ConfigOf(i));
      CHECK(cleaner.ok()) << cleaner.status();
      made->push_back(*std::move(cleaner));
    }
    return made;
  }();
  return *(*cleaners)[options % 16];
}

const DedupIndex& Index() {
  static const auto* const index = [] {
    DedupConfig config;
    config.mode = DedupMode::kNear;
    auto made = DedupIndex::Make(config, ".");
    CHECK(made.ok()) << made.status();
    return made->release();
  }();
  return *index;
}

}  // namespace
}  // namespace choir

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace choir;
  if (size == 0) return 0;
  const Cleaner& cleaner = CleanerOf(data[0]);
  TextDocument document;
  document.text.assign(reinterpret_cast<const char*>(data) + 1, size - 1);
  document.language = "de";
  const CleanVerdict first = cleaner.Clean(document);
  CHECK(IsValidUtf8(document.text));
  TextDocument again = document;
  const CleanVerdict second = cleaner.Clean(again);
  CHECK(again.text == document.text);
  CHECK(second.reason == first.reason);
  CHECK(second.language == first.language);
  CHECK(again.language == document.language);
  CHECK(second.repaired + second.masked.emails + second.masked.ips + second.masked.phones == 0);
  const Signature signature = Index().Sign(document.text, document.language);
  CHECK(signature.bands.empty() == signature.sketch.empty());
  return 0;
}
