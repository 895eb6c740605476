// Shards as other programs see them: h5py, where the system's Python has it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>

#include "data/shard/token_corpus.h"
#include "tests/data/test_corpus.h"

namespace choir {
namespace {

constexpr const char* kScript = R"(
import json, sys
import h5py, numpy

out = {}
with h5py.File(sys.argv[1], 'r') as f:
    for name, dataset in f.items():
        values = dataset[:]
        out[name] = [dataset.dtype.str, len(values), int(values.astype(numpy.uint64).sum())]
        assert dataset.chunks is None and dataset.compression is None, name
    meta = json.loads(bytes(f['meta'][:]))
    offset = f['offset']
    out['third'] = [int(t) for t in f['tokens'][offset[2]:offset[3]]]
print(json.dumps({'datasets': out, 'meta': meta}))
)";

// What a command prints; `exit` is its exit status.
std::string Output(const std::string& command, int& exit) {
  std::string text;
  std::FILE* const pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return text;
  char block[4096];
  for (size_t n; (n = std::fread(block, 1, sizeof(block), pipe)) > 0;) text.append(block, n);
  exit = pclose(pipe);
  return text;
}

TEST(ShardsInH5py, HoldWhatTheCorpusHolds) {
  const char* const chosen = std::getenv("CHOIR_PYTHON");
  const std::string python = chosen == nullptr ? "/usr/bin/python3" : chosen;
  int exit = 0;
  Output(python + " -c 'import h5py' 2> /dev/null", exit);
  if (exit != 0) {
    ASSERT_EQ(chosen, nullptr) << "CHOIR_PYTHON=" << python << " has no h5py";
    GTEST_SKIP() << python << " has no h5py";
  }
  const std::string folder = testing_data::FixtureFolder() + "/shards";
  const auto corpus = TokenCorpus::Open(folder).value();
  const std::string script = testing_data::TempFolder("h5py") + "/read.py";
  testing_data::WriteText(script, kScript);
  const ShardInfo& info = corpus->index().shards.back();
  ASSERT_EQ(info.split, Split::kTrain);
  const nlohmann::json read =
      nlohmann::json::parse(Output(python + " " + script + " " + folder + "/" + info.file, exit));
  ASSERT_EQ(exit, 0);
  // The same sums from the documents of the shard: the last of each of its languages.
  uint64_t tokens = 0, ids = 0, bytes = 0, languages = 0;
  std::vector<int64_t> third;
  int64_t documents = 0;
  for (const ShardRun& run : info.runs) {
    const int64_t first = corpus->NumDocuments(info.split, run.language) - run.count;
    for (int64_t d = first; d < first + run.count; ++d) {
      const TokenDocument document = corpus->GetDocument(info.split, run.language, d).value();
      for (int64_t i = 0; i < document.length; ++i) {
        tokens += static_cast<uint64_t>(document.token(i));
        if (documents == 2) third.push_back(document.token(i));
      }
      ids += document.id;
      bytes += static_cast<uint64_t>(document.bytes);
      languages += static_cast<uint64_t>(run.language);
      ++documents;
    }
  }
  using Entry = std::tuple<std::string, int64_t, uint64_t>;
  const nlohmann::json& datasets = read.at("datasets");
  EXPECT_EQ(datasets.at("tokens").get<Entry>(), Entry("<u2", info.tokens, tokens));
  EXPECT_EQ(datasets.at("id").get<Entry>(), Entry("<u8", documents, ids));
  EXPECT_EQ(datasets.at("bytes").get<Entry>(), Entry("<u4", documents, bytes));
  EXPECT_EQ(datasets.at("language").get<Entry>(), Entry("<u2", documents, languages));
  EXPECT_EQ(datasets.at("offset").at(1), documents + 1);
  EXPECT_EQ(datasets.at("third").get<std::vector<int64_t>>(), third);
  EXPECT_EQ(read.at("meta").at("format"), kCorpusFormat);
  EXPECT_EQ(read.at("meta").at("tokenizer"), corpus->tokenizer().fingerprint);
}

}  // namespace
}  // namespace choir
