#include "train/run_data.h"

#include <algorithm>
#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "absl/strings/str_format.h"
#include "base/file.h"
#include "base/status.h"
#include "base/strings.h"
#include "checkpoint/checkpoint_list.h"
#include "checkpoint/load.h"
#include "data/loader/loader.h"
#include "data/text_table.h"
#include "train/config.h"

namespace choir {
namespace {

using Json = nlohmann::json;

// The digests that a run wrote, by step.
absl::StatusOr<std::map<int64_t, std::string>> ReadDigests(const std::string& run) {
  const std::string path = run + "/metrics.jsonl";
  std::ifstream file(path);
  if (!file) return absl::NotFoundError(path + ": cannot be read; is this the folder of a run?");
  std::map<int64_t, std::string> digests;
  for (std::string line; std::getline(file, line);) {
    const Json json = Json::parse(line, nullptr, false);
    if (!json.is_object() || !json.contains("data_digest") || !json.contains("step")) continue;
    digests[json["step"].get<int64_t>()] = json["data_digest"].get<std::string>();
  }
  if (digests.empty()) {
    return absl::NotFoundError(path + ": no step has a data_digest, there is nothing to compare");
  }
  return digests;
}

// Makes the batches of a run again, on its ledger.
class Replay {
 public:
  static absl::StatusOr<std::unique_ptr<Replay>> Open(const std::string& run);

  // Continues from the last good checkpoint of at most `step` steps, or from the beginning.
  absl::Status Start(int64_t step);
  // The batch of the next step as `ranks` ranks read it; of several, every rank-th row each.
  absl::StatusOr<std::vector<Batch>> Next(int ranks);
  // Steps done, those before Start included.
  int64_t step() const { return step_; }
  // Its state is that after step(); after Start, or one Next, at least.
  const BatchLoader& loader() const { return *loaders_.front(); }
  const DataLedger& ledger() const { return ledger_; }

 private:
  absl::Status ReadLedger();
  absl::Status Reopen(int ranks);

