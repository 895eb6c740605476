#include "data/text/index_scan.h"

#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/file.h"
#include "base/hash.h"
#include "base/status.h"
#include "base/strings.h"
#include "data/text/byte_source.h"
#include "data/text/file_stamp.h"
#include "data/text/indexed_file.h"
#include "data/text/json_record.h"
#include "data/text/line_reader.h"
#include "data/text/mapped_file.h"
#include "data/text/output_file.h"

namespace choir {
namespace {

constexpr size_t kShownMalformed = 5;

// Hashes what passes, and keeps it if it has a file to.
class TeeSource : public ByteSource {
 public:
  TeeSource(std::unique_ptr<ByteSource> source, Hasher128& hasher, OutputFile* copy)
      : source_(std::move(source)), hasher_(hasher), copy_(copy) {}

  absl::StatusOr<size_t> Read(char* buffer, size_t size) override {
    ASSIGN_OR_RETURN(const size_t got, source_->Read(buffer, size));
    hasher_.Update(std::string_view(buffer, got));
    if (copy_ != nullptr) RETURN_IF_ERROR(copy_->Write({buffer, got}));
    return got;
  }

 private:
  std::unique_ptr<ByteSource> source_;
  Hasher128& hasher_;
  OutputFile* const copy_;
};

std::string_view BytesOf(const IndexEntry& entry) {
  return {reinterpret_cast<const char*>(&entry), sizeof(entry)};
}

// Numbers of names in the order of their first use.
class Names {
 public:
  uint32_t Find(const std::string& name) {
    const auto [it, fresh] = ids_.try_emplace(name, static_cast<uint32_t>(names_.size()));
    if (fresh) names_.push_back(name);
    return it->second;
  }
  const std::vector<std::string>& names() const { return names_; }
  // Ids by name.
  const std::map<std::string, uint32_t>& sorted() const { return ids_; }

 private:
  std::map<std::string, uint32_t> ids_;
  std::vector<std::string> names_;
};

class IndexScan {
 public:
  IndexScan(const TextFile& file, std::string text_path)
      : file_(file), text_path_(std::move(text_path)) {}

  absl::Status Run(const std::string& index_path) {
    ASSIGN_OR_RETURN(stamp_, StampOf(file_.path));
    const std::string unsorted = index_path + ".unsorted";
    RETURN_IF_ERROR(ReadRecords(unsorted));
    ASSIGN_OR_RETURN(const FileStamp after, StampOf(file_.path));
    if (!(after == stamp_)) {
      return absl::FailedPreconditionError(
          StrCat(file_.path, ": changed while it was indexed; start again when it is complete"));
    }
    const absl::Status status = WriteSorted(unsorted, index_path);
    std::remove(unsorted.c_str());
    return status;
  }

 private:
  absl::Status ReadRecords(const std::string& unsorted) {
    ASSIGN_OR_RETURN(OutputFile entries, OutputFile::Create(unsorted));
    std::optional<OutputFile> copy;
    if (text_path_ != file_.path) {
      ASSIGN_OR_RETURN(OutputFile created, OutputFile::Create(text_path_));
      copy.emplace(std::move(created));
    }
    ASSIGN_OR_RETURN(std::unique_ptr<ByteSource> bytes, OpenBytes(file_.path));
    LineReader lines(
        std::make_unique<TeeSource>(std::move(bytes), content_, copy ? &*copy : nullptr));
    JsonRecordParser parser(file_);
    TextDocument document;
    std::string_view line;
    for (int64_t number = 1;; ++number) {
      ASSIGN_OR_RETURN(const bool more, lines.Next(line));
      if (!more) break;
      const absl::Status status = lines.too_long()
                                      ? parser.Malformed(number, "the line is too long")
                                      : parser.Parse(line, number, document);
      if (absl::IsInvalidArgument(status)) {
        if (malformed_.size() < kShownMalformed) malformed_.emplace_back(status.message());
        ++num_malformed_;
        continue;
      }
      RETURN_IF_ERROR(status);
      const IndexEntry entry = EntryOf(lines, number, document);
      RETURN_IF_ERROR(entries.Write(BytesOf(entry)));
    }
    if (copy) RETURN_IF_ERROR(copy->Commit());
    return entries.Commit();
  }

