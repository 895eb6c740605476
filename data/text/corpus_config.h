// Section `corpus`: where the text lies and how its records are read.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/config_load.h"
#include "data/shard/corpus_index.h"

namespace choir {

template <>
struct EnumNames<Split> {
  static constexpr EnumName<Split> kAll[] = {{Split::kTrain, "train"},
                                             {Split::kHeldout, "heldout"}};
};

enum class TextFormat { kAuto, kJsonl, kText, kShards };
template <>
struct EnumNames<TextFormat> {
  static constexpr EnumName<TextFormat> kAll[] = {{TextFormat::kAuto, "auto"},
                                                  {TextFormat::kJsonl, "jsonl"},
                                                  {TextFormat::kText, "text"},
                                                  {TextFormat::kShards, "shards"}};
};

// What one document of a plain text file is.
enum class TextUnit { kFile, kParagraph, kPage };
template <>
struct EnumNames<TextUnit> {
  static constexpr EnumName<TextUnit> kAll[] = {
      {TextUnit::kFile, "file"}, {TextUnit::kParagraph, "paragraph"}, {TextUnit::kPage, "page"}};
};

// Names of the fields of a record. All are texts; only that of the text must be there.
struct FieldNames {
  std::string text = "text";
  std::string language = "language";
  std::string source = "source";
  std::string group = "group";
  std::string id = "id";

  void Visit(auto&& v) {
    v("text", text, "field that holds the text", NonEmpty());
    v("language", language, "of the language; where it is missing: that of the input");
    v("source", source, "of the source; where it is missing: that of the input");
    v("group", group, "of what ties documents together; where it is missing: each has its own");
    v("id", id, "of what names the document; where it is missing: file and line");
  }
  bool operator==(const FieldNames&) const = default;
};

// Files that are read alike.
struct CorpusInput {
  std::vector<std::string> paths;
  TextFormat format = TextFormat::kAuto;
  std::string language;
  std::string source;
  Split split = Split::kTrain;
  TextUnit documents = TextUnit::kFile;
  FieldNames fields;
  std::string tokenizer;

  void Visit(auto&& v) {
    v("paths", paths,
      "files; * ? [ab] {a,b} stand for names, @FILE for the paths listed in a file, one a line",
      Required(), NonEmpty(), OrOneItem());
    v("format", format, "of the files, plain or compressed by gzip or zstd; auto: by their names");
    v("language", language, "of all documents; none: each record names its own");
    v("source", source, "of documents that name none; none: the file's name without extension");
    v("split", split, "what the documents are for");
    v("documents", documents,
      "of text files: the whole file, paragraphs (between blank lines) or pages (form feeds)");
    v("fields", fields, "names of the fields of a record");
    v("tokenizer", tokenizer, "that made the token shards; none: the one kept beside them",
      MustExist());
  }
};

struct CorpusConfig {
  std::string path;
  std::vector<CorpusInput> inputs;
  std::vector<std::string> languages;
  std::optional<int64_t> max_malformed;
  double follow = 0;

  void Visit(auto&& v) {
    v("path", path,
      "folder with train/<language>.jsonl and heldout/<language>.jsonl, each also .gz or .zst",
      MustExist());
    v("inputs", inputs, "files in any layout, beside or instead of path");
    v("languages", languages, "languages to read; none listed: all");
    v("max_malformed", max_malformed,
      "malformed records that are counted and dropped, one more ends the build; auto: any number",
      AtLeast(0));
    v("follow", follow,
      "seconds that the files must stay as they are before a build begins: new ones and those "
      "still "
      "written to are waited for; 0: what is there",
      AtLeast(0));
  }
  void Check(ConfigErrors& errors) const;
};

}  // namespace choir
