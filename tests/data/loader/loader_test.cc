#include "data/loader/loader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <sstream>

#include "base/config_fields.h"
#include "base/config_load.h"
#include "base/random.h"
#include "data/shard/token_corpus.h"
#include "tests/data/loader/open_loader.h"
#include "tests/data/test_corpus.h"

namespace choir {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using testing_data::FixtureDataConfig;
using testing_data::OpenLoader;

std::vector<int32_t> Values(const Tensor& tensor) {
  const auto span = tensor.span<int32_t>();
  return {span.begin(), span.end()};
}

void ExpectSame(const Batch& a, const Batch& b) {
  ASSERT_EQ(a.step, b.step);
  ASSERT_EQ(Values(a.tokens), Values(b.tokens));
  ASSERT_EQ(Values(a.labels), Values(b.labels));
  ASSERT_EQ(Values(a.positions), Values(b.positions));
  ASSERT_EQ(Values(a.language), Values(b.language));
  ASSERT_EQ(a.cu_seqlens, b.cu_seqlens);
  ASSERT_EQ(a.segments, b.segments);
  ASSERT_EQ(a.language_tokens, b.language_tokens);
  ASSERT_EQ(a.num_labels, b.num_labels);
  ASSERT_EQ(a.digest, b.digest);
}

// Everything that batch.h promises, checked against the documents themselves.
TEST(Loader, BatchesHoldWhatTheyPromise) {
  const DataConfig config = FixtureDataConfig();
  const auto loader = OpenLoader(config);
  const auto& corpus = dynamic_cast<const TokenCorpus&>(loader->corpus());
  std::map<uint64_t, TokenDocument> documents;
  for (int32_t l = 0; l < static_cast<int32_t>(corpus.languages().size()); ++l) {
    for (int64_t d = 0; d < corpus.NumDocuments(Split::kTrain, l); ++d) {
      const TokenDocument document = corpus.GetDocument(Split::kTrain, l, d).value();
      documents[document.id] = document;
    }
  }
  int64_t labels = 0;
  for (int64_t step = 0; step < 60; ++step) {
    const Batch batch = loader->Next().value();
    const std::vector<int32_t> tokens = Values(batch.tokens), label = Values(batch.labels),
                               positions = Values(batch.positions),
                               language = Values(batch.language);
    const auto size = static_cast<size_t>(batch.rows * batch.length);
    ASSERT_EQ(batch.step, step);
    ASSERT_EQ(batch.rows, 6);
    ASSERT_EQ(batch.length, 64);
    for (const auto* values : {&tokens, &label, &positions, &language}) {
      ASSERT_EQ(values->size(), size);
    }
    // Every position is in one segment of a document, or padding.
    std::vector<bool> covered(size, false);
    std::vector<int64_t> counts(corpus.languages().size(), 0);
    std::vector<int32_t> bounds = {0};
    for (const BatchSegment& segment : batch.segments) {
      ASSERT_TRUE(documents.contains(segment.document_id));
      const TokenDocument& document = documents[segment.document_id];
      const int64_t begin = segment.row * batch.length + segment.begin;
      ASSERT_LE(segment.begin + segment.length, batch.length);
      if (begin != bounds.back()) bounds.push_back(static_cast<int32_t>(begin));
      for (int64_t i = 0; i < segment.length; ++i) {
        const auto at = static_cast<size_t>(begin + i);
        ASSERT_FALSE(covered[at]);
        covered[at] = true;
        ASSERT_EQ(tokens[at], document.token(segment.offset + i));
        ASSERT_EQ(label[at], document.token(segment.offset + i + 1));
        ASSERT_EQ(positions[at], i);
        ASSERT_EQ(language[at], segment.language);
        ++counts[segment.language];
      }
      bounds.push_back(static_cast<int32_t>(begin + segment.length));
    }
    if (bounds.back() != static_cast<int32_t>(size)) bounds.push_back(static_cast<int32_t>(size));
    ASSERT_EQ(batch.cu_seqlens, bounds);
    int64_t padding = 0;
    for (size_t s = 0; s + 1 < batch.cu_seqlens.size(); ++s) {
      const int32_t begin = batch.cu_seqlens[s], end = batch.cu_seqlens[s + 1];
      ASSERT_LT(begin, end);
      ASSERT_EQ(begin / batch.length, (end - 1) / batch.length) << "a segment crosses a row";
      for (int32_t at = begin; at < end; ++at) {
        if (covered[at]) continue;
        ++padding;
        ASSERT_EQ(tokens[at], corpus.tokenizer().pad_id);
        ASSERT_EQ(label[at], kNoLabel);
        ASSERT_EQ(language[at], kNoLanguage);
        ASSERT_EQ(positions[at], at - begin);
      }
    }
    ASSERT_EQ(batch.num_labels, static_cast<int64_t>(size) - padding);
    ASSERT_EQ(batch.language_tokens, counts);
    labels += batch.num_labels;
  }
  EXPECT_EQ(loader->counters().labels, labels);
  EXPECT_EQ(loader->counters().positions, 60 * 6 * 64);
  EXPECT_EQ(loader->counters().steps, 60);
}

TEST(Loader, WithoutDocumentMasksRowsAreTheSegments) {
  constexpr int32_t kRows = 200;
  DataConfig config = FixtureDataConfig();
  config.batch_sequences = kRows;
  const Batch masked = OpenLoader(config)->Next().value();
  config.packing.document_masks = false;
  const Batch open = OpenLoader(config)->Next().value();
  EXPECT_GT(masked.cu_seqlens.size(), kRows + 1u);
  ASSERT_EQ(open.cu_seqlens.size(), kRows + 1u);
  for (int32_t r = 0; r <= kRows; ++r) EXPECT_EQ(open.cu_seqlens[r], 64 * r);
  EXPECT_EQ(Values(open.tokens), Values(masked.tokens));
  EXPECT_EQ(Values(open.labels), Values(masked.labels));
  const std::vector<int32_t> positions = Values(open.positions);
  for (int32_t i = 0; i < kRows * 64; ++i) ASSERT_EQ(positions[i], i % 64);
}

TEST(Loader, ResumesBitForBitFromAnyStep) {
  const DataConfig config = FixtureDataConfig();
  constexpr int kSteps = 120;
  std::vector<Batch> batches;
  std::vector<std::string> states;
  const auto whole = OpenLoader(config);
  for (int step = 0; step < kSteps; ++step) {
    states.push_back(whole->SaveState());
    batches.push_back(whole->Next().value());
  }
  const std::string last = whole->SaveState();
  const CounterRandom random(1, "resume");
  for (uint64_t trial = 0; trial < 12; ++trial) {
    const uint64_t at = trial == 0 ? 0 : random.Below(trial, kSteps);
    const auto resumed = OpenLoader(config);
    ASSERT_EQ(resumed->RestoreState(states[at]), absl::OkStatus());
    EXPECT_EQ(resumed->SaveState(), states[at]);
    for (uint64_t step = at; step < kSteps; ++step) {
      ExpectSame(resumed->Next().value(), batches[step]);
    }
    EXPECT_EQ(resumed->SaveState(), last);
    EXPECT_EQ(resumed->counters(), whole->counters());
    EXPECT_EQ(resumed->digest(), whole->digest());
  }
  // Going back in a loader that is ahead.
  ASSERT_EQ(whole->RestoreState(states[5]), absl::OkStatus());
  ExpectSame(whole->Next().value(), batches[5]);
}

TEST(Loader, PrefetchingChangesNothing) {
  DataConfig config = FixtureDataConfig();
  config.prefetch_rows = 0;
  const auto direct = OpenLoader(config);
  std::vector<std::unique_ptr<BatchLoader>> ahead;
  for (const int64_t rows : {1, 5, 200}) {
    for (const int64_t threads : {1, 3}) {
      config.prefetch_rows = rows;
      config.threads = threads;
      ahead.push_back(OpenLoader(config));
    }
  }
  for (int step = 0; step < 50; ++step) {
    const Batch batch = direct->Next().value();
    for (const auto& loader : ahead) {
      ExpectSame(loader->Next().value(), batch);
      ASSERT_EQ(loader->SaveState(), direct->SaveState());
    }
  }
  EXPECT_GT(direct->seconds_waited(), 0);  // it makes its rows itself
}

// A ramp of the batch size cuts the same sequence of rows elsewhere.
TEST(Loader, RowsDoNotDependOnTheBatchSize) {
  const DataConfig config = FixtureDataConfig();
  const auto ones = OpenLoader(config), mixed = OpenLoader(config);
  std::vector<int32_t> one_by_one, ramped;
  ones->SetRows([](int64_t) { return StepRows{1, nullptr}; });
  mixed->SetRows([](int64_t step) {
    return StepRows{step == 0 ? 2 : step == 1 ? 5 : 11, nullptr};
  });
  for (int row = 0; row < 2 + 5 + 11; ++row) {
    const std::vector<int32_t> tokens = Values(ones->Next().value().tokens);
    one_by_one.insert(one_by_one.end(), tokens.begin(), tokens.end());
  }
  for (int step = 0; step < 3; ++step) {
    const std::vector<int32_t> tokens = Values(mixed->Next().value().tokens);
    ramped.insert(ramped.end(), tokens.begin(), tokens.end());
  }
  EXPECT_EQ(one_by_one, ramped);
  EXPECT_NE(ones->digest(), mixed->digest());  // steps and slots are part of it
}

TEST(Loader, RestoreNamesEverythingThatDiffers) {
  const DataConfig config = FixtureDataConfig();
  const auto loader = OpenLoader(config);
  ASSERT_EQ(loader->Next().status(), absl::OkStatus());
  const std::string state = loader->SaveState();
  DataConfig other = config;
  other.lanes = 8;
  other.seed = 8;
  other.sequence_length = 32;
  other.packing.look_ahead = 9;
  other.packing.document_masks = false;
  other.mixture.by_source = true;
  const auto changed = OpenLoader(other);
  const std::string before = changed->SaveState();
  const absl::Status status = changed->RestoreState(state);
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  for (const char* const part :
       {"data.lanes: was 4 when the state was saved, is 8", "data.seed: was 7",
        "data.sequence_length: was 64", "data.packing.look_ahead: was 8",
        "data.packing.document_masks: was true", "data.mixture.by_source: was false"}) {
    EXPECT_THAT(std::string(status.message()), HasSubstr(part));
  }
  EXPECT_THAT(std::string(status.message()), Not(HasSubstr("corpus")));
  EXPECT_EQ(changed->SaveState(), before);
  // Batch size, prefetching and validation may change.
  other = config;
  other.batch_sequences = 3;
  other.prefetch_rows = 0;
  other.validation.tokens_per_language = 7;
  EXPECT_EQ(OpenLoader(other)->RestoreState(state), absl::OkStatus());
}

// The marks are tokens that every SentencePiece model with byte fallback has, and no text here
// uses.
TEST(Loader, FillsInTheMiddleAcrossResume) {
  DataConfig config = FixtureDataConfig();
  config.packing.fim_rate = 0.5;
  std::string message{BatchLoader::Open(config).status().message()};
  EXPECT_THAT(message, HasSubstr("data.packing.fim_prefix: the tokenizer of the corpus has no"));
  config.packing.fim_prefix = "<0x00>";
  config.packing.fim_middle = "<0x01>";
  config.packing.fim_suffix = "<0x02>";
  const auto loader = OpenLoader(config);
  const auto tokenizer = loader->corpus().OpenItsTokenizer().value();
  std::string state;
  std::vector<Batch> batches;
  int64_t begins = 0, prefixes = 0, middles = 0;
  for (int step = 0; step < 200; ++step) {
    if (step == 100) state = loader->SaveState();
    batches.push_back(loader->Next().value());
    const std::vector<int32_t> labels = Values(batches.back().labels);
    for (const BatchSegment& segment : batches.back().segments) begins += segment.offset == 0;
    prefixes += std::ranges::count(labels, tokenizer->FindId("<0x00>"));
    middles += std::ranges::count(labels, tokenizer->FindId("<0x01>"));
  }
  EXPECT_NEAR(static_cast<double>(prefixes), 0.5 * static_cast<double>(begins),
              5 * std::sqrt(0.25 * static_cast<double>(begins)));
  // The middle of a cut document may wait in the window.
  EXPECT_LE(middles, prefixes);
  EXPECT_GE(middles, prefixes - config.lanes * (config.packing.look_ahead + 64));
  const auto resumed = OpenLoader(config);
  ASSERT_EQ(resumed->RestoreState(state), absl::OkStatus());
  for (int step = 100; step < 200; ++step) {
    ExpectSame(resumed->Next().value(), batches[step]);
  }
  config.packing.fim_suffix = "<0x03>";
  message = std::string(OpenLoader(config)->RestoreState(state).message());
  EXPECT_THAT(message, HasSubstr("data.packing.fim_suffix: was <0x02>"));
}

TEST(Loader, RestoreRefusesAnotherCorpusAndDamage) {
  DataBuildConfig build = testing_data::BuildConfigIn(testing_data::TempFolder("other"));
  build.tokenizer.model = testing_data::FixtureFolder() + "/shards/tokenizer.model";
  build.shards.max_bytes_per_language = 8000;
  std::ostringstream out;
  ASSERT_EQ(BuildShards(build, out), absl::OkStatus());
  DataConfig config = FixtureDataConfig();
  const std::string state = OpenLoader(config)->SaveState();
  config.path = build.shards.path;
  const auto loader = OpenLoader(config);
  EXPECT_THAT(std::string(loader->RestoreState(state).message()),
              HasSubstr("corpus in data.path (fingerprint): was "));
  const std::string own = loader->SaveState();
  EXPECT_EQ(loader->RestoreState(own), absl::OkStatus());
  for (const std::string& damaged :
       {std::string("junk"), std::string("{}"), std::string("[]"), own.substr(0, own.size() / 2)}) {
    EXPECT_TRUE(absl::IsInvalidArgument(loader->RestoreState(damaged))) << damaged.substr(0, 20);
  }
  nlohmann::json json = nlohmann::json::parse(own);
  json["lanes"][3][0] = -5;
  EXPECT_THAT(std::string(loader->RestoreState(json.dump()).message()), HasSubstr("lane 3"));
  json = nlohmann::json::parse(own);
  json["digest"] = "xyz";
  EXPECT_THAT(std::string(loader->RestoreState(json.dump()).message()), HasSubstr("digest"));
}

TEST(Loader, SharesAreHeldOverALongRun) {
  DataConfig config = FixtureDataConfig();
  config.batch_sequences = 200;
  const auto loader = OpenLoader(config);
  for (int step = 0; step < 20; ++step) ASSERT_EQ(loader->Next().status(), absl::OkStatus());
  const LoaderCounters& counters = loader->counters();
  double sum = 0;
  for (const double share : loader->shares()) sum += share;
  EXPECT_NEAR(sum, 1, 1e-12);
  // A lane may be one document off, and hold back at most its window.
  const double slack = static_cast<double>(
      config.lanes * (2000 + (config.packing.look_ahead + 2) * config.sequence_length));
  for (size_t l = 0; l < loader->languages().size(); ++l) {
    int64_t labels = 0;
    for (const auto& [of, n] : counters.stream_labels) {
      if (of.first == static_cast<int32_t>(l)) labels += n;
    }
    EXPECT_NEAR(static_cast<double>(labels),
                loader->shares()[l] * static_cast<double>(counters.labels), slack);
  }
}

TEST(Loader, TheDigestIsTheOneThatTheDocsDescribe) {
  const DataConfig config = FixtureDataConfig();
  const auto loader = OpenLoader(config);
  Hash128 chain;
  for (int step = 0; step < 3; ++step) {
    const Batch batch = loader->Next().value();
    std::vector<uint64_t> numbers = {chain.high, chain.low};
    for (const BatchSegment& segment : batch.segments) {
      numbers.insert(
          numbers.end(),
          {static_cast<uint64_t>(step), static_cast<uint64_t>(segment.row), segment.document_id,
           static_cast<uint64_t>(segment.offset), static_cast<uint64_t>(segment.length)});
    }
    chain = HashOf128(std::as_bytes(std::span(numbers)));
    ASSERT_EQ(batch.digest, chain);
    ASSERT_EQ(loader->digest(), chain);
  }
}

TEST(Loader, PeekShowsTheText) {
  const DataConfig config = FixtureDataConfig();
  std::ostringstream out;
  ASSERT_EQ(PeekBatch(config, 2, out), absl::OkStatus());
  const auto loader = OpenLoader(config);
  Batch batch;
  for (int step = 0; step < 3; ++step) batch = loader->Next().value();
  EXPECT_THAT(out.str(), HasSubstr("step 2: 6 rows of 64, "));
  EXPECT_THAT(out.str(), HasSubstr("digest " + ToHex(batch.digest)));
  const auto tokenizer = loader->corpus().OpenItsTokenizer().value();
  for (const BatchSegment& segment : batch.segments) {
    const std::span<const int32_t> tokens(
        batch.tokens.data<int32_t>() + segment.row * batch.length + segment.begin,
        static_cast<size_t>(segment.length));
    EXPECT_THAT(out.str(), HasSubstr("\n" + tokenizer->Decode(tokens)));
  }
}

TEST(DataConfig, VisitListsEveryField) {
  EXPECT_EQ(ForgottenFields<DataConfig>(), "");
  EXPECT_EQ(ForgottenFields<DataBuildConfig>(), "");
}

TEST(DataConfig, AllMistakesAtOnce) {
  const std::string text = "path: " + testing_data::FixtureFolder() +
                           "/none\n"
                           "sequence_length: 1048576\n"
                           "batch_sequences: 1048576\n"
                           "lanes: 0\n"
                           "mixture: {alpha: 0.5, weights: {en: 1}}\n"
                           "packing: {look_ahed: 3}\n";
  const auto tree = ConfigTree::ParseString(text, "data.yaml");
  ASSERT_EQ(tree.status(), absl::OkStatus());
  const std::string message{LoadConfig<DataConfig>(*tree).status().message()};
  EXPECT_THAT(message, HasSubstr("data.yaml:1:7: path"));
  EXPECT_THAT(message, HasSubstr("batch_sequences times sequence_length must be below 2^31"));
  EXPECT_THAT(message, HasSubstr("data.yaml:4:8: lanes must be"));
  EXPECT_THAT(message, HasSubstr("mixture.weights and alpha contradict each other"));
  EXPECT_THAT(message, HasSubstr("data.yaml:6:11: "));
  EXPECT_THAT(message, HasSubstr("look_ahead'"));
}

}  // namespace
}  // namespace choir
