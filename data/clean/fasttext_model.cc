#include "data/clean/fasttext_model.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/hash.h"
#include "data/clean/code_points.h"

namespace choir {
namespace {

constexpr std::string_view kEndOfLine = "</s>";

bool IsBlank(char c) {
  return c == ' ' || c == '\t' || c == '\v' || c == '\f' || c == '\r' || c == '\0';
}

// FNV-1a as fastText has it: bytes from 128 on are sign-extended.
uint32_t Step(uint32_t hash, char c) {
  return (hash ^ static_cast<uint32_t>(static_cast<int8_t>(c))) * 16777619u;
}
constexpr uint32_t kHashStart = 2166136261u;

uint32_t HashOfWord(std::string_view word) {
  uint32_t hash = kHashStart;
  for (const char c : word) hash = Step(hash, c);
  return hash;
}

// Adds the rows up. A dimension that the compiler knows stays in registers.
template <size_t kDim>
void SumRows(const std::vector<int32_t>& rows, const float* input, float* sum) {
  std::array<float, kDim> total{};
  for (const int32_t row : rows) {
    const float* const values = input + static_cast<size_t>(row) * kDim;
    for (size_t k = 0; k < kDim; ++k) total[k] += values[k];
  }
  std::copy(total.begin(), total.end(), sum);
}

double LogOf(double x) { return std::log(x + 1e-5); }  // as fastText's std_log

}  // namespace

void FastTextModel::AddHash(uint64_t hash, std::vector<int32_t>& rows) const {
  const auto bucket = static_cast<size_t>(hash % static_cast<uint64_t>(buckets_));
  const int32_t row = bucket_rows_[bucket];
  if (row >= 0) rows.push_back(row);
}

// Character n-grams of <word>.
void FastTextModel::AddSubwords(std::string_view word, std::vector<int32_t>& rows) const {
  if (max_subword_ <= 0 || buckets_ == 0) return;
  static thread_local std::string marked;
  marked = '<';
  marked += word;
  marked += '>';
  const char* const text = marked.data();
  const size_t size = marked.size();
  const auto buckets = static_cast<uint32_t>(buckets_);
  // h mod buckets by two multiplications (Lemire, Kaser, Kurz 2019, "Faster remainder by direct
  // computation"): the division would take most of the time.
  const uint64_t inverse = ~uint64_t{0} / buckets + 1;
  for (size_t i = 0; i < size; ++i) {
    if (IsContinuation(text[i])) continue;
    uint32_t hash = kHashStart;
    size_t j = i;
    for (int n = 1; j < size && n <= max_subword_; ++n) {
      hash = Step(hash, text[j++]);
      while (j < size && IsContinuation(text[j])) hash = Step(hash, text[j++]);
      if (n < min_subword_ || (n == 1 && (i == 0 || j == size))) continue;
      const uint64_t fraction = inverse * hash;
      const auto bucket =
          static_cast<uint64_t>(static_cast<unsigned __int128>(fraction) * buckets >> 64);
      const int32_t row = bucket_rows_[bucket];
      if (row >= 0) rows.push_back(row);
    }
  }
}

void FastTextModel::AddWord(std::string_view word, std::vector<int32_t>& rows) const {
  const auto it = word_ids_.find(HashOf64(word));
  if (it != word_ids_.end()) rows.push_back(it->second);
  if (word != kEndOfLine) AddSubwords(word, rows);
}

void FastTextModel::AddWordNgrams(const std::vector<int32_t>& hashes,
                                  std::vector<int32_t>& rows) const {
  if (buckets_ == 0) return;
  for (size_t i = 0; i < hashes.size(); ++i) {
    auto hash = static_cast<uint64_t>(static_cast<int64_t>(hashes[i]));
    for (size_t j = i + 1; j < hashes.size() && j < i + static_cast<size_t>(word_ngrams_); ++j) {
      hash = hash * 116049371u + static_cast<uint64_t>(static_cast<int64_t>(hashes[j]));
      AddHash(hash, rows);
    }
  }
}

std::vector<float> FastTextModel::Hidden(const std::vector<int32_t>& rows) const {
  const auto dim = static_cast<size_t>(dim_);
  std::vector<float> hidden(dim, 0.0f);
  if (dim == 16) {
    SumRows<16>(rows, input_.data(), hidden.data());
  } else {
    for (const int32_t row : rows) {
      const float* const values = input_.data() + static_cast<size_t>(row) * dim;
      for (size_t k = 0; k < dim; ++k) hidden[k] += values[k];
    }
  }
  const float scale = 1.0f / static_cast<float>(rows.size());
  for (float& value : hidden) value *= scale;
  return hidden;
}

float FastTextModel::Output(int64_t row, const std::vector<float>& hidden) const {
  const float* const values = output_.data() + static_cast<size_t>(row) * hidden.size();
  float sum = 0;
  for (size_t k = 0; k < hidden.size(); ++k) sum += values[k] * hidden[k];
  return sum;
}

FastTextPrediction FastTextModel::Softmax(const std::vector<float>& hidden) const {
  std::vector<float> logits(labels_.size());
  for (size_t i = 0; i < logits.size(); ++i) {
    logits[i] = Output(static_cast<int64_t>(i), hidden);
  }
  const auto best = std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit - *best));
  return {static_cast<int>(best - logits.begin()), 1 / sum};
}

