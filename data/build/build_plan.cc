#include "data/build/build_plan.h"

#include <algorithm>
#include <numeric>

#include "base/hash.h"
#include "base/status.h"
#include "base/strings.h"
#include "data/text/byte_source.h"
#include "data/text/threads.h"

namespace choir {
namespace {

constexpr size_t kReadBytes = size_t{1} << 20;
constexpr size_t kFilesOfUnit = 1000;

struct ScannedBlock {
  TextBlock block;
  bool whole = true;
  std::string hash;
};

struct ScannedFile {
  std::vector<ScannedBlock> blocks;
  std::string hash;
};

// The first byte behind a line feed at or after `at` - 1; `size` if there is none.
absl::StatusOr<int64_t> LineStart(const std::string& path, int64_t at, int64_t size) {
  if (at == 0 || at >= size) return std::min(at, size);
  ASSIGN_OR_RETURN(const auto source, OpenPlainBytes(path, at - 1, size));
  std::vector<char> buffer(size_t{1} << 16);
  for (int64_t begin = at - 1;;) {
    ASSIGN_OR_RETURN(const size_t got, source->Read(buffer.data(), buffer.size()));
    const auto feed = std::find(buffer.begin(), buffer.begin() + static_cast<int64_t>(got), '\n');
    if (got == 0) return size;
    const int64_t before = feed - buffer.begin();
    if (before < static_cast<int64_t>(got)) return begin + before + 1;
    begin += static_cast<int64_t>(got);
  }
}

// Hashes [begin, end) of a file and counts its lines; lines_before becomes that of the block after.
absl::Status ScanBlock(const std::string& path, ScannedBlock& scanned, StageClock& clock) {
  StageTimer timer(clock, Stage::kHash);
  TextBlock& block = scanned.block;
  ASSIGN_OR_RETURN(const auto source, OpenPlainBytes(path, block.begin, block.end));
  std::vector<char> buffer(kReadBytes);
  Hasher128 hasher;
  int64_t bytes = 0;
  while (true) {
    ASSIGN_OR_RETURN(const size_t got, source->Read(buffer.data(), buffer.size()));
    if (got == 0) break;
    bytes += static_cast<int64_t>(got);
    hasher.Update(std::string_view(buffer.data(), got));
    if (!scanned.whole) {
      block.lines_before +=
          std::count(buffer.begin(), buffer.begin() + static_cast<int64_t>(got), '\n');
    }
  }
  scanned.hash = ToHex(hasher.Digest());
  timer.Stop(bytes);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<ScannedBlock>> CutFile(const TextFile& file, int64_t unit_bytes) {
  ScannedBlock whole;
  ASSIGN_OR_RETURN(const Compression compression, CompressionOf(file.path));
  if (compression != Compression::kNone || file.format != TextFormat::kJsonl ||
      file.bytes <= unit_bytes) {
    return std::vector<ScannedBlock>{whole};
  }
  std::vector<ScannedBlock> blocks;
  int64_t begin = 0;
  for (int64_t at = unit_bytes; begin < file.bytes; at += unit_bytes) {
    ASSIGN_OR_RETURN(const int64_t end, LineStart(file.path, at, file.bytes));
    if (end > begin) blocks.push_back({{begin, end, 0}, false, ""});
    begin = end;
  }
  return blocks;
}

absl::StatusOr<std::vector<ScannedFile>> ScanFiles(const std::vector<TextFile>& files,
                                                   int64_t threads, StageClock& clock,
                                                   int64_t unit_bytes) {
  std::vector<ScannedFile> scanned(files.size());
  std::vector<std::pair<size_t, size_t>> jobs;
  for (size_t f = 0; f < files.size(); ++f) {
    ASSIGN_OR_RETURN(scanned[f].blocks, CutFile(files[f], unit_bytes));
    for (size_t b = 0; b < scanned[f].blocks.size(); ++b) jobs.emplace_back(f, b);
  }
  RETURN_IF_ERROR(RunJobs(static_cast<int64_t>(jobs.size()), threads, [&](int64_t i) {
    const auto& [f, b] = jobs[i];
    return ScanBlock(files[f].path, scanned[f].blocks[b], clock);
  }));
  for (ScannedFile& file : scanned) {
    Hasher128 hasher;
    int64_t lines = 0;
    for (ScannedBlock& block : file.blocks) {
      hasher.Update(block.hash);
      lines += std::exchange(block.block.lines_before, lines);
    }
    file.hash = ToHex(hasher.Digest());
  }
  return scanned;
}

std::string KeyOf(const TextFile& file, const ScannedBlock& block) {
  const FieldNames& f = file.fields;
  return StrCat(file.path, "\n", SplitName(file.split), "\n", file.language, "\n", file.source,
                "\n", EnumToString(file.format), "\n", EnumToString(file.unit), "\n", f.text, "\n",
                f.language, "\n", f.source, "\n", f.group, "\n", f.id, "\n",
                block.block.lines_before, "\n", block.hash, "\n");
}

}  // namespace

absl::StatusOr<BuildPlan> PlanBuild(std::vector<TextFile> files, const std::string& settings,
                                    int64_t threads, StageClock& clock, int64_t unit_bytes) {
  BuildPlan plan;
  ASSIGN_OR_RETURN(plan.shards, ShardInputs::Find(files));
  ASSIGN_OR_RETURN(const std::vector<ScannedFile> scanned,
                   ScanFiles(files, threads, clock, unit_bytes));
  std::vector<int32_t> order(files.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    const auto rank = [&](int32_t i) {
      return std::make_tuple(files[i].split == Split::kTrain, std::cref(scanned[i].hash).get(),
                             files[i].path);
    };
    return rank(a) < rank(b);
  });
  Hasher128 content;
  std::string keys;
  int64_t pending = 0;
  const auto close = [&] {
    if (keys.empty()) return;
    plan.units.back().key = ToHex(HashOf128(StrCat(settings, "\n", keys)));
    content.Update(plan.units.back().key);
    keys.clear();
    pending = 0;
  };
  for (const int32_t f : order) {
    const TextFile& file = files[f];
    plan.bytes += file.bytes;
    for (const ScannedBlock& block : scanned[f].blocks) {
      const int64_t bytes = block.whole ? file.bytes : block.block.end - block.block.begin;
      const bool joins = !keys.empty() && plan.units.back().split == file.split &&
                         pending + bytes <= unit_bytes &&
                         plan.units.back().pieces.size() < kFilesOfUnit;
      if (!joins) {
        close();
        plan.units.push_back({"", file.split, {}});
      }
      plan.units.back().pieces.push_back({f, block.block, block.whole});
      keys += KeyOf(file, block);
      pending += bytes;
    }
  }
  close();
  plan.content = ToHex(content.Digest());
  plan.files = std::move(files);
  return plan;
}

}  // namespace choir
