// BenchLoad of bench/data/sections.h.
#include <cstdio>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "base/check.h"
#include "base/hash.h"
#include "bench/data/lengths.h"
#include "bench/data/sections.h"
#include "data/loader/row_tokens.h"
#include "data/order/packer.h"
#include "data/shard/hdf5_shard.h"
#include "data/shard/shard_reader.h"
#include "data/shard/token_corpus.h"

namespace choir {
namespace {

constexpr int64_t kDocuments = 100'000;  // about 200 MB of u16: far beyond any cache
constexpr int64_t kRow = 2048;
constexpr size_t kWindow = size_t{8} << 20;  // bytes that copies go to, over and over

std::string MakeCorpus(const std::string& folder) {
  CorpusIndex index;
  index.tokenizer = {"tokenizer.model", "none", 32'000, 1, 2, 3};
  index.languages = {"xx"};
  index.sources = {"bench"};
  for (auto& report : index.report) report.resize(1);
  ShardWriter writer(Split::kTrain, index.tokenizer);
  std::vector<int32_t> tokens;
  uint64_t id = 0;
  for (const int64_t length : WebLengths(kDocuments)) {
    tokens.assign(static_cast<size_t>(length), 0);
    for (size_t i = 0; i < tokens.size(); ++i) {
      tokens[i] = static_cast<int32_t>((id * 7919 + i * 104'729) % 32'000);
    }
    writer.Add({0, 0, 4 * length, id, id}, tokens);
    ++id;
  }
  index.shards.push_back(writer.Finish(folder, "train-00000.h5", index).value());
  CHECK(WriteCorpusIndex(folder, index).ok());
  return folder;
}

std::shared_ptr<const TokenCorpus> Open(const std::string& folder) {
  return TokenCorpus::Open(folder).value();
}

double Best(int64_t repeats, const auto& once) {
  double best = std::numeric_limits<double>::infinity();
  for (int64_t r = 0; r < repeats; ++r) best = std::min(best, once());
  return best;
}

std::vector<TokenDocument> AllDocuments(const TokenCorpus& corpus) {
  std::vector<TokenDocument> documents;
  for (int64_t d = 0; d < kDocuments; ++d) {
    documents.push_back(corpus.GetDocument(Split::kTrain, 0, d).value());
  }
  return documents;
}

// The copies of CopyDocuments without looking anything up.
void CopyKnown(const std::vector<TokenDocument>& documents, std::vector<char>& window) {
  size_t at = 0;
  for (const TokenDocument& document : documents) {
    const auto bytes = static_cast<size_t>(2 * document.length);
    if (at + bytes > window.size()) at = 0;
    std::memcpy(window.data() + at, document.tokens, bytes);
    at += bytes;
  }
}

// Every token, document by document, into a window of memory.
void CopyDocuments(const TokenCorpus& corpus, std::vector<char>& window) {
  size_t at = 0;
  for (int64_t d = 0; d < kDocuments; ++d) {
    const TokenDocument document = corpus.GetDocument(Split::kTrain, 0, d).value();
    const auto bytes = static_cast<size_t>(2 * document.length);
    if (at + bytes > window.size()) at = 0;
    std::memcpy(window.data() + at, document.tokens, bytes);
    at += bytes;
  }
}

// The whole array into the window, a row's tokens at a time: what reading cannot be faster than.
void CopyMap(const ShardReader& shard, std::vector<char>& window) {
  const auto* from = static_cast<const char*>(shard.Address(ShardArray::kTokens, 0));
  constexpr size_t kPiece = 2 * kRow;
  size_t at = 0;
  for (int64_t left = shard.tokens() / kRow; left > 0; --left) {
    std::memcpy(window.data() + at, from, kPiece);
    from += kPiece;
    at = (at + kPiece) % kWindow;
  }
}

std::vector<PackedRow> PackAll(const TokenCorpus& corpus) {
  const Packer packer(kRow, 64);
  PackerState state;
  for (int64_t d = 0; d < kDocuments; ++d) {
    packer.Add({0, d, 0, 0, corpus.GetHead(Split::kTrain, 0, d)->length - 1}, state);
    while (packer.HasChoice(state)) packer.ChooseRow(state);
  }
  packer.Flush(state);
  return {state.ready.begin(), state.ready.end()};
}

// Rows as the loader makes them.
void MakeRows(const TokenCorpus& corpus, const std::vector<PackedRow>& rows) {
  RowOptions options;
  options.length = kRow;
  const std::vector<DocumentStream> streams = {{0, kAllSources, "xx", kDocuments, 0}};
  std::vector<TokenDocument> documents;
  for (const PackedRow& row : rows) {
    documents.clear();
    for (const Piece& piece : row.pieces) {
      documents.push_back(corpus.GetDocument(Split::kTrain, 0, piece.document).value());
    }
    MakeRowTokens(streams, row, documents, options);
  }
}

void Print(const char* what, double bytes, double seconds, double copy_seconds) {
  std::printf("%-58s %8.2f GB/s %6.0f %% of the copy\n", what, bytes / seconds * 1e-9,
              100 * copy_seconds / seconds);
}

}  // namespace

void BenchLoad(const DataBenchOptions& options) {
  const std::string folder = MakeCorpus(options.scratch);
  const CorpusIndex index = ReadCorpusIndex(folder).value();
  const ShardInfo& info = index.shards[0];
  std::vector<char> window(kWindow, 1);
  const double bytes = 2.0 * static_cast<double>(info.tokens);
  std::printf("%lld documents, %.0f MB of tokens in one shard, in the page cache; best of %lld\n",
              static_cast<long long>(kDocuments), bytes * 1e-6,
              static_cast<long long>(options.repeats));
  const double copy = Best(options.repeats, [&] {
    const auto shard = ShardReader::Open(folder, info).value();
    return Seconds([&] { CopyMap(*shard, window); });
  });
  const double fresh = Best(options.repeats, [&] {
    const auto corpus = Open(folder);
    return Seconds([&] { CopyDocuments(*corpus, window); });
  });
  const auto corpus = Open(folder);
  CopyDocuments(*corpus, window);
  const double again =
      Best(options.repeats, [&] { return Seconds([&] { CopyDocuments(*corpus, window); }); });
  const std::vector<TokenDocument> known = AllDocuments(*corpus);
  const double copy_known =
      Best(options.repeats, [&] { return Seconds([&] { CopyKnown(known, window); }); });
  const double opening = Best(options.repeats, [&] { return Seconds([&] { Open(folder); }); });
  const double copy_again = Best(options.repeats, [&] {
    static const auto shard = ShardReader::Open(folder, info).value();
    return Seconds([&] { CopyMap(*shard, window); });
  });
  Print("copy from a fresh memory map", bytes, copy, copy);
  Print("documents, each chunk verified on first touch", bytes, fresh, copy);
  Print("copy from a map whose pages are there", bytes, copy_again, copy_again);
  Print("copy of the documents, their places known", bytes, copy_known, copy_again);
  Print("documents, verified before", bytes, again, copy_again);
  const std::vector<PackedRow> rows = PackAll(*corpus);
  const double made =
      Best(options.repeats, [&] { return Seconds([&] { MakeRows(*corpus, rows); }); });
  // Tokens, labels, positions and languages, four bytes each.
  const double row_bytes = 16.0 * static_cast<double>(rows.size()) * kRow;
  const std::vector<char> source(kWindow, 2);
  const double row_copy = Best(options.repeats, [&] {
    return Seconds([&] {
      constexpr size_t kPiece = 16 * kRow;
      size_t at = 0;
      for (size_t r = 0; r < rows.size(); ++r) {
        std::memcpy(window.data() + at, source.data() + at, kPiece);
        at = (at + kPiece) % kWindow;
      }
    });
  });
  Print("rows of batches, bytes written", row_bytes, made, row_copy);
  std::printf("%-58s %8.1f million positions/s\n", "rows of batches, one thread",
              static_cast<double>(rows.size() * kRow) / made * 1e-6);
  std::printf("%-58s %8.2f ms\n", "opening the corpus", 1e3 * opening);
}

}  // namespace choir
