// BenchPack of bench/data/sections.h.
#include <cstdio>
#include <vector>

#include "bench/data/lengths.h"
#include "bench/data/sections.h"
#include "data/data_config.h"
#include "data/order/packer.h"
#include "data/shard/token_corpus.h"

namespace choir {
namespace {

struct Result {
  double padding = 0;  // of all positions of finished rows
  double held = 0;     // positions in the windows at the end, as a share of all
  double seconds = 0;
};

// Deals the documents to lanes, one after another, as the loader does.
Result Pack(const std::vector<int64_t>& lengths, int64_t row, int64_t look_ahead, size_t lanes) {
  const Packer packer(row, look_ahead);
  std::vector<PackerState> states(lanes);
  int64_t rows = 0, used = 0, held = 0, all = 0;
  Result result;
  result.seconds = Seconds([&] {
    for (size_t d = 0; d < lengths.size(); ++d) {
      PackerState& state = states[d % lanes];
      packer.Add({0, static_cast<int64_t>(d), 0, 0, lengths[d]}, state);
      while (packer.HasChoice(state)) packer.ChooseRow(state);
      for (const PackedRow& ready : state.ready) used += ready.used;
      rows += static_cast<int64_t>(state.ready.size());
      state.ready.clear();
    }
  });
  for (const PackerState& state : states) {
    for (const Piece& piece : state.waiting) held += piece.length;
  }
  for (const int64_t length : lengths) all += length;
  result.padding = rows == 0 ? 0 : 1 - static_cast<double>(used) / static_cast<double>(rows * row);
  result.held = static_cast<double>(held) / static_cast<double>(all);
  return result;
}

void Table(const char* name, const std::vector<int64_t>& lengths) {
  double sum = 0;
  for (const int64_t length : lengths) sum += static_cast<double>(length);
  std::printf("%s: %zu documents, %.0f positions on average, look_ahead %lld\n", name,
              lengths.size(), sum / static_cast<double>(lengths.size()),
              static_cast<long long>(PackingConfig().look_ahead));
  std::printf("%8s %6s %14s %14s %10s %10s\n", "row", "lanes", "documents/s", "positions/s",
              "padding", "held back");
  for (const int64_t row : {512, 2048, 4096, 8192, 32768}) {
    for (const size_t lanes : {1, 16, 64}) {
      const Result r = Pack(lengths, row, PackingConfig().look_ahead, lanes);
      std::printf("%8lld %6zu %12.2f M %12.0f M %8.4f %% %8.2f %%\n", static_cast<long long>(row),
                  lanes, static_cast<double>(lengths.size()) / r.seconds * 1e-6,
                  sum / r.seconds * 1e-6, 100 * r.padding, 100 * r.held);
    }
  }
}

// Lengths of the training documents of a corpus, its languages mixed.
std::vector<int64_t> RealLengths(const std::string& shards) {
  const auto corpus = TokenCorpus::Open(shards).value();
  std::vector<int64_t> lengths;
  for (int32_t l = 0; l < static_cast<int32_t>(corpus->languages().size()); ++l) {
    for (int64_t d = 0; d < corpus->NumDocuments(Split::kTrain, l); ++d) {
      lengths.push_back(corpus->GetHead(Split::kTrain, l, d)->length - 1);
    }
  }
  const Permutation order(lengths.size(), 1, "mixed", 0);
  std::vector<int64_t> mixed(lengths.size());
  for (size_t i = 0; i < lengths.size(); ++i) mixed[i] = lengths[order(i)];
  return mixed;
}

}  // namespace

void BenchPack(const DataBenchOptions& options) {
  Table("lengths as in a web corpus (lognormal)", WebLengths(400'000));
  if (!options.shards.empty()) Table(options.shards.c_str(), RealLengths(options.shards));
}

}  // namespace choir
