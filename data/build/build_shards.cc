// BuildShards of data/build/commands.h.
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <set>

#include "absl/strings/str_format.h"
#include "base/config_dump.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/status.h"
#include "base/strings.h"
#include "data/build/commands.h"
#include "data/build/data_report.h"
#include "data/build/encode_spool.h"
#include "data/shard/token_corpus.h"
#include "data/shard/verify.h"
#include "data/text/list_files.h"
#include "data/text/threads.h"
#include "data/text_table.h"

namespace choir {
namespace {

namespace fs = std::filesystem;

constexpr int kBuildFormat = 2;  // changes with what the build does to documents
constexpr const char* kFolderPrefix = "shards-";
constexpr const char* kWorkFolder = "unfinished";

// What decides about a spooled document besides its record.
absl::StatusOr<std::string> SpoolSettings(const DataBuildConfig& config) {
  CleanConfig clean = config.clean;
  clean.dedup = {};
  std::string settings =
      StrCat("spool ", kBuildFormat, " ", config.tokenizer.seed, " ", ConfigHash(clean));
  const std::string& model = config.clean.language_id.model;
  if (!model.empty()) {
    ASSIGN_OR_RETURN(const std::string bytes, ReadFile(model));
    settings += "\n" + ToHex(HashOf128(bytes));
  }
  for (const std::string& language : config.corpus.languages) settings += "\n" + language;
  return settings;
}

std::string InputsOf(const DataBuildConfig& config, const Tokenizer& tokenizer,
                     const BuildPlan& plan) {
  return ToHex(HashOf128(
      StrCat("shards ", kBuildFormat, " ", kCorpusFormat, " ", tokenizer.fingerprint(), " ",
             config.shards.max_tokens_per_shard, " ", config.shards.max_bytes_per_language, " ",
             config.tokenizer.seed, " ", ConfigHash(config.clean.dedup), "\n", plan.content)));
}

// The folder of an unfinished build, held by one process.
class WorkFolder {
 public:
  static absl::StatusOr<WorkFolder> Open(const std::string& path) {
    RETURN_IF_ERROR(MakeDirectories(path));
    const std::string lock = path + "/lock";
    const int fd = open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) return FileError(lock, "create", errno);
    WorkFolder folder(path, fd);
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
      folder.RemoveTemporaries();
      return folder;
    }
    return absl::FailedPreconditionError(
        StrCat(path,
               ": another `choir data build` is at work here; wait for it, or choose another "
               "shards.path"));
  }
  WorkFolder(WorkFolder&& other) noexcept
      : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)) {}
  ~WorkFolder() {
    if (fd_ >= 0) close(fd_);
  }
  const std::string& path() const { return path_; }
  void Remove() const {
    std::error_code ignored;  // what is left over costs space only
    fs::remove_all(path_, ignored);
  }

 private:
  WorkFolder(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}
  // Of a build that was killed while it wrote them.
  void RemoveTemporaries() const {
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(path_, ignored)) {
      if (entry.path().filename().string().find(".tmp-") != std::string::npos) {
        fs::remove(entry.path(), ignored);
      }
    }
  }

  std::string path_;
  int fd_;
};

// Removes folders of shards that the published index does not refer to.
void RemoveOthers(const std::string& path, const std::string& keep) {
  std::error_code ignored;  // what is left over costs space only, and the next build tries again
  for (const auto& entry : fs::directory_iterator(path, ignored)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(kFolderPrefix) && name != keep) fs::remove_all(entry.path(), ignored);
  }
}

bool IsWhole(const std::string& path, const CorpusIndex& index, int64_t threads) {
  const absl::StatusOr<VerifyReport> report = VerifyShards(path, index, threads);
  return report.ok() && report->damage.empty();
}

absl::StatusOr<std::unique_ptr<Tokenizer>> OpenTrained(const std::string& path) {
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = OpenTokenizer(path);
  if (absl::IsNotFound(tokenizer.status())) {
    return absl::NotFoundError(
        StrCat(path, ": not there; `choir tokenizer train CONFIG` makes it"));
  }
  return tokenizer;
}

// The tables of what is kept.
absl::Status FillTables(const BuildReport& report, CorpusIndex& index) {
  std::set<std::string> languages, sources;
  for (const auto& [key, counts] : report.sources) {
    if (counts.documents == 0) continue;
    languages.insert(std::get<1>(key));
    sources.insert(std::get<2>(key));
  }
  if (languages.empty()) {
    return absl::InvalidArgumentError(
        StrCat("no document is left to write; the table above says why",
               report.malformed.empty() ? "" : ", and first of all " + report.malformed.front()));
  }
  index.languages.assign(languages.begin(), languages.end());
  index.sources.assign(sources.begin(), sources.end());
  constexpr size_t kMax = 65536;  // what a shard can number
  if (languages.size() <= kMax && sources.size() <= kMax) return absl::OkStatus();
  return absl::InvalidArgumentError(StrCat(languages.size(), " languages and ", sources.size(),
                                           " sources, a corpus holds at most ", kMax,
                                           " of each; name fewer in the records"));
}

