#include "data/text/list_files.h"

#include <glob.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>

#include "absl/strings/str_split.h"
#include "base/file.h"
#include "base/status.h"
#include "base/strings.h"

namespace choir {
namespace {

namespace fs = std::filesystem;

constexpr const char* kPackings[] = {"", ".gz", ".zst"};

// Without the extension of its packing.
std::string UnpackedName(const std::string& path) {
  const fs::path whole(path);
  const std::string extension = whole.extension().string();
  if (extension == ".gz" || extension == ".zst") return whole.parent_path() / whole.stem();
  return path;
}

absl::StatusOr<int64_t> SizeOf(const std::string& path) {
  std::error_code error;
  const auto bytes = fs::file_size(path, error);
  if (error) return FileError(path, "read", error.value());
  return static_cast<int64_t>(bytes);
}

absl::StatusOr<std::set<std::string>> LanguagesIn(const std::string& folder) {
  std::error_code error;
  std::set<std::string> languages;
  fs::directory_iterator it(folder, error);
  for (; !error && it != fs::directory_iterator(); it.increment(error)) {
    const fs::path name(UnpackedName(it->path().filename().string()));
    if (name.extension() == ".jsonl") languages.insert(name.stem().string());
  }
  if (error) return FileError(folder, "list", error.value());
  return languages;
}

// <folder>/<split>/<language>.jsonl, plain or packed.
absl::StatusOr<TextFile> FolderFile(const std::string& folder, Split split,
                                    const std::string& language) {
  const std::string plain = StrCat(folder, "/", SplitName(split), "/", language, ".jsonl");
  TextFile file{plain, split, language, 0};
  std::string found;
  for (const char* packing : kPackings) {
    std::error_code ignored;
    if (!fs::exists(plain + packing, ignored)) continue;
    if (!found.empty()) {
      return absl::InvalidArgumentError(
          StrCat(found, ": is also there as ", plain + packing, "; keep one of them"));
    }
    found = plain + packing;
  }
  if (!found.empty()) file.path = found;
  ASSIGN_OR_RETURN(file.bytes, SizeOf(file.path));
  return file;
}

absl::Status ListFolder(const CorpusConfig& config, std::vector<TextFile>& files) {
  const std::string train = config.path + "/train";
  ASSIGN_OR_RETURN(const std::set<std::string> found, LanguagesIn(train));
  std::set<std::string> wanted(config.languages.begin(), config.languages.end());
  if (wanted.empty()) wanted = found;
  if (wanted.empty()) {
    return absl::NotFoundError(StrCat(train, ": no <language>.jsonl; `scripts/corpus` makes them"));
  }
  for (const std::string& language : wanted) {
    for (const Split split : kAllSplits) {
      ASSIGN_OR_RETURN(TextFile file, FolderFile(config.path, split, language));
      files.push_back(std::move(file));
    }
  }
  return absl::OkStatus();
}

absl::Status ExpandPattern(const std::string& key, const std::string& pattern,
                           std::vector<std::string>& paths) {
  glob_t found{};
  const int result = glob(pattern.c_str(), GLOB_BRACE | GLOB_ERR, nullptr, &found);
  const size_t before = paths.size();
  for (size_t i = 0; i < found.gl_pathc; ++i) {
    if (!IsUnfinished(found.gl_pathv[i])) paths.emplace_back(found.gl_pathv[i]);
  }
  globfree(&found);
  if (paths.size() > before) return absl::OkStatus();
  return absl::NotFoundError(StrCat(pattern, ": ",
                                    result == 0              ? "only unfinished files"
                                    : result == GLOB_NOMATCH ? "no such file"
                                                             : "cannot list its folder",
                                    " (", key, ")"));
}

// Paths, patterns and @lists, in any order.
absl::StatusOr<std::vector<std::string>> ExpandPaths(const std::string& key,
                                                     const std::vector<std::string>& entries) {
  std::vector<std::string> paths;
  for (const std::string& entry : entries) {
    if (!entry.starts_with("@")) {
      RETURN_IF_ERROR(ExpandPattern(key, entry, paths));
      continue;
    }
    ASSIGN_OR_RETURN(const std::string list, ReadFile(entry.substr(1)));
    int64_t line = 0;
    for (const absl::string_view row : absl::StrSplit(list, '\n')) {
      ++line;
      const std::string name(absl::StripAsciiWhitespace(row));
      if (name.empty() || name.starts_with("#")) continue;
      RETURN_IF_ERROR(ExpandPattern(StrCat(entry.substr(1), ":", line), name, paths));
    }
  }
  return paths;
}

absl::StatusOr<TextFormat> FormatOf(const std::string& key, const std::string& path) {
  const std::string extension = fs::path(UnpackedName(path)).extension().string();
  if (extension == ".jsonl" || extension == ".ndjson" || extension == ".json") {
    return TextFormat::kJsonl;
  }
  if (extension == ".txt" || extension == ".text" || extension == ".md") return TextFormat::kText;
  if (extension == ".h5") return TextFormat::kShards;
  if (extension == ".parquet") {
    return absl::InvalidArgumentError(
        StrCat(path, ": Parquet is not read; write its texts as JSON lines (", key, ".paths)"));
  }
  return absl::InvalidArgumentError(StrCat(path, ": its name does not tell its format; set ", key,
                                           ".format (", ConfigTypeName<TextFormat>(), ")"));
}

absl::Status ListInput(const std::string& key, const CorpusInput& input, bool needs_language,
                       std::vector<TextFile>& files) {
  ASSIGN_OR_RETURN(const std::vector<std::string> paths, ExpandPaths(key + ".paths", input.paths));
  bool any_shards = false;
  for (const std::string& path : paths) {
    std::error_code ignored;
    if (fs::is_directory(path, ignored)) {
      return absl::InvalidArgumentError(
          StrCat(path, ": is a folder; write ", path, "/*.jsonl, say (", key, ".paths)"));
    }
    TextFile file{path, input.split, input.language, 0, input.format, input.source};
    file.unit = input.documents;
    file.fields = input.fields;
    if (file.format == TextFormat::kAuto) {
      ASSIGN_OR_RETURN(file.format, FormatOf(key, path));
    }
    if (file.format == TextFormat::kShards) file.tokenizer = input.tokenizer;
    any_shards |= file.format == TextFormat::kShards;
    file.needs_language = needs_language;
    if (file.format == TextFormat::kText && file.language.empty() && needs_language) {
      return absl::InvalidArgumentError(
          StrCat(path, ": plain text does not name its language; set ", key, ".language"));
    }
    ASSIGN_OR_RETURN(file.bytes, SizeOf(path));
    files.push_back(std::move(file));
  }
  if (input.tokenizer.empty() || any_shards) return absl::OkStatus();
  return absl::InvalidArgumentError(StrCat(key, ".tokenizer: decodes token shards, and none of ",
                                           key, ".paths is one; leave it out"));
}

}  // namespace

void CorpusConfig::Check(ConfigErrors& errors) const {
  std::set<std::string> seen;
  for (size_t i = 0; i < languages.size(); ++i) {
    if (!seen.insert(languages[i]).second) {
      errors.Add(StrCat("languages[", i, "]"), StrCat("lists '", languages[i], "' twice"));
    }
  }
  if (path.empty() && inputs.empty()) errors.Add("path", "or inputs must say where the text is");
}

absl::StatusOr<std::vector<TextFile>> ListTextFiles(const CorpusConfig& config,
                                                    bool needs_language) {
  std::vector<TextFile> files;
  if (!config.path.empty()) RETURN_IF_ERROR(ListFolder(config, files));
  const auto first = static_cast<int64_t>(files.size());
  for (size_t i = 0; i < config.inputs.size(); ++i) {
    RETURN_IF_ERROR(
        ListInput(StrCat("corpus.inputs[", i, "]"), config.inputs[i], needs_language, files));
  }
  std::sort(files.begin() + first, files.end(),
            [](const TextFile& a, const TextFile& b) { return a.path < b.path; });
  std::set<std::string> seen;
  for (const TextFile& file : files) {
    if (!seen.insert(fs::path(file.path).lexically_normal()).second) {
      return absl::InvalidArgumentError(
          StrCat(file.path, ": is named twice by the paths of section corpus"));
    }
  }
  return files;
}

}  // namespace choir
