// Reads what FastText::saveModel writes (fastText 0.9.2): arguments, dictionary, input matrix,
// output matrix, little-endian, each matrix dense or product-quantised.
#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "base/file.h"
#include "base/hash.h"
#include "base/status.h"
#include "base/strings.h"
#include "data/clean/fasttext_model.h"

namespace choir {

// The bytes of a file and how far they are read. The first error stays; after it nothing is read.
class FastTextFile {
 public:
  FastTextFile(const std::string& path, std::string_view bytes) : path_(path), rest_(bytes) {}

  absl::StatusOr<std::unique_ptr<FastTextModel>> Read();

 private:
  static constexpr int32_t kMagic = 793712314, kVersion = 12;
  static constexpr int64_t kMaxEntries = 1 << 28;
  static constexpr int32_t kMaxBuckets = 1 << 25;  // 2 million is the default
  static constexpr int32_t kMaxPart = 64;          // bounds what a small file can grow to
  static constexpr int32_t kSupervised = 3;        // 1, 2: word vectors

  struct Matrix {
    int64_t rows = 0, dim = 0;
    std::vector<float> values;
  };

  bool ok() const { return status_.ok(); }
  void Fail(std::string_view what) {
    if (ok()) status_ = absl::InvalidArgumentError(StrCat(path_, ": ", what));
  }
  void Require(bool sound, std::string_view what) {
    if (!sound) Fail(StrCat("damaged fastText model: ", what));
  }

  template <class T>
  T Take() {
    T value{};
    if (ok() && rest_.size() < sizeof(T)) Fail("damaged fastText model: ends too early");
    if (!ok()) return value;
    std::memcpy(&value, rest_.data(), sizeof(T));
    rest_.remove_prefix(sizeof(T));
    return value;
  }
  // A number that a later table may be sized by.
  int64_t TakeCount(int64_t value, std::string_view what) {
    Require(value >= 0 && value <= kMaxEntries, what);
    return ok() ? value : 0;
  }
  template <class T>
  std::vector<T> TakeArray(int64_t count) {
    std::vector<T> values;
    if (ok() && static_cast<uint64_t>(count) > rest_.size() / sizeof(T)) {
      Fail("damaged fastText model: ends too early");
    }
    if (!ok()) return values;
    values.resize(static_cast<size_t>(count));
    if (count > 0) std::memcpy(values.data(), rest_.data(), values.size() * sizeof(T));
    rest_.remove_prefix(values.size() * sizeof(T));
    return values;
  }
  std::string TakeText();

  void ReadArguments(FastTextModel& model);
  void ReadDictionary(FastTextModel& model);
  Matrix ReadMatrix(bool quantised);
  Matrix ReadDense();
  Matrix ReadQuantised();
  void MakeTree(FastTextModel& model);

