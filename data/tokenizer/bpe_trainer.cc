#include "data/tokenizer/bpe_trainer.h"

#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>
#include <queue>
#include <thread>
#include <unordered_map>

#include "base/check.h"
#include "base/status.h"
#include "base/strings.h"
#include "data/tokenizer/hugging_face.h"
#include "data/tokenizer/splitter.h"

namespace choir {
namespace {

using Counts = std::unordered_map<std::string, int64_t>;
constexpr int32_t kFirstByte = 3;

Counts CountPieces(const std::vector<std::string>& texts, const Splitter& splitter, int threads) {
  std::vector<Counts> counts(static_cast<size_t>(std::max(threads, 1)));
  const auto work = [&](size_t first) {
    std::vector<uint32_t> ends;
    for (size_t i = first; i < texts.size(); i += counts.size()) {
      ends.clear();
      splitter.Split(texts[i], ends);
      size_t begin = 0;
      for (const uint32_t end : ends) {
        ++counts[first][texts[i].substr(begin, end - begin)];
        begin = end;
      }
    }
  };
  std::vector<std::thread> workers;
  for (size_t t = 1; t < counts.size(); ++t) workers.emplace_back(work, t);
  work(0);
  for (std::thread& worker : workers) worker.join();
  for (size_t t = 1; t < counts.size(); ++t) {
    for (const auto& [piece, count] : counts[t]) counts[0][piece] += count;
  }
  return std::move(counts[0]);
}

struct Word {
  std::vector<int32_t> symbols;
  int64_t count;
};

struct PairState {
  int64_t count = 0;
  std::vector<size_t> words;  // that have, or had, the pair
};

struct Candidate {
  int64_t count;
  int32_t left, right;
  bool operator<(const Candidate& other) const {
    if (count != other.count) return count < other.count;
    return std::pair(left, right) > std::pair(other.left, other.right);
  }
};

class Trainer {
 public:
  explicit Trainer(const Counts& pieces) {
    // Bytes in the order of the characters that stand for them in the file.
    std::vector<std::pair<std::string, int>> order;
    for (int byte = 0; byte < 256; ++byte) {
      order.emplace_back(ByteLevelCharacter(static_cast<unsigned char>(byte)), byte);
    }
    std::sort(order.begin(), order.end());
    tokens_.resize(kFirstByte);
    std::array<int32_t, 256> id_of{};
    for (const auto& [character, byte] : order) {
      id_of[byte] = static_cast<int32_t>(tokens_.size());
      tokens_.push_back(character);
      ids_.emplace(character, id_of[byte]);
    }
    const std::map<std::string, int64_t> sorted(pieces.begin(), pieces.end());
    for (const auto& [piece, count] : sorted) {
      Word word{{}, count};
      for (const char c : piece) word.symbols.push_back(id_of[static_cast<unsigned char>(c)]);
      words_.push_back(std::move(word));
    }
    for (size_t w = 0; w < words_.size(); ++w) AddPairs(w, 1);
    for (const auto& [key, pair] : pairs_) Push(key);
    changed_.clear();
  }

  // Until there are `vocab_size` tokens, or no pair is frequent enough.
  void Run(int64_t vocab_size, int64_t min_frequency) {
    while (static_cast<int64_t>(tokens_.size()) < vocab_size && !heap_.empty()) {
      const Candidate best = heap_.top();
      heap_.pop();
      const int64_t count = pairs_[KeyOf(best.left, best.right)].count;
      if (count != best.count) {
        if (count > 0) heap_.push({count, best.left, best.right});
        continue;
      }
      if (count < min_frequency) return;
      MergePair(best.left, best.right);
    }
  }

  const std::vector<std::string>& tokens() const { return tokens_; }
  const std::vector<std::pair<int32_t, int32_t>>& merges() const { return merges_; }

 private:
  static uint64_t KeyOf(int32_t left, int32_t right) {
    return static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right);
  }

  void Push(uint64_t key) {
    const int64_t count = pairs_[key].count;
    if (count > 0) {
      heap_.push({count, static_cast<int32_t>(key >> 32), static_cast<int32_t>(key)});
    }
  }

  void AddPairs(size_t w, int sign) {
    const Word& word = words_[w];
    for (size_t i = 0; i + 1 < word.symbols.size(); ++i) {
      const uint64_t key = KeyOf(word.symbols[i], word.symbols[i + 1]);
      PairState& pair = pairs_[key];
      pair.count += sign * word.count;
      if (sign < 0) continue;
      if (pair.words.empty() || pair.words.back() != w) pair.words.push_back(w);
      changed_.push_back(key);
    }
  }

