#include "data/text/text_index.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/check.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/status.h"
#include "base/strings.h"
#include "data/text/indexed_file.h"
#include "data/text/list_files.h"
#include "data/text/threads.h"

namespace choir {

TextIndex::~TextIndex() = default;

absl::StatusOr<std::shared_ptr<const TextIndex>> TextIndex::Open(
    const CorpusConfig& config, const std::string& cache_directory) {
  ASSIGN_OR_RETURN(const std::vector<TextFile> files, ListTextFiles(config));
  for (const TextFile& file : files) {
    if (file.format == TextFormat::kJsonl) continue;
    if (file.format == TextFormat::kShards) {
      return absl::InvalidArgumentError(
          StrCat(file.path,
                 ": holds tokens already; train from its folder with data.path in place "
                 "of data.text"));
    }
    return absl::InvalidArgumentError(
        StrCat(file.path, ": training from raw text reads JSON lines only, this is ",
               EnumToString(file.format), "; make token shards of it with `choir data build`"));
  }
  RETURN_IF_ERROR(MakeDirectories(cache_directory));
  std::shared_ptr<TextIndex> index(new TextIndex());
  index->files_.resize(files.size());
  RETURN_IF_ERROR(RunJobs(static_cast<int64_t>(files.size()), NumThreads(0), [&](int64_t i) {
    absl::StatusOr<std::unique_ptr<IndexedFile>> file =
        IndexedFile::Open(files[i], cache_directory);
    if (file.ok()) index->files_[i] = *std::move(file);
    return file.status();
  }));
  for (const auto& file : index->files_) {
    index->num_malformed_ += file->num_malformed();
    index->malformed_.insert(index->malformed_.end(), file->malformed().begin(),
                             file->malformed().end());
  }
  if (config.max_malformed && index->num_malformed_ > *config.max_malformed) {
    return absl::InvalidArgumentError(
        StrCat(index->malformed_.front(), "\n(", index->num_malformed_, " malformed records; ",
               "corpus.max_malformed allows ", *config.max_malformed, ")"));
  }
  index->Assemble(std::set<std::string>(config.languages.begin(), config.languages.end()));
  if (index->languages_.empty()) {
    return absl::InvalidArgumentError(
        StrCat("no document in ", files.size(), " files, first ", files.front().path,
               index->malformed_.empty() ? "" : "\n" + index->malformed_.front()));
  }
  return index;
}

void TextIndex::Assemble(const std::set<std::string>& wanted) {
  std::stable_sort(files_.begin(), files_.end(),
                   [](const auto& a, const auto& b) { return a->content() < b->content(); });
  std::set<std::string> languages, sources;
  for (const auto& file : files_) {
    for (const IndexedLanguage& language : file->languages()) {
      if (wanted.empty() || wanted.contains(language.name)) languages.insert(language.name);
    }
    sources.insert(file->sources().begin(), file->sources().end());
  }
  languages_.assign(languages.begin(), languages.end());
  sources_.assign(sources.begin(), sources.end());
  for (auto& documents : documents_) documents.resize(languages_.size());
  Hasher128 hasher;
  for (const auto& file : files_) {
    const TextFile& f = file->file();
    hasher.Update(StrCat(SplitName(f.split), "\n", file->content(), "\n", f.language, "\n",
                         f.source, "\n", file->names_by_path() ? f.path : "", "\n"));
    for (const IndexedLanguage& language : file->languages()) {
      hasher.Update(StrCat(language.name, " ", language.count, " ", language.bytes, "\n"));
      const auto it = std::lower_bound(languages_.begin(), languages_.end(), language.name);
      if (it == languages_.end() || *it != language.name) continue;
      Documents& documents = documents_[static_cast<int>(f.split)][it - languages_.begin()];
      documents.parts.push_back({file.get(), language.first, documents.count});
      documents.count += language.count;
      documents.bytes += language.bytes;
    }
  }
  fingerprint_ = ToHex(hasher.Digest());
}

const TextIndex::Documents& TextIndex::Of(Split split, int32_t language) const {
  CHECK(language >= 0 && language < static_cast<int32_t>(languages_.size())) << language;
  return documents_[static_cast<int>(split)][language];
}

int64_t TextIndex::NumDocuments(Split split, int32_t language) const {
  return Of(split, language).count;
}

int64_t TextIndex::NumBytes(Split split, int32_t language) const {
  return Of(split, language).bytes;
}

const IndexEntry& TextIndex::Find(Split split, int32_t language, int64_t i,
                                  const IndexedFile*& file) const {
  const Documents& documents = Of(split, language);
  CHECK(i >= 0 && i < documents.count) << i << " of " << documents.count;
  const auto after = std::upper_bound(documents.parts.begin(), documents.parts.end(), i,
                                      [](int64_t i, const Part& part) { return i < part.before; });
  const Part& part = *std::prev(after);
  file = part.file;
  return part.file->entry(part.first + i - part.before);
}

int64_t TextIndex::TextBytes(Split split, int32_t language, int64_t i) const {
  const IndexedFile* file = nullptr;
  return Find(split, language, i, file).text_bytes;
}

absl::Status TextIndex::Read(Split split, int32_t language, int64_t i,
                             TextDocument& document) const {
  const IndexedFile* file = nullptr;
  const IndexEntry& entry = Find(split, language, i, file);
  RETURN_IF_ERROR(file->Read(entry, document));
  if (document.language != languages_[language]) {
    return absl::DataLossError(
        StrCat(file->file().path, ":", entry.line, ": the record changed since it was indexed"));
  }
  return absl::OkStatus();
}

}  // namespace choir
