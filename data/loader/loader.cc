#include "data/loader/loader.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/check.h"
#include "base/status.h"
#include "base/strings.h"
#include "data/loader/loader_state.h"
#include "data/loader/row_source.h"
#include "data/loader/row_tokens.h"
#include "data/loader/text_corpus.h"
#include "data/order/lane.h"
#include "data/order/skip.h"

namespace choir {
namespace {

constexpr int64_t kMostPositions = std::numeric_limits<int32_t>::max();  // of a batch: cu_seqlens

absl::StatusOr<Augmenter> MakeAugmenter(const DataConfig& config, const Corpus& corpus) {
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
  if (path.empty() == text.build.empty()) {
    errors.Add("path", text.build.empty()
                           ? "or text.build must be given: what is trained on"
                           : "and text.build are both given: train on shards or on raw text");
  }
  if (!text.build.empty() && text.cache.empty()) {
    errors.Add("text.cache", "must be given: the folder for the index of the text");
  }
}

struct BatchLoader::Impl {
  std::shared_ptr<const LaneContext> context;
  RowOptions options;
  StepRowsOf rows_of;
  LoaderState consumed;
  std::unique_ptr<RowSource> source;  // made by the first Next
  double seconds_waited = 0;          // of sources that are gone

  void MakeSource();
  absl::StatusOr<std::vector<RowTokens>> DrawRows(int64_t count);
  absl::Status SkipBatches();
  void Count(const Batch& batch);
};

BatchLoader::BatchLoader(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
BatchLoader::~BatchLoader() = default;

absl::StatusOr<std::unique_ptr<BatchLoader>> BatchLoader::Open(
    const DataConfig& config, const std::optional<DataPlan>& given) {
  ASSIGN_OR_RETURN(std::shared_ptr<const Corpus> corpus, OpenCorpus(config));
  ASSIGN_OR_RETURN(std::vector<DocumentStream> streams,
                   corpus->Streams(Split::kTrain, config.mixture.by_source));
  DataPlan plan;
  if (given.has_value()) {
    plan = *given;
  } else {
    ASSIGN_OR_RETURN(plan.mixture,
                     PlanMixture(config.mixture, streams, corpus->languages(), corpus->sources()));
    PlanSkips(config.skip, plan);
  }
  ASSIGN_OR_RETURN(Augmenter augmenter, MakeAugmenter(config, *corpus));
  auto impl = std::make_unique<Impl>();
  impl->context = std::make_shared<const LaneContext>(corpus, config, std::move(streams), plan,
                                                      std::move(augmenter));
  impl->options = {config.sequence_length, config.packing.document_masks,
                   corpus->tokenizer().pad_id, &impl->context->augmenter};
  impl->rows_of = [rows = config.batch_sequences](int64_t) { return StepRows{rows, nullptr}; };
  impl->consumed.ledger = {{0, std::move(plan)}};
  for (int64_t l = 0; l < config.lanes; ++l) {
    impl->consumed.lanes.push_back(Lane(impl->context, l).state());
  }
  return std::unique_ptr<BatchLoader>(new BatchLoader(std::move(impl)));
}

void BatchLoader::SetRows(StepRowsOf rows_of) {
  CHECK(impl_->source == nullptr) << "rows are being made already";
  impl_->rows_of = std::move(rows_of);
}

// Batches that are skipped have the rows of the step that they would have been.
void BatchLoader::Impl::MakeSource() {
  const auto of_batch = [rows_of = rows_of, context = context, first = consumed.counters.batches,
                         step = consumed.counters.steps](int64_t batch) {
    int64_t skipped = 0;
    for (int64_t b = first; b < batch; ++b) skipped += context->plan.SkipsBatch(b);
    return rows_of(step + batch - first - skipped);
  };
  source = std::make_unique<RowSource>(
      context, RowSource::Start{consumed.lanes, consumed.counters.rows, consumed.counters.batches},
      options, of_batch);
}

absl::StatusOr<std::vector<RowTokens>> BatchLoader::Impl::DrawRows(int64_t count) {
  std::vector<RowTokens> made;
  for (int64_t r = 0; r < count; ++r) {
    ASSIGN_OR_RETURN(MadeRow row, source->Next());
    consumed.lanes[consumed.counters.rows % context->config.lanes] = std::move(row.after);
    consumed.counters.rows += 1;
    made.push_back(std::move(row.tokens));
  }
  consumed.counters.batches += 1;
  return made;
}

absl::Status BatchLoader::Impl::SkipBatches() {
  while (context->plan.SkipsBatch(consumed.counters.batches)) {
    RETURN_IF_ERROR(DrawRows(rows_of(consumed.counters.steps).count).status());
  }
  return absl::OkStatus();
}

void BatchLoader::Impl::Count(const Batch& batch) {
  LoaderCounters& counters = consumed.counters;
  counters.steps += 1;
  counters.positions += batch.rows * batch.length;
  counters.labels += batch.num_labels;
  for (const BatchSegment& segment : batch.segments) {
    counters.stream_labels[{segment.language, segment.source}] += segment.length;
  }
}

absl::StatusOr<Batch> BatchLoader::Next() {
  if (impl_->source == nullptr) impl_->MakeSource();
  const int64_t rows = impl_->rows_of(impl_->consumed.counters.steps).count;
  CHECK(rows >= 1 && rows <= kMostPositions / impl_->options.length) << rows;
  RETURN_IF_ERROR(impl_->SkipBatches());
  ASSIGN_OR_RETURN(const std::vector<RowTokens> made, impl_->DrawRows(rows));
  Batch batch = MakeBatch(made, impl_->options, languages().size());
  batch.step = impl_->consumed.counters.steps;
  batch.digest = ExtendDigest(impl_->consumed.digest, batch.step, batch.segments);
  impl_->consumed.digest = batch.digest;
  impl_->Count(batch);
  return batch;
}

std::string BatchLoader::SaveState() const {
  return FormatLoaderState(impl_->consumed, *impl_->context);
}

namespace {

// A new list may leave out what is still to come, and must leave out what was.
absl::Status CheckSkips(const DataPlan& before, const DataPlan& after, int64_t batches) {
  // The lists can begin to differ only where a range of one of them begins or ends.
  std::vector<int64_t> places;
  for (const DataPlan* plan : {&before, &after}) {
    for (const auto& [first, end] : plan->skip_batches) places.insert(places.end(), {first, end});
  }
  std::ranges::sort(places);
  for (const int64_t b : places) {
    if (b >= batches || before.SkipsBatch(b) == after.SkipsBatch(b)) continue;
    return absl::InvalidArgumentError(
        StrCat("data.skip.batches: batch ", b,
               before.SkipsBatch(b) ? " was left out and is not listed any more"
                                    : " was trained on already",
               ", this run is at batch ", batches,
               "; list it as it was, or resume from an earlier checkpoint"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status BatchLoader::RestoreState(std::string_view text) {
  ASSIGN_OR_RETURN(LoaderState restored, ParseLoaderState(text, *impl_->context));
  const DataPlan& plan = impl_->context->plan;
  const DataPlan before = restored.ledger.back().plan;
  if (before != plan) {
    RETURN_IF_ERROR(CheckSkips(before, plan, restored.counters.batches));
    const auto old = std::make_shared<const LaneContext>(
        impl_->context->corpus, impl_->context->config, impl_->context->streams, before,
        impl_->context->augmenter);
    for (size_t l = 0; l < restored.lanes.size(); ++l) {
      restored.lanes[l] =
          ChangePlan(restored.lanes[l], static_cast<int64_t>(l), old, impl_->context);
    }
    restored.ledger.push_back({restored.counters.steps, plan});
  }
  impl_->seconds_waited = seconds_waited();
  impl_->source.reset();
  impl_->consumed = std::move(restored);
  return absl::OkStatus();
}

const LoaderCounters& BatchLoader::counters() const { return impl_->consumed.counters; }
Hash128 BatchLoader::digest() const { return impl_->consumed.digest; }
const DataLedger& BatchLoader::ledger() const { return impl_->consumed.ledger; }
const Corpus& BatchLoader::corpus() const { return *impl_->context->corpus; }
const std::vector<DocumentStream>& BatchLoader::streams() const { return impl_->context->streams; }

std::vector<double> BatchLoader::Epochs() const {
  std::vector<double> epochs;
  for (size_t s = 0; s < streams().size(); ++s) {
    int64_t drawn = 0;
    for (const LaneState& lane : impl_->consumed.lanes) drawn += lane.next[s];
    epochs.push_back(static_cast<double>(drawn) /
                     static_cast<double>(std::max<int64_t>(1, streams()[s].documents)));
  }
  return epochs;
}

std::vector<double> BatchLoader::shares() const {
  const std::vector<MixturePhase>& phases = impl_->context->plan.mixture.phases;
  size_t now = 0;
  while (now + 1 < phases.size() && phases[now + 1].from_tokens <= counters().labels) ++now;
  double total = 0;
  for (const int64_t weight : phases[now].weights) total += static_cast<double>(weight);
  std::vector<double> shares(languages().size(), 0.0);
  for (size_t s = 0; s < streams().size(); ++s) {
    shares[streams()[s].language] += static_cast<double>(phases[now].weights[s]) / total;
  }
  return shares;
}

double BatchLoader::seconds_waited() const {
  return impl_->seconds_waited + (impl_->source ? impl_->source->seconds_waited() : 0.0);
}

}  // namespace choir