  void MergePair(int32_t left, int32_t right) {
    const std::string token = tokens_[left] + tokens_[right];
    const auto [known, is_new] = ids_.emplace(token, static_cast<int32_t>(tokens_.size()));
    if (is_new) tokens_.push_back(token);
    const int32_t id = known->second;
    merges_.emplace_back(left, right);
    std::vector<size_t> words = std::move(pairs_[KeyOf(left, right)].words);
    std::sort(words.begin(), words.end());
    words.erase(std::unique(words.begin(), words.end()), words.end());
    changed_.clear();
    for (const size_t w : words) {
      std::vector<int32_t> merged;
      const std::vector<int32_t>& symbols = words_[w].symbols;
      for (size_t i = 0; i < symbols.size(); ++i) {
        const bool here = i + 1 < symbols.size() && symbols[i] == left && symbols[i + 1] == right;
        merged.push_back(here ? id : symbols[i]);
        if (here) ++i;
      }
      if (merged.size() == symbols.size()) continue;
      AddPairs(w, -1);
      words_[w].symbols = std::move(merged);
      AddPairs(w, 1);
    }
    pairs_.erase(KeyOf(left, right));
    std::sort(changed_.begin(), changed_.end());
    changed_.erase(std::unique(changed_.begin(), changed_.end()), changed_.end());
    for (const uint64_t key : changed_) {
      // Pairs that were there before are in the heap with a count that was never too low.
      const auto l = static_cast<int32_t>(key >> 32), r = static_cast<int32_t>(key);
      if (l == id || r == id) Push(key);
    }
  }

  std::vector<std::string> tokens_;  // by id, in the characters of the file
  std::unordered_map<std::string, int32_t> ids_;
  std::vector<std::pair<int32_t, int32_t>> merges_;
  std::vector<Word> words_;
  std::unordered_map<uint64_t, PairState> pairs_;
  std::priority_queue<Candidate> heap_;
  std::vector<uint64_t> changed_;
};

using Json = nlohmann::ordered_json;

Json PreTokenizer(const PatternFamily& family) {
  const bool gpt2 = family.name == std::string_view("gpt2");
  const Json bytes = {{"type", "ByteLevel"},
                      {"add_prefix_space", false},
                      {"trim_offsets", true},
                      {"use_regex", gpt2}};
  if (gpt2) return bytes;
  Json steps = Json::array();
  for (const std::string_view regex : family.regexes) {
    steps.push_back({{"type", "Split"},
                     {"pattern", {{"Regex", std::string(regex)}}},
                     {"behavior", "Isolated"},
                     {"invert", false}});
  }
  steps.push_back(bytes);
  return {{"type", "Sequence"}, {"pretokenizers", steps}};
}

std::string ToJson(const Trainer& trainer, const PatternFamily& family) {
  Json added = Json::array(), vocab = Json::object(), merges = Json::array();
  for (const char* const name : {kTrainedBos, kTrainedEos, kTrainedPad}) {
    vocab[name] = added.size();
    added.push_back({{"id", added.size()},
                     {"content", name},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", true}});
  }
  const std::vector<std::string>& tokens = trainer.tokens();
  for (size_t id = kFirstByte; id < tokens.size(); ++id) vocab.push_back({tokens[id], id});
  for (const auto& [left, right] : trainer.merges()) {
    merges.push_back(StrCat(tokens[left], " ", tokens[right]));
  }
  const Json json = {{"version", "1.0"},
                     {"truncation", nullptr},
                     {"padding", nullptr},
                     {"added_tokens", added},
                     {"normalizer", nullptr},
                     {"pre_tokenizer", PreTokenizer(family)},
                     {"post_processor", nullptr},
                     {"decoder",
                      {{"type", "ByteLevel"},
                       {"add_prefix_space", true},
                       {"trim_offsets", true},
                       {"use_regex", true}}},
                     {"model",
                      {{"type", "BPE"},
                       {"dropout", nullptr},
                       {"unk_token", nullptr},
                       {"continuing_subword_prefix", nullptr},
                       {"end_of_word_suffix", nullptr},
                       {"fuse_unk", false},
                       {"byte_fallback", false},
                       {"ignore_merges", false},
                       {"vocab", vocab},
                       {"merges", merges}}}};
  return json.dump(1) + "\n";
}

}  // namespace

absl::StatusOr<std::string> TrainBpe(const std::vector<std::string>& texts,
                                     const TokenizerConfig& config, int threads) {
  const PatternFamily* const family = FindFamilyByName(config.pattern);
  CHECK(family != nullptr) << "the config was checked";
  ASSIGN_OR_RETURN(const std::unique_ptr<Splitter> splitter, MakeFamilySplitter(family->name));
  Trainer trainer(CountPieces(texts, *splitter, threads));
  trainer.Run(config.vocab_size, config.min_frequency);
  const auto size = static_cast<int64_t>(trainer.tokens().size());
  if (size < config.vocab_size) {
    return absl::InvalidArgumentError(StrCat(
        "the sample has pairs for only ", size, " tokens of tokenizer.vocab_size ",
        config.vocab_size, "; ask for fewer, sample more, or lower tokenizer.min_frequency (",
        config.min_frequency, ")"));
  }
  return ToJson(trainer, *family);
}

std::string TrainedBpeConfig() {
  const Json json = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                     {"bos_token", kTrainedBos},
                     {"eos_token", kTrainedEos},
                     {"pad_token", kTrainedPad},
                     {"clean_up_tokenization_spaces", false}};
  return json.dump(1) + "\n";
}

}  // namespace choir
