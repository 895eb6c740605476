#include "data/loader/loader.h"

#include <limits>
#include <utility>

#include "base/check.h"
#include "base/status.h"
#include "base/strings.h"
#include "data/loader/loader_state.h"
#include "data/loader/row_source.h"
#include "data/loader/row_tokens.h"
#include "data/order/lane.h"
#include "data/order/mixture.h"

namespace choir {
namespace {

constexpr int64_t kMostPositions = std::numeric_limits<int32_t>::max();  // of a batch: cu_seqlens

absl::StatusOr<Augmenter> MakeAugmenter(const DataConfig& config, const TokenCorpus& corpus) {
  if (!Augmenter::IsWanted(config.packing)) return Augmenter();
  ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer, corpus.OpenItsTokenizer());
  return Augmenter::Make(config.packing, *tokenizer, static_cast<uint64_t>(config.seed));
}

}  // namespace

void DataConfig::Check(ConfigErrors& errors) const {
  if (batch_sequences > kMostPositions / sequence_length) {
    errors.Conflict({"batch_sequences", "sequence_length"},
                    StrCat("times sequence_length must be below 2^31 positions, got ",
                           batch_sequences, " * ", sequence_length));
  }
}

struct BatchLoader::Impl {
  std::shared_ptr<const LaneContext> context;
  RowOptions options;
  std::vector<double> shares;
  LoaderState consumed;
  std::unique_ptr<RowSource> source;  // made by the first Next
  double seconds_waited = 0;          // of sources that are gone
};

BatchLoader::BatchLoader(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
BatchLoader::~BatchLoader() = default;

absl::StatusOr<std::unique_ptr<BatchLoader>> BatchLoader::Open(const DataConfig& config) {
  ASSIGN_OR_RETURN(std::shared_ptr<const TokenCorpus> corpus, TokenCorpus::Open(config.path));
  ASSIGN_OR_RETURN(std::vector<int64_t> weights, MixtureWeights(config.mixture, *corpus));
  ASSIGN_OR_RETURN(Augmenter augmenter, MakeAugmenter(config, *corpus));
  auto impl = std::make_unique<Impl>();
  impl->context =
      std::make_shared<const LaneContext>(corpus, config, std::move(weights), std::move(augmenter));
  impl->options = {Split::kTrain, config.sequence_length, config.packing.document_masks,
                   &impl->context->augmenter};
  const Mixture& mixture = impl->context->mixture;
  for (const int64_t weight : mixture.weights()) {
    impl->shares.push_back(static_cast<double>(weight) /
                           static_cast<double>(mixture.total_weight()));
  }
  for (int64_t l = 0; l < config.lanes; ++l) {
    impl->consumed.lanes.push_back(Lane(impl->context, l).state());
  }
  impl->consumed.counters.language_labels.assign(corpus->languages().size(), 0);
  return std::unique_ptr<BatchLoader>(new BatchLoader(std::move(impl)));
}

absl::StatusOr<Batch> BatchLoader::Next(int64_t rows) {
  if (rows < 1 || rows > kMostPositions / impl_->options.length) {
    return absl::InvalidArgumentError(StrCat("a batch of ", rows, " rows of ",
                                             impl_->options.length,
                                             " positions; it must have 1 to 2^31 - 1 positions"));
  }
  LoaderCounters& counters = impl_->consumed.counters;
  if (impl_->source == nullptr) {
    impl_->source = std::make_unique<RowSource>(impl_->context, impl_->consumed.lanes,
                                                counters.rows, impl_->options);
  }
  std::vector<RowTokens> made;
  for (int64_t r = 0; r < rows; ++r) {
    MadeRow row = impl_->source->Next();
    RETURN_IF_ERROR(row.damage);
    const int64_t lane = (counters.rows + r) % impl_->context->config.lanes;
    impl_->consumed.lanes[lane] = std::move(row.after);
    made.push_back(std::move(row.tokens));
  }
  Batch batch = MakeBatch(made, impl_->options, languages().size());
  batch.step = counters.steps;
  batch.digest = ExtendDigest(impl_->consumed.digest, batch.step, batch.segments);
  impl_->consumed.digest = batch.digest;
  counters.steps += 1;
  counters.rows += rows;
  counters.positions += rows * batch.length;
  counters.labels += batch.num_labels;
  for (size_t l = 0; l < languages().size(); ++l) {
    counters.language_labels[l] += batch.language_tokens[l];
  }
  return batch;
}

std::string BatchLoader::SaveState() const {
  return FormatLoaderState(impl_->consumed, *impl_->context);
}

absl::Status BatchLoader::RestoreState(std::string_view state) {
  ASSIGN_OR_RETURN(LoaderState restored, ParseLoaderState(state, *impl_->context));
  impl_->seconds_waited = seconds_waited();
  impl_->source.reset();
  impl_->consumed = std::move(restored);
  return absl::OkStatus();
}

const LoaderCounters& BatchLoader::counters() const { return impl_->consumed.counters; }
Hash128 BatchLoader::digest() const { return impl_->consumed.digest; }
const std::vector<double>& BatchLoader::shares() const { return impl_->shares; }
const TokenCorpus& BatchLoader::corpus() const { return *impl_->context->corpus; }

double BatchLoader::seconds_waited() const {
  return impl_->seconds_waited + (impl_->source ? impl_->source->seconds_waited() : 0.0);
}

}  // namespace choir
