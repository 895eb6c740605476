// Documents that share a row: with document masks they are trained on as if each were alone.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "data/loader/loader.h"
#include "eval/model_input.h"
#include "tests/model/model_testing.h"
#include "tests/train/run_fixture.h"

namespace choir::train_test {
namespace {

using testing_model::BackwardBound;
using testing_model::ForwardBound;
using testing_model::MaxDifference;
using testing_model::MaxMagnitude;
using testing_model::RunStep;
using testing_model::SameBits;
using testing_model::ToDoubles;

constexpr int64_t kLength = 512;
constexpr int64_t kRows = 3;

struct PackedCorpus {
  Batch batch;  // rows of real documents, several in each
  int64_t vocab_size = 0;
};

const PackedCorpus& PackedBatch() {
  static const PackedCorpus corpus = [] {
    DataConfig config;
    config.path = TinyData();
    config.sequence_length = kLength;
    config.batch_sequences = kRows;
    config.lanes = 1;
    config.prefetch_rows = 0;
    config.packing.look_ahead = 32;
    auto loader = BatchLoader::Open(config).value();
    Batch batch = loader->Next().value();
    for (int n = 0; n < 200 && batch.segments.size() < 2 * kRows; ++n) {
      batch = loader->Next().value();
    }
    return PackedCorpus{std::move(batch), loader->vocab_size()};
  }();
  return corpus;
}

// The loss that couples the tokens of a row on purpose (balance of the experts) is off.
ModelConfig Config(bool moe) {
  ModelConfig config = moe ? testing_model::MoeModelConfig() : testing_model::DenseConfig();
  config.moe.sequence_loss = 0;
  return config;
}

Tensor Slice(const Tensor& whole, int64_t begin, int64_t length) {
  Tensor part = Tensor::Empty({length}, whole.options());
  std::copy_n(whole.data<int32_t>() + begin, length, part.data<int32_t>());
  return part;
}

// One document of the batch as a batch of its own.
ModelInput Alone(const Batch& batch, const BatchSegment& segment) {
  Batch one;
  one.rows = 1;
  one.stored = {0};
  one.length = segment.length;
  const int64_t begin = segment.row * batch.length + segment.begin;
  one.tokens = Slice(batch.tokens, begin, segment.length);
  one.labels = Slice(batch.labels, begin, segment.length);
  one.positions = Slice(batch.positions, begin, segment.length);
  one.language = Slice(batch.language, begin, segment.length);
  one.cu_seqlens = {0, static_cast<int32_t>(segment.length)};
  one.num_labels = segment.length;
  one.segments = {segment};
  return MicrobatchInput(one, 0, 1);
}

std::vector<Tensor> Gradients(const Transformer& model) {
  std::vector<Tensor> gradients;
  for (const auto& entry : model.parameters()) gradients.push_back(entry.parameter->grad.Clone());
  return gradients;
}

class PackedRowsTest : public ::testing::TestWithParam<bool> {};

TEST_P(PackedRowsTest, EqualsOneDocumentAtATime) {
  const auto& [batch, vocab_size] = PackedBatch();
  ASSERT_GE(batch.segments.size(), 2u * kRows) << "the test wants several documents in a row";
  const ModelConfig config = Config(GetParam());
  Transformer model(config, vocab_size, {});
  model.Initialize(11);
  const double scale = 1 / static_cast<double>(batch.num_labels);
  double packed = 0;
  {
    Tape tape;
    const ModelInput input = MicrobatchInput(batch, 0, kRows);
    packed = ScalarValue(RunStep(model, tape, input, {scale, nullptr}).total.tensor());
  }
  const std::vector<Tensor> gradients = Gradients(model);
  double alone = 0;
  for (size_t s = 0; s < batch.segments.size(); ++s) {
    Tape tape;
    const ModelInput input = Alone(batch, batch.segments[s]);
    alone += ScalarValue(RunStep(model, tape, input, {scale, nullptr, s > 0}).total.tensor());
  }
  EXPECT_NEAR(packed, alone, packed * ForwardBound(config, DType::kF32, kRows * kLength));
  const double bound = BackwardBound(config, DType::kF32, kRows * kLength);
  for (size_t i = 0; i < gradients.size(); ++i) {
    const Parameter& p = *model.parameters()[i].parameter;
    const std::vector<double> expected = ToDoubles(p.grad);
    EXPECT_LE(MaxDifference(ToDoubles(gradients[i]), expected), bound * MaxMagnitude(expected))
        << p.name;
  }
}

struct Step {
  double loss = 0;
  std::vector<Tensor> gradients;
};

// One step in which only segment `watched` has labels, and segment `changed` other tokens, if >= 0.
Step StepOf(const PackedCorpus& corpus, Transformer& model, size_t watched, int changed) {
  const Batch& from = corpus.batch;
  Batch batch = from;
  batch.tokens = from.tokens.Clone();
  batch.labels = from.labels.Clone();
  std::fill_n(batch.labels.data<int32_t>(), kRows * kLength, kNoLabel);
  const auto place = [&](size_t s) {
    return from.segments[s].row * kLength + from.segments[s].begin;
  };
  std::copy_n(from.labels.data<int32_t>() + place(watched), from.segments[watched].length,
              batch.labels.data<int32_t>() + place(watched));
  if (changed >= 0) {
    const CounterRandom random(1, "other tokens");
    for (int64_t i = 0; i < from.segments[changed].length; ++i) {
      batch.tokens.data<int32_t>()[place(changed) + i] = static_cast<int32_t>(
          random.Below(static_cast<uint64_t>(i), static_cast<uint64_t>(corpus.vocab_size)));
    }
  }
  Tape tape;
  Step step;
  const double scale = 1 / static_cast<double>(from.segments[watched].length);
  ModelInput input = MicrobatchInput(batch, 0, kRows);
  input.block.valid = MicrobatchInput(from, 0, kRows).block.valid;  // no padding all the same
  step.loss = ScalarValue(RunStep(model, tape, input, {scale, nullptr}).total.tensor());
  step.gradients = Gradients(model);
  return step;
}

TEST_P(PackedRowsTest, ANeighbourChangesNoBit) {
  const PackedCorpus& corpus = PackedBatch();
  const std::vector<BatchSegment>& segments = corpus.batch.segments;
  Transformer model(Config(GetParam()), corpus.vocab_size, {});
  model.Initialize(12);
  int pairs = 0;
  for (size_t s = 1; s < segments.size(); ++s) {
    if (segments[s].row != segments[s - 1].row) continue;
    ++pairs;
    const auto before = static_cast<int>(s) - 1;
    const Step plain = StepOf(corpus, model, s, -1);
    const Step other = StepOf(corpus, model, s, before);
    EXPECT_EQ(plain.loss, other.loss) << "segment " << s;
    for (size_t i = 0; i < plain.gradients.size(); ++i) {
      EXPECT_TRUE(SameBits(plain.gradients[i], other.gradients[i]))
          << model.parameters()[i].parameter->name << ", segment " << s;
    }
    // And the test can see: the changed document itself has another loss.
    EXPECT_NE(StepOf(corpus, model, before, -1).loss, StepOf(corpus, model, before, before).loss);
  }
  EXPECT_GT(pairs, 0);
}

INSTANTIATE_TEST_SUITE_P(Models, PackedRowsTest, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "Moe" : "Dense"; });

}  // namespace
}  // namespace choir::train_test
