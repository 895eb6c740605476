// Supervised fastText models (Joulin et al. 2017, "Bag of Tricks for Efficient Text
// Classification"), plain .bin and quantised .ftz, of version 12 (fastText 0.2 and later).
//
// Own code rather than the library: that one ends the process or reads past its tables on a damaged
// file, allocates for every word, and is no longer developed.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"

namespace choir {

struct FastTextPrediction {
  int label = -1;    // index into labels(); -1: the model knows nothing in the text
  double score = 0;  // its probability; `fasttext predict-prob` prints 0.00001 more
};

class FastTextModel {
 public:
  // Reads a file of at most 4 GiB. Errors name the file and what is wrong with it; nothing that a
  // file may hold is trusted.
  static absl::StatusOr<std::unique_ptr<FastTextModel>> Open(const std::string& path);

  // Labels without their prefix, for example "de" for __label__de.
  const std::vector<std::string>& labels() const { return labels_; }

  // The most probable label of one line of text, as `fasttext predict` gives it. Thread-safe.
  FastTextPrediction Predict(std::string_view line) const;

 private:
  friend class FastTextFile;
  enum class Loss { kHierarchical = 1, kNegative = 2, kSoftmax = 3, kOneVsAll = 4 };

  // Inner nodes of the Huffman tree over the labels (loss hs).
  struct Node {
    int32_t left = -1, right = -1;
  };

  void AddWord(std::string_view word, std::vector<int32_t>& rows) const;
  void AddSubwords(std::string_view word, std::vector<int32_t>& rows) const;
  void AddHash(uint64_t hash, std::vector<int32_t>& rows) const;
  void AddWordNgrams(const std::vector<int32_t>& hashes, std::vector<int32_t>& rows) const;
  std::vector<float> Hidden(const std::vector<int32_t>& rows) const;
  FastTextPrediction Softmax(const std::vector<float>& hidden) const;
  FastTextPrediction Sigmoids(const std::vector<float>& hidden) const;
  FastTextPrediction WalkTree(const std::vector<float>& hidden) const;
  float Output(int64_t row, const std::vector<float>& hidden) const;

  Loss loss_ = Loss::kSoftmax;
  int dim_ = 0;
  int word_ngrams_ = 1;
  int min_subword_ = 0, max_subword_ = 0;
  int64_t buckets_ = 0;
  int64_t words_ = 0;
  absl::flat_hash_map<uint64_t, int32_t> word_ids_;  // by HashOf64
  std::vector<int32_t> bucket_rows_;  // rows of input_ by bucket of an n-gram's hash; -1: pruned
  std::vector<std::string> labels_;
  std::vector<Node> tree_;     // of 2 labels - 1 nodes, the last is the root
  std::vector<float> input_;   // [rows, dim], decoded if quantised
  std::vector<float> output_;  // [labels, dim]
};

}  // namespace choir
