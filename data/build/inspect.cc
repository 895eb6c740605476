// The commands of data/build/commands.h that look at what was built.
#include "base/status.h"
#include "base/strings.h"
#include "data/build/commands.h"
#include "data/build/data_report.h"
#include "data/loader/loader.h"
#include "data/shard/token_corpus.h"
#include "data/tokenizer/tokenizer.h"

namespace choir {

absl::Status PrintDataStats(const std::string& path, std::ostream& out) {
  ASSIGN_OR_RETURN(const std::shared_ptr<const TokenCorpus> corpus, TokenCorpus::Open(path));
  PrintDataReport(corpus->index(), out);
  return absl::OkStatus();
}

absl::Status PeekBatch(const DataConfig& config, int64_t step, std::ostream& out) {
  if (step < 0) return absl::InvalidArgumentError(StrCat("step must be at least 0, got ", step));
  ASSIGN_OR_RETURN(const std::unique_ptr<BatchLoader> loader, BatchLoader::Open(config));
  ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer, loader->corpus().OpenItsTokenizer());
  const auto all_of_the_last = [&config, step](int64_t s) {
    return StepRows{config.batch_sequences, [s, step](int64_t) { return s == step; }};
  };
  loader->SetRows(all_of_the_last);
  Batch batch;
  for (int64_t s = 0; s <= step; ++s) {
    ASSIGN_OR_RETURN(batch, loader->Next());
  }
  out << "step " << batch.step << ": " << batch.rows << " rows of " << batch.length << ", "
      << batch.num_labels << " labels, " << batch.rows * batch.length - batch.num_labels
      << " padding, digest " << ToHex(batch.digest) << '\n';
  for (const BatchSegment& segment : batch.segments) {
    const int64_t begin = segment.row * batch.length + segment.begin;
    const std::span<const int32_t> tokens(batch.tokens.data<int32_t>() + begin,
                                          static_cast<size_t>(segment.length));
    const int32_t last = batch.labels.data<int32_t>()[begin + segment.length - 1];
    out << "--- row " << segment.row << " [" << segment.begin << ", "
        << segment.begin + segment.length << ") " << loader->languages()[segment.language]
        << " document " << ToHex(segment.document_id) << " from token " << segment.offset
        << (last == tokenizer->eos_id() ? "" : ", cut") << '\n'
        << tokenizer->Decode(tokens) << tokenizer->Bytes(last) << '\n';
  }
  return absl::OkStatus();
}

}  // namespace choir
