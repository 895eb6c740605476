#include "data/build/spool_units.h"

#include <algorithm>
#include <atomic>

#include "base/hash.h"
#include "base/status.h"
#include "base/strings.h"
#include "data/build/build_inputs.h"
#include "data/clean/cleaner.h"
#include "data/text/json_record.h"
#include "data/text/threads.h"

namespace choir {
namespace {

constexpr size_t kBatchDocuments = 256;
constexpr int64_t kBatchBytes = int64_t{1} << 20;
constexpr int64_t kPartBytes = int64_t{64} << 20;
constexpr size_t kShownMalformed = 5;
constexpr uint64_t kTrainBit = uint64_t{1} << 63;

std::string PartPath(const std::string& work, const std::string& key, int64_t part) {
  return StrCat(work, "/", key, "-", part, ".spool");
}

int64_t CountCharacters(std::string_view text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; });
}

// The spool files of a unit if all of them are there.
std::optional<std::vector<std::unique_ptr<SpoolFile>>> OpenUnit(const std::string& work,
                                                                const std::string& key) {
  std::vector<std::unique_ptr<SpoolFile>> files;
  do {
    auto file = SpoolFile::Open(PartPath(work, key, static_cast<int64_t>(files.size())));
    if (!file.ok()) return std::nullopt;
    files.push_back(*std::move(file));
  } while (!files.back()->last());
  return files;
}

// What the threads share.
struct Shared {
  const DataBuildConfig& config;
  const BuildPlan& plan;
  const std::string& work;
  StageClock& clock;
  const Cleaner& cleaner;
  std::mutex mutex;
  MalformedCounter malformed;
};

class UnitSpooler {
 public:
  UnitSpooler(Shared& shared, const BuildUnit& unit) : shared_(shared), unit_(unit) {}

  absl::Status Run() {
    RETURN_IF_ERROR(OpenPart());
    for (const UnitPiece& piece : unit_.pieces) RETURN_IF_ERROR(SpoolPiece(piece));
    return FinishPart(true);
  }

 private:
  absl::Status OpenPart() {
    report_ = {};
    ASSIGN_OR_RETURN(writer_, SpoolWriter::Create(PartPath(shared_.work, unit_.key, part_++)));
    return absl::OkStatus();
  }

  absl::Status FinishPart(bool last) {
    StageTimer timer(shared_.clock, Stage::kSpool);
    return writer_->Finish(report_, last);
  }

  absl::Status SpoolPiece(const UnitPiece& piece) {
    const TextFile& file = shared_.plan.files[piece.file];
    shown_ = 0;
    ASSIGN_OR_RETURN(
        const std::unique_ptr<DocumentReader> reader,
        piece.whole ? shared_.plan.shards.Open(file) : DocumentReader::Open(file, piece.block));
    for (bool more = true; more;) {
      ASSIGN_OR_RETURN(more, ReadBatch(file, *reader));
      Clean();
      RETURN_IF_ERROR(Spool());
      if (writer_->bytes() < kPartBytes) continue;
      RETURN_IF_ERROR(FinishPart(false));
      RETURN_IF_ERROR(OpenPart());
    }
    return absl::OkStatus();
  }

  // False at the end of the piece.
  absl::StatusOr<bool> ReadBatch(const TextFile& file, DocumentReader& reader) {
    StageTimer timer(shared_.clock, Stage::kRead);
    int64_t bytes = 0;
    for (size_ = 0; size_ < kBatchDocuments && bytes < kBatchBytes;) {
      if (batch_.size() == size_) batch_.emplace_back();
      const absl::StatusOr<bool> more = reader.Next(batch_[size_].document);
      if (more.ok() && !*more) {
        timer.Stop(bytes);
        return false;
      }
      bytes += reader.line_bytes();
      if (!more.ok()) {
        RETURN_IF_ERROR(CountMalformed(file, reader.line_bytes(), more.status()));
        continue;
      }
      batch_[size_].bytes = static_cast<int64_t>(batch_[size_].document.text.size());
      batch_[size_++].reason = nullptr;
    }
    timer.Stop(bytes);
    return true;
  }

  absl::Status CountMalformed(const TextFile& file, int64_t bytes, const absl::Status& error) {
    {
      const std::lock_guard lock(shared_.mutex);
      RETURN_IF_ERROR(shared_.malformed.Add(error));
    }
    SourceReport& counts = report_.At(
        unit_.split, file.language.empty() ? kUnknownLanguage : file.language, DefaultSource(file));
    counts.documents_in += 1;
    counts.bytes_in += bytes;  // of the record: there is no text to measure
    counts.Drop(kMalformed, 1, bytes);
    report_.num_malformed += 1;
    if (shown_++ < kShownMalformed) report_.malformed.emplace_back(error.message());
    return absl::OkStatus();
  }

