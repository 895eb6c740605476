// A corpus of token shards, its index and file edited. On request the checksums are made right
// again, so that damage reaches what lies behind them.
#include "base/file.h"
#include "data/shard/shard_reader.h"
#include "data/shard/token_corpus.h"
#include "data/shard/verify.h"
#include "tests/fuzz/fuzz_corpus.h"
#include "tests/fuzz/json_edits.h"

namespace choir {
namespace {

using Json = nlohmann::json;

struct Pristine {
  Json index;
  std::string file;
};

const Pristine& Original() {
  static const Pristine pristine = [] {
    MakeFuzzCorpus();
    return Pristine{Json::parse(ReadFile(FuzzFolder() + "/corpus.json").value()),
                    ReadFile(FuzzFolder() + "/shard.h5").value()};
  }();
  return pristine;
}

void WriteIndex(Json index) {
  index.erase("seal");
  index["seal"] = ToHex(HashOf128(index.dump()));
  WriteFuzzFile("corpus.json", index.dump());
}

// Makes checksums and seal those of the file, if the index says where they can lie.
void Repair(Json& index, std::string& file) {
  WriteIndex(index);
  const absl::StatusOr<CorpusIndex> read = ReadCorpusIndex(FuzzFolder());
  if (!read.ok() || read->shards.empty()) return;
  ShardInfo info = read->shards[0];
  info.file_bytes = static_cast<int64_t>(file.size());
  const absl::StatusOr<ShardLayout> layout = ShardLayout::Of(info);
  if (!layout.ok()) return;
  for (const ShardArray array : kAllShardArrays) {
    const ShardLayout::Place& place = layout->array(array);
    for (int64_t c = 0; c < place.NumChunks(); ++c) {
      const auto begin = static_cast<size_t>(place.ChunkBegin(c));
      const auto end = static_cast<size_t>(place.ChunkEnd(c));
      const uint64_t hash = HashOf64(std::string_view(file).substr(begin, end - begin));
      std::memcpy(
          &file[static_cast<size_t>(layout->checksums_begin() + 8 * (place.first_chunk + c))],
          &hash, 8);
    }
  }
  Hasher128 seal;
  for (const ShardLayout::Range& range : layout->outside()) {
    seal.Update(std::string_view(file).substr(static_cast<size_t>(range.begin),
                                              static_cast<size_t>(range.end - range.begin)));
  }
  index["shards"][0]["bytes"] = file.size();
  index["shards"][0]["seal"] = ToHex(seal.Digest());
}

// Reads all that a corpus has, as far as it is sound; the sum keeps the reads from being left out.
int64_t ReadAll(const TokenCorpus& corpus, bool untouched) {
  constexpr int64_t kMost = 2000;  // an index may list the same documents many times
  int64_t sum = 0;
  for (const Split split : kAllSplits) {
    for (int32_t l = 0; l < static_cast<int32_t>(corpus.languages().size()); ++l) {
      sum += corpus.NumLabels(split, l);
      const int64_t documents = std::min(kMost, corpus.NumDocuments(split, l));
      for (int64_t d = 0; d < documents; ++d) {
        const absl::StatusOr<TokenDocument> document = corpus.GetDocument(split, l, d);
        CHECK(document.ok() || !untouched) << document.status().ToString();
        if (!document.ok()) continue;
        CHECK(corpus.GetHead(split, l, d)->length == document->length);
        for (int64_t i = 0; i < document->length; ++i) sum += document->token(i);
      }
    }
  }
  return sum;
}

void Run(FuzzNumbers input) {
  Json index = Original().index;
  std::string file = Original().file;
  const bool untouched = input.empty();
  const bool repair = input.Take<uint8_t>() % 2 == 1;
  while (!input.empty()) {
    const auto kind = input.Take<uint8_t>();
    if (kind % 4 == 0) {
      EditNumber(input, index["shards"]);
    } else if (kind % 4 == 1) {
      EditNumber(input, index);
    } else if (kind % 4 == 2 && !file.empty()) {
      const auto place = input.Take<uint32_t>();
      file[place % file.size()] = static_cast<char>(input.Take<uint8_t>());
    } else if (kind % 4 == 3) {
      file.resize(input.Take<uint32_t>() % (2 * Original().file.size()));
    }
  }
  if (repair) Repair(index, file);
  WriteFuzzFile("shard.h5", file);
  WriteIndex(index);
  const absl::StatusOr<std::shared_ptr<const TokenCorpus>> corpus = TokenCorpus::Open(FuzzFolder());
  CHECK(corpus.ok() || !untouched) << corpus.status().ToString();
  if (!corpus.ok()) return;
  [[maybe_unused]] const volatile int64_t sink = ReadAll(**corpus, untouched);
}

}  // namespace
}  // namespace choir

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  choir::Run(choir::FuzzNumbers(data, size));
  return 0;
}
