// Speed of cleaning and deduplication on real text, stage by stage, one thread, in processor time.
//
// usage: clean_bench [CORPUS] [SIGNATURES]
//   CORPUS      folder made by scripts/corpus (default build/corpus); of each language the first
//               1 MB of training text is taken, in documents.
//   SIGNATURES  documents of the synthetic deduplication (default 10,000,000; 0: none)
// Beside it: a copy of the same text, CLD2 on whole documents, and datasketch's MinHash
// (bench/clean_bench_datasketch.py) on the same shingles, if its Python is there.
#include <sys/resource.h>

#include <cstdio>
// CLD2's header needs <cstdio> and does not include it.
#include <cld2/public/compact_lang_det.h>

#include <ctime>
#include <filesystem>
#include <functional>
#include <iostream>

#include "absl/strings/str_format.h"
#include "base/random.h"
#include "base/status.h"
#include "base/strings.h"
#include "bench/peer.h"
#include "data/clean/cleaner.h"
#include "data/clean/controls.h"
#include "data/clean/dedup.h"
#include "data/clean/nfc.h"
#include "data/clean/pii.h"
#include "data/clean/repetition.h"
#include "data/clean/spaces.h"
#include "data/clean/text_survey.h"
#include "data/clean/utf8_repair.h"
#include "data/text/list_files.h"
#include "data/text_table.h"