FastTextPrediction FastTextModel::Sigmoids(const std::vector<float>& hidden) const {
  FastTextPrediction best;
  float highest = 0;
  for (int i = 0; i < static_cast<int>(labels_.size()); ++i) {
    const float logit = Output(i, hidden);
    if (best.label >= 0 && logit <= highest) continue;
    highest = logit;
    best = {i, 1 / (1 + std::exp(-static_cast<double>(logit)))};
  }
  return best;
}

// Depth first with the best leaf so far as the bound: scores only fall on the way down.
FastTextPrediction FastTextModel::WalkTree(const std::vector<float>& hidden) const {
  const auto leaves = static_cast<int32_t>(labels_.size());
  struct Visit {
    int32_t node;
    double score;
  };
  std::vector<Visit> open = {{static_cast<int32_t>(tree_.size()) - 1, 0}};
  FastTextPrediction best;
  double best_score = -INFINITY;
  while (!open.empty()) {
    const auto [node, score] = open.back();
    open.pop_back();
    if (score <= best_score) continue;
    if (node < leaves) {
      best_score = score;
      best = {node, std::exp(score)};
      continue;
    }
    const double right = 1 / (1 + std::exp(-static_cast<double>(Output(node - leaves, hidden))));
    const Node& inner = tree_[static_cast<size_t>(node)];
    open.push_back({inner.right, score + LogOf(right)});
    open.push_back({inner.left, score + LogOf(1 - right)});
  }
  return best;
}

FastTextPrediction FastTextModel::Predict(std::string_view line) const {
  static thread_local std::vector<int32_t> rows, hashes;
  rows.clear();
  hashes.clear();
  const auto add = [&](std::string_view word) {
    // A label in the text is no word.
    if (word.starts_with("__label__")) return;
    AddWord(word, rows);
    if (word_ngrams_ > 1) hashes.push_back(static_cast<int32_t>(HashOfWord(word)));
  };
  bool ended = false;
  for (size_t i = 0; i < line.size() && !ended;) {
    if (line[i] == '\n') break;
    if (IsBlank(line[i])) {
      ++i;
      continue;
    }
    size_t end = i;
    while (end < line.size() && !IsBlank(line[end]) && line[end] != '\n') ++end;
    const std::string_view word = line.substr(i, end - i);
    add(word);
    ended = word == kEndOfLine;
    i = end;
  }
  if (!ended) add(kEndOfLine);
  if (word_ngrams_ > 1) AddWordNgrams(hashes, rows);
  if (rows.empty()) return {};
  const std::vector<float> hidden = Hidden(rows);
  switch (loss_) {
    case Loss::kSoftmax:
      return Softmax(hidden);
    case Loss::kHierarchical:
      return WalkTree(hidden);
    case Loss::kNegative:
    case Loss::kOneVsAll:
      return Sigmoids(hidden);
  }
  return {};
}

}  // namespace choir