  const std::string& path_;
  std::string_view rest_;
  absl::Status status_;
  std::vector<int64_t> label_counts_;
  int64_t kept_ = 0;  // rows of n-grams
};

std::string FastTextFile::TakeText() {
  const size_t end = rest_.find('\0');
  Require(end != std::string_view::npos && end < 1 << 20, "a word without an end");
  if (!ok()) return {};
  std::string text(rest_.substr(0, end));
  rest_.remove_prefix(end + 1);
  return text;
}

void FastTextFile::ReadArguments(FastTextModel& model) {
  if (Take<int32_t>() != kMagic) return Fail("not a fastText model");
  const auto version = Take<int32_t>();
  if (version != kVersion) {
    return Fail(StrCat("fastText format ", version, "; only ", kVersion, " can be read"));
  }
  std::array<int32_t, 12> arguments;
  for (int32_t& argument : arguments) argument = Take<int32_t>();
  Take<double>();  // sampling threshold, of training
  const auto [dim, ws, epoch, min_count, negatives, word_ngrams, loss, kind, buckets, min_subword,
              max_subword, update_rate] = arguments;
  if (!ok()) return;
  if (kind != kSupervised) {
    return Fail("fastText word vectors; language identification needs a supervised model");
  }
  Require(dim > 0 && dim <= 4096, "dimension");
  Require(word_ngrams >= 0 && word_ngrams <= 64, "length of word n-grams");
  Require(loss >= 1 && loss <= 4, "loss");
  Require(min_subword >= 0 && max_subword >= 0 && max_subword <= 64, "length of subwords");
  model.dim_ = dim;
  model.word_ngrams_ = word_ngrams;
  model.loss_ = static_cast<FastTextModel::Loss>(loss);
  Require(buckets >= 0 && buckets <= kMaxBuckets, "number of buckets");
  model.buckets_ = buckets;
  model.min_subword_ = min_subword;
  model.max_subword_ = max_subword;
}

void FastTextFile::ReadDictionary(FastTextModel& model) {
  const int64_t size = TakeCount(Take<int32_t>(), "size of the dictionary");
  model.words_ = TakeCount(Take<int32_t>(), "number of words");
  const int64_t labels = TakeCount(Take<int32_t>(), "number of labels");
  Take<int64_t>();  // tokens seen in training
  const auto pruned = Take<int64_t>();
  Require(size == model.words_ + labels && labels > 0, "words and labels do not add up");
  Require(pruned >= -1 && pruned <= kMaxEntries, "number of pruned buckets");
  constexpr std::string_view kPrefix = "__label__";
  for (int64_t i = 0; i < size && ok(); ++i) {
    std::string text = TakeText();
    const auto count = Take<int64_t>();
    const bool is_label = Take<int8_t>() == 1;
    Require(is_label == (i >= model.words_), "words and labels are mixed");
    if (!is_label) {
      model.word_ids_.emplace(HashOf64(text), static_cast<int32_t>(i));
      continue;
    }
    Require(count >= 0 && count <= int64_t{1} << 40, "counts of labels");
    label_counts_.push_back(count);
    model.labels_.push_back(text.starts_with(kPrefix) ? text.substr(kPrefix.size()) : text);
  }
  if (!ok()) return;
  kept_ = pruned >= 0 ? pruned : model.buckets_;
  model.bucket_rows_.assign(static_cast<size_t>(model.buckets_), -1);
  for (int64_t i = 0; pruned < 0 && i < model.buckets_; ++i) {
    model.bucket_rows_[static_cast<size_t>(i)] = static_cast<int32_t>(model.words_ + i);
  }
  for (int64_t i = 0; i < pruned && ok(); ++i) {
    const auto bucket = Take<int32_t>();
    const auto row = Take<int32_t>();
    Require(bucket >= 0 && bucket < model.buckets_ && row >= 0 && row < pruned, "pruned bucket");
    if (!ok()) return;
    model.bucket_rows_[static_cast<size_t>(bucket)] = static_cast<int32_t>(model.words_ + row);
  }
}

FastTextFile::Matrix FastTextFile::ReadDense() {
  Matrix matrix;
  matrix.rows = TakeCount(Take<int64_t>(), "rows of a matrix");
  matrix.dim = TakeCount(Take<int64_t>(), "columns of a matrix");
  Require(matrix.dim <= 4096, "columns of a matrix");
  if (ok()) matrix.values = TakeArray<float>(matrix.rows * matrix.dim);
  return matrix;
}

// Product quantisation (Jegou et al. 2011): each row is cut into parts of `dsub` numbers, each part
// one of 256 centroids; with qnorm the length of the row is one of 256 numbers of its own.
FastTextFile::Matrix FastTextFile::ReadQuantised() {
  Matrix matrix;
  const bool with_norm = Take<uint8_t>() != 0;
  matrix.rows = TakeCount(Take<int64_t>(), "rows of a matrix");
  matrix.dim = TakeCount(Take<int64_t>(), "columns of a matrix");
  const auto codes = TakeArray<uint8_t>(TakeCount(Take<int32_t>(), "number of codes"));
  const auto dim = Take<int32_t>();
  const auto parts = Take<int32_t>();
  const auto part_dim = Take<int32_t>();
  const auto last_dim = Take<int32_t>();
  Require(dim == matrix.dim && dim > 0 && dim <= 4096, "columns of a quantised matrix");
  Require(parts > 0 && parts <= dim && part_dim > 0 && part_dim <= dim && last_dim > 0 &&
              last_dim <= part_dim && part_dim <= kMaxPart &&
              int64_t{parts - 1} * part_dim + last_dim == dim,
          "parts of a quantised matrix");
  if (!ok()) return matrix;
  Require(static_cast<int64_t>(codes.size()) == matrix.rows * parts, "number of codes");
  const auto centroids = TakeArray<float>(int64_t{dim} * 256);
  std::vector<uint8_t> norm_codes;
  std::vector<float> norms;
  if (with_norm) {
    norm_codes = TakeArray<uint8_t>(matrix.rows);
    const std::array<int32_t, 4> shape = {Take<int32_t>(), Take<int32_t>(), Take<int32_t>(),
                                          Take<int32_t>()};
    Require(shape == std::array<int32_t, 4>{1, 1, 1, 1}, "norms of a quantised matrix");
    norms = TakeArray<float>(256);
  }
  if (!ok()) return matrix;
  matrix.values.resize(static_cast<size_t>(matrix.rows * matrix.dim));
  float* out = matrix.values.data();
  for (int64_t row = 0; row < matrix.rows; ++row) {
    const float norm = with_norm ? norms[norm_codes[static_cast<size_t>(row)]] : 1.0f;
    for (int part = 0; part < parts; ++part) {
      const int width = part == parts - 1 ? last_dim : part_dim;
      const uint8_t code = codes[static_cast<size_t>(row * parts + part)];
      // The centroids of a part follow each other; those of the last one are shorter.
      const float* const centroid = centroids.data() + part * 256 * part_dim + code * width;
      for (int k = 0; k < width; ++k) *out++ = norm * centroid[k];
    }
  }
  return matrix;
}

FastTextFile::Matrix FastTextFile::ReadMatrix(bool quantised) {
  return quantised ? ReadQuantised() : ReadDense();
}

// The tree that training built from the labels' counts (Model::buildTree): labels come by falling
// count, so that two queues give the two smallest nodes.
void FastTextFile::MakeTree(FastTextModel& model) {
  const auto leaves = static_cast<int32_t>(model.labels_.size());
  model.tree_.resize(static_cast<size_t>(2 * leaves - 1));
  std::vector<int64_t> counts(model.tree_.size(), int64_t{1'000'000'000'000'000});
  std::copy(label_counts_.begin(), label_counts_.end(), counts.begin());
  int32_t leaf = leaves - 1, inner = leaves;
  for (int32_t i = leaves; i < 2 * leaves - 1; ++i) {
    std::array<int32_t, 2> pair;
    for (int32_t& node : pair) {
      const bool take_leaf =
          leaf >= 0 && counts[static_cast<size_t>(leaf)] < counts[static_cast<size_t>(inner)];
      node = take_leaf ? leaf-- : inner++;
    }
    // Counts that do not fall, or are huge, would make a node its own child.
    Require(pair[0] < i && pair[1] < i, "counts of labels");
    if (!ok()) return;
    model.tree_[static_cast<size_t>(i)] = {pair[0], pair[1]};
    counts[static_cast<size_t>(i)] =
        counts[static_cast<size_t>(pair[0])] + counts[static_cast<size_t>(pair[1])];
  }
}

absl::StatusOr<std::unique_ptr<FastTextModel>> FastTextFile::Read() {
  auto model = std::make_unique<FastTextModel>();
  ReadArguments(*model);
  if (ok()) ReadDictionary(*model);
  const bool quantised = Take<uint8_t>() != 0;
  Matrix input, output;
  if (ok()) input = ReadMatrix(quantised);
  const bool output_quantised = Take<uint8_t>() != 0;
  if (ok()) output = ReadMatrix(quantised && output_quantised);
  if (!ok()) return status_;
  Require(rest_.empty(), "bytes behind its end");
  Require(input.dim == model->dim_ && output.dim == model->dim_, "columns of a matrix");
  Require(input.rows == model->words_ + kept_, "rows of the input matrix");
  Require(output.rows == static_cast<int64_t>(model->labels_.size()), "rows of the output matrix");
  if (ok() && model->loss_ == FastTextModel::Loss::kHierarchical) MakeTree(*model);
  if (!ok()) return status_;
  model->input_ = std::move(input.values);
  model->output_ = std::move(output.values);
  return model;
}

absl::StatusOr<std::unique_ptr<FastTextModel>> FastTextModel::Open(const std::string& path) {
  static_assert(std::endian::native == std::endian::little);
  ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
  return FastTextFile(path, bytes).Read();
}

}  // namespace choir