absl::Status MakeShards(const DataBuildConfig& config, const Tokenizer& tokenizer,
                        const BuildPlan& plan, CorpusIndex& index, StageClock& clock,
                        std::ostream& out) {
  const std::string& path = config.shards.path;
  const std::string folder = kFolderPrefix + index.inputs.substr(0, 12);
  ASSIGN_OR_RETURN(const std::string name, TokenizerFileName(config.tokenizer.model));
  index.tokenizer = {StrCat(folder, "/", name), tokenizer.fingerprint(), tokenizer.vocab_size(),
                     tokenizer.bos_id(),        tokenizer.eos_id(),      tokenizer.pad_id()};
  ASSIGN_OR_RETURN(const WorkFolder work, WorkFolder::Open(StrCat(path, "/", kWorkFolder)));
  ASSIGN_OR_RETURN(SpooledBuild spooled, SpoolUnits(config, plan, work.path(), clock));
  if (spooled.units_reused > 0) {
    out << "going on with an interrupted build: " << spooled.units_reused << " of "
        << plan.units.size() << " units are read already\n";
  }
  ASSIGN_OR_RETURN(Fates fates, ResolveDocuments(config, spooled, clock));
  RETURN_IF_ERROR(DropDuplicates(config, spooled, work.path(), fates, clock));
  RETURN_IF_ERROR(CountFates(fates, spooled, clock));
  if (const absl::Status status = FillTables(spooled.report, index); !status.ok()) {
    PrintBuildReport(spooled.report, out);
    return status;
  }
  RETURN_IF_ERROR(MakeDirectories(StrCat(path, "/", folder)));
  RETURN_IF_ERROR(CopyTokenizer(config.tokenizer.model, StrCat(path, "/", folder)));
  BuildReport encoded;
  RETURN_IF_ERROR(
      EncodeSpool({config, tokenizer, spooled, fates, folder, work.path()}, index, encoded, clock));
  spooled.report.Merge(encoded);
  spooled.report.Fill(index);
  RETURN_IF_ERROR(WriteBuildReport(StrCat(path, "/", folder), spooled.report, index));
  RETURN_IF_ERROR(WriteCorpusIndex(path, index));
  RemoveOthers(path, folder);
  work.Remove();
  PrintBuildReport(spooled.report, out);
  return absl::OkStatus();
}

// A build removes what it replaces: shards that are its input would be gone.
absl::Status RefuseOwnShards(const std::vector<TextFile>& files, const std::string& path) {
  std::error_code ignored;  // what cannot be resolved cannot be read or written either
  const fs::path own = fs::weakly_canonical(path, ignored);
  for (const TextFile& file : files) {
    if (file.format != TextFormat::kShards) continue;
    const fs::path relative = fs::weakly_canonical(file.path, ignored).lexically_relative(own);
    if (relative.empty() || *relative.begin() == "..") continue;
    return absl::InvalidArgumentError(StrCat(
        file.path, ": lies in shards.path, whose shards this build would replace; publish in ",
        "another folder (shards.path)"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status BuildShards(const DataBuildConfig& config, std::ostream& out) {
  const std::string& path = config.shards.path;
  // Documents may say nothing of their language if it is going to be identified.
  const bool identifies = config.clean.language_id.action == LanguageAction::kAssign;
  ASSIGN_OR_RETURN(std::vector<TextFile> files, FollowTextFiles(config.corpus, !identifies));
  RETURN_IF_ERROR(RefuseOwnShards(files, path));
  ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer, OpenTrained(config.tokenizer.model));
  StageClock clock;
  ASSIGN_OR_RETURN(const std::string settings, SpoolSettings(config));
  ASSIGN_OR_RETURN(const BuildPlan plan,
                   PlanBuild(std::move(files), settings, NumThreads(config.shards.threads), clock));
  CorpusIndex index;
  index.inputs = InputsOf(config, *tokenizer, plan);
  const absl::StatusOr<CorpusIndex> old = ReadCorpusIndex(path);
  if (old.ok() && old->inputs == index.inputs && IsWhole(path, *old, config.shards.threads)) {
    out << path << " is made from this text and these settings already: nothing to do\n";
    PrintDataReport(*old, out);
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(MakeShards(config, *tokenizer, plan, index, clock, out));
  PrintSummary(index, out);
  clock.Print(plan.bytes, out);
  out << path << ": published, " << absl::StrFormat("%.1f", clock.wall_seconds()) << " s\n";
  return absl::OkStatus();
}

}  // namespace choir