  std::string run_;
  RunConfig config_;
  DataLedger ledger_;
  size_t entry_ = 0;  // of the ledger that holds now
  int64_t step_ = 0;
  std::string state_;  // empty: the beginning
  std::vector<std::unique_ptr<BatchLoader>> loaders_;
};

absl::StatusOr<std::unique_ptr<Replay>> Replay::Open(const std::string& run) {
  auto replay = std::make_unique<Replay>();
  replay->run_ = run;
  ASSIGN_OR_RETURN(const ConfigTree tree, ConfigTree::ParseFile(run + "/config.yaml"));
  ASSIGN_OR_RETURN(replay->config_, LoadConfig<RunConfig>(tree));
  RETURN_IF_ERROR(replay->ReadLedger());
  return replay;
}

// A loader reads it, because only it knows the names of the streams.
absl::Status Replay::ReadLedger() {
  const std::string path = run_ + "/" + kDataLedgerFile;
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  ASSIGN_OR_RETURN(const std::unique_ptr<BatchLoader> loader, BatchLoader::Open(config_.data));
  const Json json = Json::parse(text, nullptr, false);
  absl::StatusOr<DataLedger> ledger = LedgerFromJson(json, loader->streams());
  if (!ledger.ok()) {
    return absl::DataLossError(StrCat(path, ": ", std::string(ledger.status().message())));
  }
  ledger_ = *std::move(ledger);
  return absl::OkStatus();
}

absl::Status Replay::Start(int64_t step) {
  ASSIGN_OR_RETURN(const std::vector<CheckpointEntry> entries, ListCheckpoints(run_));
  for (auto entry = entries.rbegin(); entry != entries.rend(); ++entry) {
    if (entry->step > step || !entry->status.ok()) continue;
    const absl::StatusOr<Checkpoint> checkpoint = OpenCheckpoint(entry->path);
    if (!checkpoint.ok()) continue;
    auto blobs = LoadBlobs(*checkpoint);
    if (!blobs.ok() || !blobs->contains("data")) continue;
    state_ = (*blobs)["data"];
    step_ = entry->step;
    break;
  }
  // A checkpoint holds the ledger as it was; what was entered at its very step comes after it.
  entry_ = 0;
  while (entry_ + 1 < ledger_.size() && ledger_[entry_ + 1].step < step_) ++entry_;
  return Reopen(1);
}

absl::Status Replay::Reopen(int ranks) {
  loaders_.clear();
  for (int rank = 0; rank < ranks; ++rank) {
    ASSIGN_OR_RETURN(std::unique_ptr<BatchLoader> loader,
                     BatchLoader::Open(config_.data, ledger_[entry_].plan));
    if (!state_.empty()) RETURN_IF_ERROR(loader->RestoreState(state_));
    loader->SetRows([this, rank, ranks](int64_t step) {
      return StepRows{BatchRows(config_, step),
                      [rank, ranks](int64_t row) { return row % ranks == rank; }};
    });
    loaders_.push_back(std::move(loader));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Batch>> Replay::Next(int ranks) {
  if (static_cast<int>(loaders_.size()) != ranks) RETURN_IF_ERROR(Reopen(ranks));
  while (entry_ + 1 < ledger_.size() && ledger_[entry_ + 1].step <= step_) {
    state_ = loaders_.front()->SaveState();
    ++entry_;
    RETURN_IF_ERROR(Reopen(ranks));
  }
  std::vector<Batch> batches;
  for (const auto& loader : loaders_) {
    ASSIGN_OR_RETURN(Batch batch, loader->Next());
    batches.push_back(std::move(batch));
  }
  ++step_;
  return batches;
}

// That each row is read by one rank.
absl::Status CheckRows(const std::vector<Batch>& batches, int64_t step) {
  std::vector<int> readers(static_cast<size_t>(batches.front().rows), 0);
  for (const Batch& batch : batches) {
    for (const int64_t row : batch.stored) ++readers.at(static_cast<size_t>(row));
  }
  for (size_t row = 0; row < readers.size(); ++row) {
    if (readers[row] == 1) continue;
    return absl::InternalError(
        StrCat("step ", step, ": row ", row, " is read by ", readers[row], " ranks"));
  }
  return absl::OkStatus();
}

absl::Status CheckStep(const std::vector<Batch>& batches, const std::string& wanted, int64_t step,
                       const std::string& run) {
  RETURN_IF_ERROR(CheckRows(batches, step));
  for (size_t rank = 0; rank < batches.size(); ++rank) {
    const std::string found = ToHex(batches[rank].digest);
    if (found == wanted) continue;
    return absl::DataLossError(
        StrCat(run, ": step ", step, " did not read what its config, corpus and ledger say: ",
               "metrics.jsonl has data_digest ", wanted, ", rank ", rank, " of ", batches.size(),
               " makes ", found, ". The steps before it agree."));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status VerifyRunData(const std::string& run, const ReplayOptions& options,
                           std::ostream& out) {
  ASSIGN_OR_RETURN(const auto digests, ReadDigests(run));
  const int64_t last = options.last_step < 0 ? digests.rbegin()->first : options.last_step;
  if (options.first_step < 1 || last < options.first_step || last > digests.rbegin()->first) {
    return absl::InvalidArgumentError(StrCat(run, " has steps 1 to ", digests.rbegin()->first,
                                             ", not ", options.first_step, " to ", last));
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<Replay> replay, Replay::Open(run));
  RETURN_IF_ERROR(replay->Start(options.first_step - 1));
  int64_t compared = 0;
  while (replay->step() < last) {
    ASSIGN_OR_RETURN(const std::vector<Batch> batches, replay->Next(options.ranks));
    const auto wanted = digests.find(replay->step());
    if (replay->step() < options.first_step || wanted == digests.end()) continue;
    RETURN_IF_ERROR(CheckStep(batches, wanted->second, replay->step(), run));
    ++compared;
  }
  out << run << ": steps " << options.first_step << " to " << last << ", as " << options.ranks
      << (options.ranks == 1 ? " rank: " : " ranks: ") << compared << " digests, all equal\n";
  return absl::OkStatus();
}

namespace {

Json StreamsJson(const BatchLoader& loader) {
  Json json = Json::array();
  for (const auto& [of, labels] : loader.counters().stream_labels) {
    json.push_back({{"language", loader.languages()[of.first]},
                    {"source", loader.corpus().sources()[of.second]},
                    {"labels", labels}});
  }
  return json;
}

Json EpochsJson(const BatchLoader& loader) {
  Json json = Json::object();
  const std::vector<double> epochs = loader.Epochs();
  for (size_t s = 0; s < epochs.size(); ++s) json[loader.streams()[s].name] = epochs[s];
  return json;
}

void PrintEntries(const DataLedger& ledger, const BatchLoader& loader, std::ostream& out) {
  out << "from step 1: " << ledger[0].plan.mixture.phases.size() << " phase(s) of the mixture, "
      << ledger[0].plan.skip_documents.size() << " documents and "
      << ledger[0].plan.skip_batches.size() << " ranges of batches left out\n";
  for (size_t e = 1; e < ledger.size(); ++e) {
    out << "from step " << ledger[e].step + 1 << ":\n";
    for (const std::string& line :
         DescribeChange(ledger[e - 1].plan, ledger[e].plan, loader.streams())) {
      out << "  " << line << '\n';
    }
  }
}

void PrintStreams(const BatchLoader& loader, std::ostream& out) {
  const LoaderCounters& counters = loader.counters();
  TextTable table({"language", "source", "labels", "share"});
  for (const auto& [of, labels] : counters.stream_labels) {
    table.Add({loader.languages()[of.first], loader.corpus().sources()[of.second],
               WithCommas(labels),
               absl::StrFormat("%.3f %%", 100.0 * static_cast<double>(labels) /
                                              static_cast<double>(counters.labels))});
  }
  table.Print(out);
  const std::vector<double> epochs = loader.Epochs();
  TextTable drawn({"stream", "documents", "epochs drawn"});
  for (size_t s = 0; s < epochs.size(); ++s) {
    const DocumentStream& stream = loader.streams()[s];
    drawn.Add({stream.name, WithCommas(stream.documents), absl::StrFormat("%.4f", epochs[s])});
  }
  out << '\n';
  drawn.Print(out);
}

}  // namespace

absl::Status PrintDataLedger(const std::string& run, bool json, std::ostream& out) {
  ASSIGN_OR_RETURN(const auto digests, ReadDigests(run));
  ASSIGN_OR_RETURN(const std::unique_ptr<Replay> replay, Replay::Open(run));
  const int64_t last = digests.rbegin()->first;
  RETURN_IF_ERROR(replay->Start(last));
  while (replay->step() < last) {
    ASSIGN_OR_RETURN(const std::vector<Batch> batches, replay->Next(1));
    if (!digests.contains(replay->step())) continue;
    RETURN_IF_ERROR(CheckStep(batches, digests.at(replay->step()), replay->step(), run));
  }
  const BatchLoader& loader = replay->loader();
  if (json) {
    out << Json{{"step", last},
                {"labels", loader.counters().labels},
                {"batches", loader.counters().batches},
                {"consumed", StreamsJson(loader)},
                {"epochs", EpochsJson(loader)},
                {"entries", LedgerToJson(replay->ledger(), loader.streams())}}
               .dump(2)
        << '\n';
    return absl::OkStatus();
  }
  out << run << ": after step " << last << ", " << WithCommas(loader.counters().labels)
      << " labels in " << WithCommas(loader.counters().steps) << " batches, "
      << WithCommas(loader.counters().batches - loader.counters().steps) << " left out\n";
  PrintEntries(replay->ledger(), loader, out);
  PrintStreams(loader, out);
  return absl::OkStatus();
}

}  // namespace choir
