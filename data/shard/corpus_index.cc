#include "data/shard/corpus_index.h"

#include <initializer_list>
#include <nlohmann/json.hpp>

#include "base/check.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/status.h"
#include "base/strings.h"

namespace choir {
namespace {

using Json = nlohmann::json;

Json ToJson(const TokenizerInfo& info) {
  return {
      {"file", info.file},     {"fingerprint", info.fingerprint}, {"vocab_size", info.vocab_size},
      {"bos_id", info.bos_id}, {"eos_id", info.eos_id},           {"pad_id", info.pad_id}};
}

TokenizerInfo TokenizerFrom(const Json& json) {
  return {json.at("file"),   json.at("fingerprint"), json.at("vocab_size"),
          json.at("bos_id"), json.at("eos_id"),      json.at("pad_id")};
}

Json ToJson(const ShardInfo& shard) {
  Json runs = Json::array(), addresses;
  for (const ShardRun& run : shard.runs) {
    runs.push_back({run.language, run.first, run.count, run.tokens});
  }
  for (const ShardArray array : kAllShardArrays) {
    addresses[ShardArrayName(array)] = shard.addresses.arrays[static_cast<size_t>(array)];
  }
  addresses["checksums"] = shard.addresses.checksums;
  return {{"file", shard.file},
          {"split", SplitName(shard.split)},
          {"bytes", shard.file_bytes},
          {"seal", shard.seal},
          {"documents", shard.documents},
          {"tokens", shard.tokens},
          {"token_bytes", shard.token_bytes},
          {"runs", runs},
          {"addresses", addresses}};
}

ShardInfo ShardFrom(const Json& json) {
  ShardInfo shard;
  shard.file = json.at("file");
  shard.split = json.at("split") == SplitName(Split::kTrain) ? Split::kTrain : Split::kHeldout;
  shard.file_bytes = json.at("bytes");
  shard.seal = json.at("seal");
  shard.documents = json.at("documents");
  shard.tokens = json.at("tokens");
  shard.token_bytes = json.at("token_bytes");
  for (const Json& run : json.at("runs")) {
    shard.runs.push_back({run.at(0), run.at(1), run.at(2), run.at(3)});
  }
  const Json& addresses = json.at("addresses");
  for (const ShardArray array : kAllShardArrays) {
    shard.addresses.arrays[static_cast<size_t>(array)] = addresses.at(ShardArrayName(array));
  }
  shard.addresses.checksums = addresses.at("checksums");
  return shard;
}

Json ToJson(const LanguageReport& report) {
  return {{"documents_in", report.documents_in},
          {"bytes_in", report.bytes_in},
          {"documents", report.documents},
          {"bytes", report.bytes},
          {"tokens", report.tokens},
          {"dropped_documents", report.dropped_documents},
          {"dropped_bytes", report.dropped_bytes}};
}

LanguageReport ReportFrom(const Json& json) {
  LanguageReport report;
  report.documents_in = json.at("documents_in");
  report.bytes_in = json.at("bytes_in");
  report.documents = json.at("documents");
  report.bytes = json.at("bytes");
  report.tokens = json.at("tokens");
  report.dropped_documents = json.at("dropped_documents").get<std::map<std::string, int64_t>>();
  report.dropped_bytes = json.at("dropped_bytes").get<std::map<std::string, int64_t>>();
  return report;
}

// What the tokens and their order are made of: not the file names, not the report.
std::string FingerprintOf(const CorpusIndex& index) {
  Hasher128 hasher;
  hasher.Update(StrCat(kCorpusFormat, "\n", index.tokenizer.fingerprint, "\n"));
  for (const std::string& language : index.languages) hasher.Update(StrCat(language, "\n"));
  for (const ShardInfo& shard : index.shards) {
    hasher.Update(StrCat(SplitName(shard.split), " ", shard.seal, "\n"));
  }
  return ToHex(hasher.Digest());
}

CorpusIndex IndexFrom(const Json& json) {
  CorpusIndex index;
  index.inputs = json.at("inputs");
  index.fingerprint = json.at("fingerprint");
  index.tokenizer = TokenizerFrom(json.at("tokenizer"));
  index.languages = json.at("languages").get<std::vector<std::string>>();
  index.sources = json.at("sources").get<std::vector<std::string>>();
  for (const Json& shard : json.at("shards")) index.shards.push_back(ShardFrom(shard));
  for (const Split split : kAllSplits) {
    for (const Json& report : json.at("report").at(SplitName(split))) {
      index.report[static_cast<int>(split)].push_back(ReportFrom(report));
    }
  }
  return index;
}

}  // namespace

const char* SplitName(Split split) { return split == Split::kTrain ? "train" : "heldout"; }

absl::StatusOr<CorpusIndex> ReadCorpusIndex(const std::string& directory) {
  const std::string path = StrCat(directory, "/", kCorpusIndexFile);
  absl::StatusOr<std::string> text = ReadFile(path);
  if (absl::IsNotFound(text.status())) {
    return absl::NotFoundError(StrCat(
        path, ": not there, so this is no folder of token shards; `choir data build` makes one"));
  }
  RETURN_IF_ERROR(text.status());
  const absl::Status damaged = absl::DataLossError(
      StrCat(path, ": damaged (its seal is broken); remove it and run `choir data build` again"));
  Json json = Json::parse(*text, nullptr, false);
  if (!json.is_object() || !json.contains("seal") || !json.contains("format")) return damaged;
  const Json seal = json["seal"];
  json.erase("seal");
  if (seal != ToHex(HashOf128(json.dump()))) return damaged;
  if (json["format"] != kCorpusFormat) {
    return absl::FailedPreconditionError(StrCat(path, ": format ", json["format"].dump(),
                                                ", this program reads format ", kCorpusFormat,
                                                "; run `choir data build` again"));
  }
  // A sealed index was written by WriteCorpusIndex, so that only a fault of ours can throw here;
  // no exception may leave the module all the same.
  try {
    return IndexFrom(json);
  } catch (const Json::exception& error) {
    return absl::DataLossError(StrCat(path, ": ", error.what()));
  }
}

absl::Status WriteCorpusIndex(const std::string& directory, CorpusIndex& index) {
  index.fingerprint = FingerprintOf(index);
  Json json = {{"format", kCorpusFormat},          {"inputs", index.inputs},
               {"fingerprint", index.fingerprint}, {"tokenizer", ToJson(index.tokenizer)},
               {"languages", index.languages},     {"sources", index.sources}};
  json["shards"] = Json::array();
  for (const ShardInfo& shard : index.shards) json["shards"].push_back(ToJson(shard));
  for (const Split split : kAllSplits) {
    Json& reports = json["report"][SplitName(split)] = Json::array();
    for (const LanguageReport& report : index.report[static_cast<int>(split)]) {
      reports.push_back(ToJson(report));
    }
  }
  json["seal"] = ToHex(HashOf128(json.dump()));
  return WriteFileAtomic(StrCat(directory, "/", kCorpusIndexFile), json.dump(1) + "\n");
}

}  // namespace choir