  void Clean() {
    StageTimer timer(shared_.clock, Stage::kClean);
    const std::vector<std::string>& wanted = shared_.config.corpus.languages;
    int64_t bytes = 0;
    for (size_t i = 0; i < size_; ++i) {
      Item& item = batch_[i];
      TextDocument& document = item.document;
      bytes += item.bytes;
      const CleanVerdict verdict = shared_.cleaner.Clean(document);
      item.reason = verdict.reason;
      if (document.language.empty()) {
        document.language = kUnknownLanguage;
        if (item.reason == nullptr) item.reason = kNoLanguageReason;
      }
      if (!verdict.language.empty()) {
        report_.languages[document.language].score[ScoreBucket(verdict.language_score)] += 1;
      }
      if (item.reason == nullptr && !wanted.empty() &&
          std::find(wanted.begin(), wanted.end(), document.language) == wanted.end()) {
        item.reason = kNotAskedFor;
      }
    }
    timer.Stop(bytes);
  }

  absl::Status Spool() {
    StageTimer timer(shared_.clock, Stage::kSpool);
    int64_t bytes = 0;
    for (size_t i = 0; i < size_; ++i) {
      const auto& [document, raw_bytes, reason] = batch_[i];
      SourceReport& counts = report_.At(unit_.split, document.language, document.source);
      counts.documents_in += 1;
      counts.bytes_in += raw_bytes;
      if (reason != nullptr) {
        counts.Drop(reason, 1, raw_bytes);
        continue;
      }
      SpoolDocument spooled;
      spooled.id = HashOfName(document.id);
      spooled.group = HashOfName(document.group);
      spooled.sample = DocumentSample::HashOf(shared_.config.tokenizer.seed, document.id);
      spooled.key = DocumentKeyOf(document.text, document.id);
      spooled.key.high = spooled.key.high >> 1 | (unit_.split == Split::kTrain ? kTrainBit : 0);
      spooled.bytes = static_cast<uint32_t>(document.text.size());
      spooled.characters = static_cast<uint32_t>(CountCharacters(document.text));
      counts.documents += 1;
      counts.bytes += spooled.bytes;
      if (raw_bytes != spooled.bytes) counts.Drop(kChangedBytes, 0, raw_bytes - spooled.bytes);
      bytes += spooled.bytes;
      RETURN_IF_ERROR(writer_->Add(document, spooled));
    }
    timer.Stop(bytes);
    return absl::OkStatus();
  }

  struct Item {
    TextDocument document;
    int64_t bytes = 0;  // of the text as it was read
    const char* reason = nullptr;
  };

  Shared& shared_;
  const BuildUnit& unit_;
  std::unique_ptr<SpoolWriter> writer_;
  int64_t part_ = 0;
  size_t shown_ = 0;  // malformed records of this file
  BuildReport report_;
  std::vector<Item> batch_;  // the first size_ are in use; the others keep their memory
  size_t size_ = 0;
};

}  // namespace

absl::StatusOr<SpooledBuild> SpoolUnits(const DataBuildConfig& config, const BuildPlan& plan,
                                        const std::string& work, StageClock& clock) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Cleaner> cleaner, Cleaner::Make(config.clean));
  Shared shared{
      config, plan, work, clock, *cleaner, {}, MalformedCounter(config.corpus.max_malformed)};
  std::atomic<int64_t> reused = 0;
  RETURN_IF_ERROR(RunJobs(static_cast<int64_t>(plan.units.size()),
                          NumThreads(config.shards.threads), [&](int64_t u) {
                            if (OpenUnit(work, plan.units[u].key)) {
                              ++reused;
                              return absl::OkStatus();
                            }
                            return UnitSpooler(shared, plan.units[u]).Run();
                          }));
  SpooledBuild spooled;
  spooled.units_reused = reused;
  for (const BuildUnit& unit : plan.units) {
    auto files = OpenUnit(work, unit.key);
    if (!files) return SpoolFile::Open(PartPath(work, unit.key, 0)).status();
    for (std::unique_ptr<SpoolFile>& file : *files) {
      spooled.report.Merge(file->TakeReport());
      spooled.parts.push_back({unit.split, std::move(file)});
    }
  }
  const std::optional<int64_t> limit = config.corpus.max_malformed;
  if (limit && spooled.report.num_malformed > *limit) {
    return absl::InvalidArgumentError(StrCat(spooled.report.malformed.front(), "\n(",
                                             spooled.report.num_malformed, " malformed records; ",
                                             "corpus.max_malformed allows ", *limit, ")"));
  }
  return spooled;
}

}  // namespace choir