namespace choir {
namespace {

constexpr int kRounds = 5;

struct Bench {
  std::string corpus;
  std::vector<TextDocument> documents;
  double megabytes = 0;
  TextTable table{{"stage", "MB/s", "ns/byte", "of a copy"}};
  double copy_seconds = 0;
};

// Seconds of processor time of this thread: what else runs on the machine counts less.
double Now() {
  timespec time;
  CHECK(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time) == 0);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

absl::Status LoadDocuments(Bench& bench) {
  CorpusConfig config;
  config.path = bench.corpus;
  ASSIGN_OR_RETURN(const std::vector<TextFile> files, ListTextFiles(config));
  for (const TextFile& file : files) {
    if (file.split != Split::kTrain) continue;
    ASSIGN_OR_RETURN(const auto reader, DocumentReader::Open(file));
    size_t bytes = 0;
    for (TextDocument document; bytes < 1'000'000; bytes += document.text.size()) {
      ASSIGN_OR_RETURN(const bool more, reader->Next(document));
      if (!more) break;
      bench.megabytes += static_cast<double>(document.text.size()) * 1e-6;
      bench.documents.push_back(document);
    }
  }
  return absl::OkStatus();
}

// Adds a row: the median of some rounds over copies of all documents, made outside the clock.
double Time(Bench& bench, const std::string& name,
            const std::function<void(TextDocument&)>& stage) {
  std::vector<double> seconds;
  for (int round = 0; round < kRounds; ++round) {
    std::vector<TextDocument> documents = bench.documents;
    const double start = Now();
    for (TextDocument& document : documents) stage(document);
    seconds.push_back(Now() - start);
  }
  const double median = Median(seconds);
  if (bench.copy_seconds == 0) bench.copy_seconds = median;
  bench.table.Add({name, absl::StrFormat("%.0f", bench.megabytes / median),
                   absl::StrFormat("%.2f", 1e3 * median / bench.megabytes),
                   absl::StrFormat("%.4f", bench.copy_seconds / median)});
  return median;
}

std::unique_ptr<Cleaner> MakeCleaner(const CleanConfig& config) {
  auto cleaner = Cleaner::Make(config);
  CHECK(cleaner.ok()) << cleaner.status();
  return *std::move(cleaner);
}

void TimeEdits(Bench& bench) {
  std::string copy;
  Time(bench, "copy of the text", [&](TextDocument& d) { copy.assign(d.text); });
  Time(bench, "utf8 (valid)", [](TextDocument& d) { RepairUtf8(d.text); });
  Time(bench, "controls", [](TextDocument& d) { RemoveControls(d.text); });
  Time(bench, "nfc", [](TextDocument& d) { NormalizeNfc(d.text); });
  Time(bench, "spaces (fold)", [](TextDocument& d) { TidySpaces(SpaceMode::kFold, d.text); });
  PiiConfig pii;
  pii.email = pii.ip = pii.phone = true;
  Time(bench, "pii", [&](TextDocument& d) { MaskPii(pii, d.text); });
}

void TimeJudges(Bench& bench) {
  static TextSurvey survey;
  Time(bench, "survey", [](TextDocument& d) { SurveyText(d.text, survey); });
  const DocumentFilter gopher(PresetLimits(FilterPreset::kGopher), "en");
  Time(bench, "survey and filters (gopher)", [&](TextDocument& d) {
    SurveyText(d.text, survey);
    gopher.Reason(d.text, survey);
  });
  CleanConfig config;
  config.spaces = SpaceMode::kFold;
  config.preset = FilterPreset::kGopher;
  config.pii.email = config.pii.ip = config.pii.phone = true;
  auto cleaner = MakeCleaner(config);
  Time(bench, "cleaner: all but language id", [&](TextDocument& d) { cleaner->Clean(d); });
  config.language_id.action = LanguageAction::kCheck;
  cleaner = MakeCleaner(config);
  Time(bench, "cleaner: all, CLD2", [&](TextDocument& d) { cleaner->Clean(d); });
  const std::string model = bench.corpus + "/langid.ftz";
  if (!std::filesystem::exists(model)) {
    std::cout << model << ": not there, its rows are left out\n";
    return;
  }
  config.language_id.model = model;
  cleaner = MakeCleaner(config);
  Time(bench, "cleaner: all, model and CLD2", [&](TextDocument& d) { cleaner->Clean(d); });
  const auto identifier = LanguageIdentifier::Make(config.language_id);
  CHECK(identifier.ok()) << identifier.status();
  Time(bench, "language id: model and CLD2",
       [&](TextDocument& d) { (*identifier)->Identify(d.text); });
}

void TimeCld2(Bench& bench) {
  Time(bench, "peer: CLD2, whole documents", [](TextDocument& d) {
    CLD2::Language languages[3];
    int percents[3], bytes = 0;
    bool reliable = false;
    CLD2::DetectLanguageSummary(d.text.data(), static_cast<int>(d.text.size()), true, languages,
                                percents, &bytes, &reliable);
  });
}

DedupConfig NearConfig() {
  DedupConfig config;
  config.mode = DedupMode::kNear;
  return config;
}

double TimeSigning(Bench& bench) {
  const auto index = DedupIndex::Make(NearConfig(), std::filesystem::temp_directory_path());
  CHECK(index.ok()) << index.status();
  return Time(bench, "dedup: sign (112 minima, sketch)",
              [&](TextDocument& d) { (*index)->Sign(d.text, d.language); });
}

// datasketch on the same words; one second or so of documents.
absl::Status TimeDatasketch(const Bench& bench, double our_seconds) {
  ASSIGN_OR_RETURN(const Peer peer, FindPeer("clean_bench_datasketch.py"));
  if (!peer.present) {
    std::cout << "datasketch: no " << peer.python << "; set CHOIR_REFERENCE_PYTHON\n";
    return absl::OkStatus();
  }
  const std::string command =
      StrCat("'", peer.python, "' '", peer.script, "' '", bench.corpus, "'");
  std::cout << std::flush;
  FILE* const pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return absl::UnavailableError("cannot run " + command);
  double speed = 0;
  const int fields = std::fscanf(pipe, "%lf", &speed);
  if (pclose(pipe) != 0 || fields != 1) {
    std::cout << "datasketch: " << command << " failed; is the package installed?\n";
    return absl::OkStatus();
  }
  std::cout << absl::StrFormat("datasketch MinHash, 112 permutations: %.2f MB/s; ours %.0f times\n",
                               speed, bench.megabytes / our_seconds / speed);
  return absl::OkStatus();
}

double PeakMegabytes() {
  rusage usage;
  CHECK(getrusage(RUSAGE_SELF, &usage) == 0);
  return static_cast<double>(usage.ru_maxrss) / 1e3;
}

// Signatures as of documents of some 100 shingles: one in eight repeats another one's text, and one
// in eight has most of its bands and shingles.
Signature Synthetic(uint64_t document) {
  const uint64_t kind = document % 8;
  const uint64_t source = kind == 7 || kind == 6 ? document - kind : document;
  const CounterRandom random(source, "signature");
  Signature signature;
  signature.exact = {random.Bits(0), kind == 6 ? document : 0};
  if (kind == 7) signature.exact.low = 0;
  for (uint64_t b = 0; b < 14; ++b) {
    const bool own = kind == 6 && b % 3 == 0;
    signature.bands.push_back(random.Bits(1 + b) + (own ? document : 0));
  }
  for (uint64_t s = 0; s < 100; ++s) {
    const auto hash = static_cast<uint32_t>(random.Bits(100 + s));
    signature.sketch.push_back(kind == 6 && s % 12 == 0 ? hash + 1 : hash);
  }
  std::sort(signature.sketch.begin(), signature.sketch.end());
  return signature;
}

absl::Status TimeFinish(int64_t documents) {
  const double before = PeakMegabytes();
  DedupConfig config = NearConfig();
  ASSIGN_OR_RETURN(const auto index, DedupIndex::Make(config, std::filesystem::current_path()));
  double adding = 0;
  for (int64_t i = 0; i < documents; ++i) {
    const auto document = static_cast<uint64_t>(i);
    const Signature signature = Synthetic(document);
    const double start = Now();
    index->Add({CounterRandom(1, "key").Bits(document), document}, signature);
    adding += Now() - start;
  }
  const double start = Now();
  ASSIGN_OR_RETURN(const DuplicateSet duplicates, index->Finish());
  const double seconds = Now() - start;
  std::cout << absl::StrFormat(
      "%s signatures, memory %d MiB: Add %.1f s, Finish %.1f s, peak memory %.0f MB (%.0f before);"
      " %s exact and %s near duplicates\n",
      WithCommas(documents), static_cast<int>(config.memory >> 20), adding, seconds,
      PeakMegabytes(), before, WithCommas(duplicates.exact()), WithCommas(duplicates.near()));
  const int64_t planted = documents / 8;
  CHECK(duplicates.exact() == planted && duplicates.near() == planted) << "planted: " << planted;
  return absl::OkStatus();
}

absl::Status Run(const std::string& corpus, int64_t signatures) {
  // First, so that its peak memory is its own.
  if (signatures > 0) RETURN_IF_ERROR(TimeFinish(signatures / 8 * 8));
  Bench bench;
  bench.corpus = corpus;
  RETURN_IF_ERROR(LoadDocuments(bench));
  std::cout << absl::StrFormat("%s documents, %.1f MB of text\n",
                               WithCommas(static_cast<int64_t>(bench.documents.size())),
                               bench.megabytes);
  TimeEdits(bench);
  TimeJudges(bench);
  TimeCld2(bench);
  const double signing = TimeSigning(bench);
  bench.table.Print(std::cout);
  return TimeDatasketch(bench, signing);
}

}  // namespace
}  // namespace choir

int main(int argc, char** argv) {
  const std::string corpus = argc > 1 ? argv[1] : "build/corpus";
  const absl::Status status = choir::Run(corpus, argc > 2 ? std::atoll(argv[2]) : 10'000'000);
  if (status.ok()) return 0;
  std::cerr << "clean_bench: " << status.message() << '\n';
  return 1;
}
