#include "data/build/spool.h"

#include <zstd.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/check.h"
#include "base/hash.h"
#include "base/status.h"
#include "base/strings.h"
#include "data/text/byte_source.h"
#include "data/text/file_stamp.h"

namespace choir {
namespace {

using Json = nlohmann::json;

constexpr size_t kBlockBytes = size_t{1} << 20;
constexpr size_t kPendingBytes = size_t{32} << 20;
constexpr int kLevel = 1;
constexpr char kMagic[] = "choirsp1";

struct Trailer {
  uint64_t table;
  uint64_t json;
  uint64_t hash;
  char magic[8];
};

uint32_t IdOf(const std::string& name, std::map<std::string, uint32_t>& ids,
              std::vector<std::string>& names) {
  const auto [it, fresh] = ids.try_emplace(name, static_cast<uint32_t>(names.size()));
  if (fresh) names.push_back(name);
  return it->second;
}

std::string_view BytesOf(const std::vector<SpoolDocument>& table) {
  return {reinterpret_cast<const char*>(table.data()), table.size() * sizeof(SpoolDocument)};
}

absl::Status ReadExactly(const std::string& path, int64_t begin, int64_t end, char* out) {
  ASSIGN_OR_RETURN(const auto source, OpenPlainBytes(path, begin, end));
  for (int64_t at = begin; at < end;) {
    ASSIGN_OR_RETURN(const size_t got,
                     source->Read(out + (at - begin), static_cast<size_t>(end - at)));
    at += static_cast<int64_t>(got);
  }
  return absl::OkStatus();
}

}  // namespace

SpoolWriter::SpoolWriter(OutputFile file) : file_(std::move(file)), context_(ZSTD_createCCtx()) {
  CHECK(context_ != nullptr);
  ZSTD_CCtx_setParameter(context_, ZSTD_c_compressionLevel, kLevel);
  ZSTD_CCtx_setParameter(context_, ZSTD_c_checksumFlag, 1);
}

SpoolWriter::~SpoolWriter() { ZSTD_freeCCtx(context_); }

absl::StatusOr<std::unique_ptr<SpoolWriter>> SpoolWriter::Create(const std::string& path) {
  ASSIGN_OR_RETURN(OutputFile file, OutputFile::Create(path));
  return std::unique_ptr<SpoolWriter>(new SpoolWriter(std::move(file)));
}

absl::Status SpoolWriter::Add(const TextDocument& text, SpoolDocument document) {
  document.language = IdOf(text.language, language_ids_, languages_);
  document.source = IdOf(text.source, source_ids_, sources_);
  pending_.resize(languages_.size());
  Pending& pending = pending_[document.language];
  pending.text += text.text;
  pending.documents.push_back(document);
  bytes_ += document.bytes;
  pending_bytes_ += document.bytes;
  if (pending.text.size() >= kBlockBytes) return Flush(document.language);
  return pending_bytes_ >= kPendingBytes ? FlushLargest() : absl::OkStatus();
}

absl::Status SpoolWriter::FlushLargest() {
  const auto largest = std::max_element(
      pending_.begin(), pending_.end(),
      [](const Pending& a, const Pending& b) { return a.text.size() < b.text.size(); });
  return Flush(static_cast<uint32_t>(largest - pending_.begin()));
}

absl::Status SpoolWriter::Flush(uint32_t language) {
  Pending& pending = pending_[language];
  if (pending.documents.empty()) return absl::OkStatus();
  packed_.resize(ZSTD_compressBound(pending.text.size()));
  const size_t packed = ZSTD_compress2(context_, packed_.data(), packed_.size(),
                                       pending.text.data(), pending.text.size());
  if (ZSTD_isError(packed) != 0) {
    return absl::ResourceExhaustedError(StrCat("zstd: ", ZSTD_getErrorName(packed)));
  }
  blocks_.push_back({file_.size(), static_cast<int64_t>(packed),
                     static_cast<int64_t>(pending.text.size()), static_cast<int64_t>(table_.size()),
                     static_cast<int64_t>(pending.documents.size()), language});
  RETURN_IF_ERROR(file_.Write(std::string_view(packed_.data(), packed)));
  table_.insert(table_.end(), pending.documents.begin(), pending.documents.end());
  pending_bytes_ -= pending.text.size();
  pending.text.clear();
  pending.documents.clear();
  return absl::OkStatus();
}

absl::Status SpoolWriter::Finish(const BuildReport& report, bool last) {
  for (uint32_t l = 0; l < pending_.size(); ++l) RETURN_IF_ERROR(Flush(l));
  Json blocks = Json::array();
  for (const SpoolBlock& b : blocks_) {
    blocks.push_back({b.offset, b.packed, b.raw, b.first, b.count, b.language});
  }
  const std::string json = Json{
      {"languages", languages_},
      {"sources", sources_},
      {"blocks", blocks},
      {"last", last},
      {"report",
       ToJson(report)}}.dump(-1, ' ', false, Json::error_handler_t::replace);
  Trailer trailer{static_cast<uint64_t>(file_.size()), 0, 0, {}};
  Hasher64 hasher;
  hasher.Update(BytesOf(table_));
  hasher.Update(json);
  RETURN_IF_ERROR(file_.Write(BytesOf(table_)));
  trailer.json = static_cast<uint64_t>(file_.size());
  trailer.hash = hasher.Digest();
  std::memcpy(trailer.magic, kMagic, sizeof(trailer.magic));
  RETURN_IF_ERROR(file_.Write(json));
  RETURN_IF_ERROR(file_.Write({reinterpret_cast<const char*>(&trailer), sizeof(trailer)}));
  return file_.Commit();
}

absl::StatusOr<std::unique_ptr<SpoolFile>> SpoolFile::Open(const std::string& path) {
  std::unique_ptr<SpoolFile> file(new SpoolFile(path));
  RETURN_IF_ERROR(file->Load());
  return file;
}

absl::Status SpoolFile::Damaged() const {
  return absl::DataLossError(
      StrCat(path_, ": damaged; remove it and run `choir data build` again, which makes it anew"));
}

absl::Status SpoolFile::Load() {
  ASSIGN_OR_RETURN(const FileStamp stamp, StampOf(path_));
  Trailer trailer;
  const auto end = stamp.size - static_cast<int64_t>(sizeof(trailer));
  if (end < 0) return Damaged();
  RETURN_IF_ERROR(ReadExactly(path_, end, stamp.size, reinterpret_cast<char*>(&trailer)));
  if (std::memcmp(trailer.magic, kMagic, sizeof(trailer.magic)) != 0 ||
      trailer.table > trailer.json || trailer.json > static_cast<uint64_t>(end) ||
      (trailer.json - trailer.table) % sizeof(SpoolDocument) != 0) {
    return Damaged();
  }
  table_offset_ = static_cast<int64_t>(trailer.table);
  num_documents_ = static_cast<int64_t>((trailer.json - trailer.table) / sizeof(SpoolDocument));
  std::string body(static_cast<size_t>(end - table_offset_), 0);
  RETURN_IF_ERROR(ReadExactly(path_, table_offset_, end, body.data()));
  if (HashOf64(body) != trailer.hash) return Damaged();
  // A sealed file was written by SpoolWriter: only a fault of ours can throw here.
  try {
    const Json json = Json::parse(body.substr(trailer.json - trailer.table));
    languages_ = json.at("languages").get<std::vector<std::string>>();
    sources_ = json.at("sources").get<std::vector<std::string>>();
    for (const Json& b : json.at("blocks")) {
      blocks_.push_back({b.at(0), b.at(1), b.at(2), b.at(3), b.at(4), b.at(5)});
    }
    last_ = json.at("last");
    report_ = BuildReportFrom(json.at("report"));
  } catch (const Json::exception& error) {
    return absl::DataLossError(StrCat(path_, ": ", error.what()));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<SpoolDocument>> SpoolFile::ReadTable() const {
  SpoolBlock all;
  all.count = num_documents_;
  return ReadTable(all);
}

absl::StatusOr<std::vector<SpoolDocument>> SpoolFile::ReadTable(const SpoolBlock& block) const {
  std::vector<SpoolDocument> table(static_cast<size_t>(block.count));
  const auto begin = table_offset_ + block.first * static_cast<int64_t>(sizeof(SpoolDocument));
  RETURN_IF_ERROR(ReadExactly(path_, begin, begin + static_cast<int64_t>(BytesOf(table).size()),
                              reinterpret_cast<char*>(table.data())));
  return table;
}

absl::StatusOr<std::string> SpoolFile::ReadTexts(const SpoolBlock& block) const {
  std::string packed(static_cast<size_t>(block.packed), 0);
  RETURN_IF_ERROR(ReadExactly(path_, block.offset, block.offset + block.packed, packed.data()));
  std::string raw(static_cast<size_t>(block.raw), 0);
  const size_t got = ZSTD_decompress(raw.data(), raw.size(), packed.data(), packed.size());
  if (ZSTD_isError(got) != 0 || got != raw.size()) return Damaged();
  return raw;
}

}  // namespace choir
