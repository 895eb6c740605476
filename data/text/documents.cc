#include "data/text/documents.h"

#include <cerrno>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "base/file.h"
#include "base/hash.h"
#include "base/status.h"
#include "base/strings.h"
#include "data/text/utf8.h"

namespace choir {
namespace {

namespace fs = std::filesystem;

absl::Status TakeText(const nlohmann::json& record, const char* key, std::string& out) {
  const auto it = record.find(key);
  if (it == record.end()) return absl::InvalidArgumentError(StrCat("\"", key, "\" is missing"));
  if (!it->is_string()) return absl::InvalidArgumentError(StrCat("\"", key, "\" must be text"));
  out = it->get_ref<const std::string&>();
  return absl::OkStatus();
}

absl::StatusOr<std::set<std::string>> LanguagesIn(const std::string& folder) {
  std::error_code error;
  std::set<std::string> languages;
  fs::directory_iterator it(folder, error);
  for (; !error && it != fs::directory_iterator(); it.increment(error)) {
    if (it->path().extension() == ".jsonl") languages.insert(it->path().stem().string());
  }
  if (error) return FileError(folder, "list", error.value());
  return languages;
}

}  // namespace

void CorpusConfig::Check(ConfigErrors& errors) const {
  std::set<std::string> seen;
  for (size_t i = 0; i < languages.size(); ++i) {
    if (!seen.insert(languages[i]).second) {
      errors.Add(StrCat("languages[", i, "]"), StrCat("lists '", languages[i], "' twice"));
    }
  }
}

absl::StatusOr<std::vector<TextFile>> ListTextFiles(const CorpusConfig& config) {
  const std::string train = config.path + "/train";
  ASSIGN_OR_RETURN(const std::set<std::string> found, LanguagesIn(train));
  std::set<std::string> wanted(config.languages.begin(), config.languages.end());
  if (wanted.empty()) wanted = found;
  if (wanted.empty()) {
    return absl::NotFoundError(StrCat(train, ": no <language>.jsonl; `scripts/corpus` makes them"));
  }
  std::vector<TextFile> files;
  for (const std::string& language : wanted) {
    for (const Split split : kAllSplits) {
      TextFile file{StrCat(config.path, "/", SplitName(split), "/", language, ".jsonl"), split,
                    language, 0};
      std::error_code error;
      const auto bytes = fs::file_size(file.path, error);
      if (error) return FileError(file.path, "read", error.value());
      file.bytes = static_cast<int64_t>(bytes);
      files.push_back(std::move(file));
    }
  }
  return files;
}

absl::StatusOr<std::unique_ptr<DocumentReader>> DocumentReader::Open(const TextFile& file) {
  errno = 0;
  std::unique_ptr<DocumentReader> reader(new DocumentReader(file));
  if (!reader->stream_) return FileError(file.path, "open", errno);
  return reader;
}

absl::Status DocumentReader::Malformed(const std::string& why) const {
  return absl::InvalidArgumentError(StrCat(file_.path, ":", line_, ": ", why));
}

absl::StatusOr<bool> DocumentReader::Next(TextDocument& document) {
  if (!std::getline(stream_, buffer_)) {
    if (stream_.bad()) return FileError(file_.path, "read", errno);
    return false;
  }
  ++line_;
  // Invalid UTF-8 is an error of the parser too; it reports through a discarded value.
  const nlohmann::json record = nlohmann::json::parse(buffer_, nullptr, false);
  if (record.is_discarded()) return Malformed("not JSON in UTF-8");
  if (!record.is_object()) return Malformed("not a JSON object");
  const std::pair<const char*, std::string*> fields[] = {{"text", &document.text},
                                                         {"language", &document.language},
                                                         {"source", &document.source},
                                                         {"group", &document.group},
                                                         {"id", &document.id}};
  for (const auto& [key, out] : fields) {
    if (const absl::Status status = TakeText(record, key, *out); !status.ok()) {
      return Malformed(std::string(status.message()));
    }
  }
  if (document.language != file_.language) {
    return Malformed(
        StrCat("language '", document.language, "' in the file of '", file_.language, "'"));
  }
  // JSON may spell a lone surrogate, which is no text.
  if (!IsValidUtf8(document.text)) return Malformed("\"text\" is not UTF-8");
  return true;
}

DocumentSample::DocumentSample(int64_t max_bytes, int64_t total_bytes, int64_t seed)
    : seed_(static_cast<uint64_t>(seed)) {
  const double share = static_cast<double>(max_bytes) / static_cast<double>(total_bytes);
  threshold_ =
      max_bytes >= total_bytes ? ~uint64_t{0} : static_cast<uint64_t>(std::ldexp(share, 64));
}

bool DocumentSample::Contains(const TextDocument& document) const {
  return threshold_ == ~uint64_t{0} || HashOf64(StrCat(seed_, "/", document.id)) < threshold_;
}

}  // namespace choir
