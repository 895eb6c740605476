#include "checkpoint/describe.h"

#include <map>

#include "absl/strings/str_format.h"
#include "base/strings.h"
#include "checkpoint/names.h"

namespace choir {
namespace {

using Json = nlohmann::json;

std::string HumanBytes(int64_t bytes) {
  const char* const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(units)) {
    value /= 1024;
    ++unit;
  }
  return unit == 0 ? StrCat(bytes, " B") : absl::StrFormat("%.1f %s", value, units[unit]);
}

int64_t FileBytes(const Manifest& manifest) {
  int64_t bytes = 0;
  for (const FileRecord& file : manifest.files) bytes += file.bytes;
  return bytes;
}

std::string Message(const absl::Status& status) { return std::string(status.message()); }

// "model" for "model/a/b".
std::string KindOf(const std::string& name) { return name.substr(0, name.find('/')); }

struct KindSum {
  int64_t tensors = 0, elements = 0, bytes = 0;
};

std::map<std::string, KindSum> SumByKind(const Manifest& manifest) {
  std::map<std::string, KindSum> kinds;
  for (const TensorRecord& tensor : manifest.tensors) {
    KindSum& sum = kinds[KindOf(tensor.name)];
    ++sum.tensors;
    sum.elements += tensor.shape.NumElements();
    sum.bytes += tensor.shape.NumElements() * SizeOf(tensor.dtype);
  }
  return kinds;
}

std::string HealthOf(const absl::Status& status) {
  if (status.ok()) return "ok";
  return absl::IsDataLoss(status) || absl::IsNotFound(status) ? "damaged" : "unreadable";
}

}  // namespace

std::string ListText(std::span<const CheckpointEntry> entries) {
  if (entries.empty()) return "no checkpoints\n";
  std::string text =
      absl::StrFormat("%12s %12s %8s  %-10s %s\n", "step", "size", "tensors", "state", "path");
  for (const CheckpointEntry& entry : entries) {
    const bool ok = entry.status.ok();
    text += absl::StrFormat(
        "%12d %12s %8s  %-10s %s\n", entry.step, ok ? HumanBytes(FileBytes(entry.manifest)) : "-",
        ok ? StrCat(entry.manifest.tensors.size()) : "-", HealthOf(entry.status), entry.path);
    if (!ok) text += StrCat("             ", Message(entry.status), "\n");
  }
  return text;
}

Json ListJson(std::span<const CheckpointEntry> entries) {
  Json list = Json::array();
  for (const CheckpointEntry& entry : entries) {
    Json item = {{"step", entry.step}, {"path", entry.path}, {"state", HealthOf(entry.status)}};
    if (entry.status.ok()) {
      item["bytes"] = FileBytes(entry.manifest);
      item["tensors"] = entry.manifest.tensors.size();
      item["code_version"] = entry.manifest.code_version;
    } else {
      item["error"] = Message(entry.status);
    }
    list.push_back(std::move(item));
  }
  return list;
}

std::string DescribeText(const Checkpoint& checkpoint) {
  const Manifest& manifest = checkpoint.manifest;
  std::string text =
      StrCat("checkpoint    ", checkpoint.path, "\nstep          ", manifest.step,
             "\nformat        ", kFormatVersion, "\ncode version  ", manifest.code_version,
             "\nsize          ", HumanBytes(FileBytes(manifest)), "\n\nfiles\n");
  for (const FileRecord& file : manifest.files) {
    text += absl::StrFormat("  %-16s %14d  xxh3-128 %s\n", file.name, file.bytes, ToHex(file.hash));
  }
  text += "\nkinds\n";
  for (const auto& [kind, sum] : SumByKind(manifest)) {
    text += absl::StrFormat("  %-16s %8d tensors %16d elements %12s\n", kind, sum.tensors,
                            sum.elements, HumanBytes(sum.bytes));
  }
  text += "\ntensors\n";
  for (const TensorRecord& tensor : manifest.tensors) {
    text += absl::StrFormat("  %-5s %-24s %3d pieces  %s\n", std::string(Name(tensor.dtype)),
                            tensor.shape.ToString(), tensor.pieces.size(), tensor.name);
  }
  if (!manifest.blobs.empty()) text += "\nblobs\n";
  for (const BlobRecord& blob : manifest.blobs) {
    text += absl::StrFormat("  %14d bytes  %s\n", blob.data.bytes, blob.name);
  }
  return text;
}

Json DescribeJson(const Checkpoint& checkpoint) {
  const Manifest& manifest = checkpoint.manifest;
  Json files = Json::array(), tensors = Json::array(), blobs = Json::array();
  for (const FileRecord& file : manifest.files) {
    files.push_back({{"name", file.name}, {"bytes", file.bytes}, {"xxh3_128", ToHex(file.hash)}});
  }
  for (const TensorRecord& tensor : manifest.tensors) {
    const auto dims = tensor.shape.dims();
    tensors.push_back({{"name", tensor.name},
                       {"dtype", Name(tensor.dtype)},
                       {"shape", std::vector<int64_t>(dims.begin(), dims.end())},
                       {"pieces", tensor.pieces.size()}});
  }
  for (const BlobRecord& blob : manifest.blobs) {
    blobs.push_back({{"name", blob.name}, {"bytes", blob.data.bytes}});
  }
  Json kinds = Json::object();
  for (const auto& [kind, sum] : SumByKind(manifest)) {
    kinds[kind] = {{"tensors", sum.tensors}, {"elements", sum.elements}, {"bytes", sum.bytes}};
  }
  return {{"path", checkpoint.path},          {"step", manifest.step},
          {"format_version", kFormatVersion}, {"code_version", manifest.code_version},
          {"bytes", FileBytes(manifest)},     {"config", manifest.config},
          {"state", manifest.state},          {"files", std::move(files)},
          {"kinds", std::move(kinds)},        {"tensors", std::move(tensors)},
          {"blobs", std::move(blobs)}};
}

std::string VerifyText(const VerifyReport& report) {
  std::string text;
  if (!report.manifest.ok()) return StrCat("damaged: ", Message(report.manifest), "\n");
  for (const FileVerdict& file : report.files) {
    text += absl::StrFormat("  %-16s %14d bytes  %s\n", file.name, file.bytes,
                            file.status.ok() ? "ok" : Message(file.status));
  }
  if (report.status().ok()) {
    return text + StrCat("ok: step ", report.step, ", ", report.files.size(), " files, ",
                         report.bytes, " bytes, ", report.chunks, " chunk checksums: ", report.path,
                         "\n");
  }
  for (const std::string& name : report.damaged) text += StrCat("  lost: ", name, "\n");
  return text + StrCat("damaged: ", report.path, "\n");
}

Json VerifyJson(const VerifyReport& report) {
  Json files = Json::array();
  for (const FileVerdict& file : report.files) {
    Json item = {{"name", file.name}, {"bytes", file.bytes}, {"ok", file.status.ok()}};
    if (!file.status.ok()) item["error"] = Message(file.status);
    files.push_back(std::move(item));
  }
  Json json = {{"path", report.path},       {"ok", report.status().ok()}, {"step", report.step},
               {"files", std::move(files)}, {"bytes", report.bytes},      {"chunks", report.chunks},
               {"damaged", report.damaged}};
  if (!report.manifest.ok()) json["error"] = Message(report.manifest);
  return json;
}

}  // namespace choir
