#include "data/shard/verify.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <thread>

#include "absl/strings/str_join.h"
#include "base/status.h"
#include "base/strings.h"
#include "data/shard/hdf5_shard.h"
#include "data/shard/shard_reader.h"
#include "data/text_table.h"
#include "data/tokenizer/tokenizer.h"

namespace choir {
namespace {

struct OpenShard {
  const ShardInfo* info = nullptr;
  std::unique_ptr<ShardReader> reader;
};

// One chunk that is to be compared.
struct Task {
  size_t shard = 0;
  ShardArray array = ShardArray::kTokens;
  int64_t chunk = 0;
};

// Calls work(i) for i < n from several threads.
void ForEach(size_t n, int64_t threads, const auto& work) {
  std::atomic<size_t> next = 0;
  const auto run = [&] {
    for (size_t i; (i = next.fetch_add(1)) < n;) work(i);
  };
  std::vector<std::thread> helpers;
  for (int64_t t = 1; t < threads; ++t) helpers.emplace_back(run);
  run();
  for (std::thread& helper : helpers) helper.join();
}

// The documents that have tokens in [first, last].
void FindDocuments(const ShardReader& reader, int64_t first, int64_t last, ShardDamage& damage) {
  if (!reader.Check(ShardArray::kOffset, 0, reader.documents() + 1).ok())
    return;  // not to be known
  const auto* const offset = static_cast<const uint64_t*>(reader.Address(ShardArray::kOffset, 0));
  const auto document = [&](int64_t token) {
    const auto* const after =
        std::upper_bound(offset, offset + reader.documents() + 1, static_cast<uint64_t>(token));
    return static_cast<int64_t>(after - offset) - 1;
  };
  damage.first_document = document(first);
  damage.last_document = document(last);
}

ShardDamage DamageOf(const OpenShard& shard, const Task& task, const absl::Status& status,
                     const CorpusIndex& index) {
  const ShardLayout::Place& place = shard.reader->layout().array(task.array);
  ShardDamage damage;
  damage.file = shard.info->file;
  damage.dataset = ShardArrayName(task.array);
  damage.chunk = task.chunk;
  damage.begin = place.ChunkBegin(task.chunk);
  damage.end = place.ChunkEnd(task.chunk);
  damage.what = std::string(status.message());
  const int64_t first = (damage.begin - place.begin) / place.element_bytes;
  const int64_t last = (damage.end - place.begin) / place.element_bytes - 1;
  if (task.array == ShardArray::kTokens) {
    FindDocuments(*shard.reader, first, last, damage);
  } else {
    damage.first_document = std::min(first, shard.info->documents - 1);
    damage.last_document = std::min(last, shard.info->documents - 1);
  }
  for (const ShardRun& run : shard.info->runs) {
    if (damage.first_document >= 0 && run.first <= damage.last_document &&
        damage.first_document < run.first + run.count) {
      damage.languages.push_back(index.languages.at(run.language));
    }
  }
  return damage;
}

ShardDamage WholeFile(const ShardInfo& info, const char* dataset, const absl::Status& status) {
  ShardDamage damage;
  damage.file = info.file;
  damage.dataset = dataset;
  damage.end = info.file_bytes;
  damage.what = std::string(status.message());
  return damage;
}

void PrintDamage(const ShardDamage& damage, std::ostream& out) {
  out << damage.what << '\n';
  if (damage.first_document < 0) return;
  out << "  documents " << damage.first_document << " to " << damage.last_document
      << " of the shard: " << absl::StrJoin(damage.languages, ", ") << '\n';
}

}  // namespace

absl::StatusOr<VerifyReport> VerifyShards(const std::string& directory, const CorpusIndex& index,
                                          int64_t threads) {
  if (threads <= 0) threads = std::max<int64_t>(1, std::thread::hardware_concurrency());
  VerifyReport report;
  std::vector<OpenShard> shards;
  std::vector<Task> tasks;
  for (const ShardInfo& info : index.shards) {
    for (const ShardRun& run : info.runs) {
      if (run.language < 0 || run.language >= static_cast<int64_t>(index.languages.size())) {
        return absl::DataLossError(StrCat(directory, "/", kCorpusIndexFile, ": ", info.file,
                                          ": a language that is not in the table"));
      }
    }
    report.shards += 1;
    absl::StatusOr<std::unique_ptr<ShardReader>> reader = ShardReader::Open(directory, info);
    if (absl::IsDataLoss(reader.status()) || absl::IsNotFound(reader.status())) {
      report.damage.push_back(WholeFile(info, "file", reader.status()));
      continue;
    }
    RETURN_IF_ERROR(reader.status());
    report.bytes += info.file_bytes;
    for (const ShardArray array : kAllShardArrays) {
      for (int64_t c = 0; c < (*reader)->layout().array(array).NumChunks(); ++c) {
        tasks.push_back({shards.size(), array, c});
      }
    }
    shards.push_back({&info, *std::move(reader)});
  }
  report.chunks = static_cast<int64_t>(tasks.size());
  std::mutex mutex;
  std::vector<std::pair<size_t, absl::Status>> failures;
  ForEach(tasks.size(), threads, [&](size_t i) {
    const Task& task = tasks[i];
    absl::Status status = shards[task.shard].reader->CheckChunk(task.array, task.chunk);
    if (status.ok()) return;
    const std::lock_guard lock(mutex);
    failures.emplace_back(i, std::move(status));
  });
  std::ranges::sort(failures, {}, [](const auto& failure) { return failure.first; });
  std::vector<bool> damaged(shards.size(), false);
  for (const auto& [i, status] : failures) {
    damaged[tasks[i].shard] = true;
    report.damage.push_back(DamageOf(shards[tasks[i].shard], tasks[i], status, index));
  }
  for (size_t s = 0; s < shards.size(); ++s) {
    if (damaged[s]) continue;
    const absl::Status status = CompareWithHdf5(directory, *shards[s].info);
    if (!status.ok()) report.damage.push_back(WholeFile(*shards[s].info, "metadata", status));
  }
  return report;
}

absl::Status VerifyCorpus(const std::string& directory, int64_t threads, std::ostream& out) {
  ASSIGN_OR_RETURN(const CorpusIndex index, ReadCorpusIndex(directory));
  ASSIGN_OR_RETURN(const VerifyReport report, VerifyShards(directory, index, threads));
  for (const ShardDamage& damage : report.damage) PrintDamage(damage, out);
  size_t damaged = report.damage.size();
  const std::string model = StrCat(directory, "/", index.tokenizer.file);
  const absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = OpenTokenizer(model);
  if (!tokenizer.ok()) {
    out << std::string(tokenizer.status().message()) << '\n';
    ++damaged;
  } else if ((*tokenizer)->fingerprint() != index.tokenizer.fingerprint) {
    out << model << ": damaged: its fingerprint is " << (*tokenizer)->fingerprint() << ", must be "
        << index.tokenizer.fingerprint << '\n';
    ++damaged;
  }
  out << directory << ": " << report.shards << " shards, " << WithCommas(report.bytes) << " bytes, "
      << WithCommas(report.chunks) << " chunks compared, " << damaged << " damaged\n";
  if (damaged == 0) return absl::OkStatus();
  return absl::DataLossError(
      StrCat(directory, ": damaged, as listed; `choir data build` makes it again from the text"));
}

}  // namespace choir
