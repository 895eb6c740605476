// Speed of encoding: tokenizer_bench TEXT.jsonl... -- MODEL...
// bench/tokenizer_bench_peers.py runs it beside other libraries on the same texts.
//
// Texts are the `text` of each line, encoded one after the other by one thread. A line a model:
// MB/s of the best of five runs over all texts, tokens, bytes a token, and a hash of all ids.
#include <cstdio>
#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/hash.h"
#include "base/strings.h"
#include "data/tokenizer/tokenizer.h"

namespace choir {
namespace {

constexpr int kRuns = 5;

// Of this thread.
double ProcessorSeconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

int Run(const std::vector<std::string>& files, const std::vector<std::string>& models) {
  std::vector<std::string> texts;
  double bytes = 0;
  for (const std::string& path : files) {
    std::ifstream file(path);
    for (std::string line; std::getline(file, line);) {
      texts.push_back(nlohmann::json::parse(line).at("text"));
      bytes += static_cast<double>(texts.back().size());
    }
  }
  for (const std::string& model : models) {
    double start = ProcessorSeconds();
    const auto tokenizer = OpenTokenizer(model);
    if (!tokenizer.ok()) {
      std::fprintf(stderr, "%s\n", std::string(tokenizer.status().message()).c_str());
      return 1;
    }
    const double open = ProcessorSeconds() - start;
    double best = 1e30;
    size_t tokens = 0;
    std::vector<int32_t> ids;
    for (int run = 0; run < kRuns; ++run) {
      start = ProcessorSeconds();
      tokens = 0;
      for (const std::string& text : texts) {
        ids.clear();
        (*tokenizer)->Encode(text, ids);
        tokens += ids.size();
      }
      best = std::min(best, ProcessorSeconds() - start);
    }
    Hasher128 hasher;
    for (const std::string& text : texts) {
      ids.clear();
      (*tokenizer)->Encode(text, ids);
      hasher.Update(std::as_bytes(std::span<const int32_t>(ids)));
    }
    std::printf(
        "%s: %.1f MB/s, %zu texts, %.0f bytes, %zu tokens, %.3f bytes a token, opened in "
        "%.2f s, ids %s\n",
        model.c_str(), bytes / best / 1e6, texts.size(), bytes, tokens,
        bytes / static_cast<double>(tokens), open, ToHex(hasher.Digest()).c_str());
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace
}  // namespace choir

int main(int argc, char** argv) {
  std::vector<std::string> lists[2];
  int list = 0;
  for (int i = 1; i < argc; ++i) {
    if (std::string_view(argv[i]) == "--") {
      list = 1;
    } else {
      lists[list].emplace_back(argv[i]);
    }
  }
  if (lists[0].empty() || lists[1].empty()) {
    std::fprintf(stderr, "usage: tokenizer_bench TEXT.jsonl... -- MODEL...\n");
    return 2;
  }
  return choir::Run(lists[0], lists[1]);
}