  IndexEntry EntryOf(const LineReader& lines, int64_t number, const TextDocument& document) {
    IndexEntry entry{};
    entry.offset = static_cast<uint64_t>(lines.offset());
    entry.line = static_cast<uint64_t>(number);
    entry.record_bytes = static_cast<uint32_t>(lines.bytes());
    entry.text_bytes = static_cast<uint32_t>(document.text.size());
    entry.source = sources_.Find(document.source);
    entry.language = languages_.Find(document.language);
    if (count_.size() <= entry.language) {
      count_.push_back(0);
      bytes_.push_back(0);
    }
    if (document.id == DefaultId(file_, number)) names_by_path_ = true;
    count_[entry.language] += 1;
    bytes_[entry.language] += entry.text_bytes;
    return entry;
  }

  std::string Header(const std::vector<int64_t>& first) const {
    nlohmann::json languages = nlohmann::json::array();
    for (const auto& [name, id] : languages_.sorted()) {
      languages.push_back({name, first[id], count_[id], bytes_[id]});
    }
    std::string text = nlohmann::json{
        {"size", stamp_.size},
        {"time", stamp_.time},
        {"text_size", text_stamp_.size},
        {"text_time", text_stamp_.time},
        {"content", ToHex(content_.Digest())},
        {"names_by_path", names_by_path_},
        {"languages", languages},
        {"sources", sources_.names()},
        {"num_malformed", num_malformed_},
        {"malformed",
         malformed_}}.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    text.resize((text.size() + 7) / 8 * 8, ' ');
    return text;
  }

  // Entries by language, in each by place. Holds 8 bytes a document of the file.
  absl::Status WriteSorted(const std::string& unsorted, const std::string& index_path) {
    ASSIGN_OR_RETURN(text_stamp_, StampOf(text_path_));
    ASSIGN_OR_RETURN(const MappedFile mapped, MappedFile::Open(unsorted));
    const auto* const entries = reinterpret_cast<const IndexEntry*>(mapped.bytes().data());
    std::vector<int64_t> first(count_.size());
    int64_t total = 0;
    for (const auto& [name, id] : languages_.sorted()) {
      first[id] = total;
      total += count_[id];
    }
    const std::string header = Header(first);
    ASSIGN_OR_RETURN(OutputFile out, OutputFile::Create(index_path));
    Hasher64 hasher;
    hasher.Update(header);
    std::vector<int64_t> order(static_cast<size_t>(total));
    for (int64_t i = 0; i < total; ++i) order[first[entries[i].language]++] = i;
    for (const int64_t i : order) hasher.Update(BytesOf(entries[i]));
    const uint64_t numbers[] = {header.size(), hasher.Digest()};
    RETURN_IF_ERROR(out.Write(std::string_view(kIndexMagic, 8)));
    RETURN_IF_ERROR(out.Write({reinterpret_cast<const char*>(numbers), sizeof(numbers)}));
    RETURN_IF_ERROR(out.Write(header));
    for (const int64_t i : order) RETURN_IF_ERROR(out.Write(BytesOf(entries[i])));
    return out.Commit();
  }

  const TextFile& file_;
  const std::string text_path_;
  FileStamp stamp_;
  FileStamp text_stamp_;
  Hasher128 content_;
  Names languages_;
  Names sources_;
  std::vector<int64_t> count_;  // by language
  std::vector<int64_t> bytes_;
  bool names_by_path_ = false;
  int64_t num_malformed_ = 0;
  std::vector<std::string> malformed_;
};

}  // namespace

absl::Status ScanFile(const TextFile& file, const std::string& index_path,
                      const std::string& text_path) {
  return IndexScan(file, text_path).Run(index_path);
}

}  // namespace choir
