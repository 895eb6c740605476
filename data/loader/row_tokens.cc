#include "data/loader/row_tokens.h"

#include <algorithm>
#include <bit>
#include <numeric>
#include <span>

#include "base/check.h"

namespace choir {

static_assert(std::endian::native == std::endian::little, "the digest is over little-endian bytes");

namespace {

// Positions count from 0 in each segment.
void SetPositions(RowTokens& out) {
  int32_t begin = 0;
  for (const int32_t end : out.segment_ends) {
    std::iota(out.positions.begin() + begin, out.positions.begin() + end, 0);
    begin = end;
  }
}

// `documents`: of the pieces; what is used of each is its id and source.
template <class Document>
RowTokens SegmentsOf(const std::vector<DocumentStream>& streams, const PackedRow& row,
                     const std::vector<Document>& documents, const RowOptions& options) {
  RowTokens out;
  out.segments.reserve(row.pieces.size());
  out.segment_ends.reserve(row.pieces.size() + 1);
  int64_t at = 0;
  for (size_t p = 0; p < row.pieces.size(); ++p) {
    const Piece& piece = row.pieces[p];
    out.segments.push_back({0, at, piece.length, piece.offset, documents[p].id,
                            streams[piece.stream].language, documents[p].source});
    at += piece.length;
    out.segment_ends.push_back(static_cast<int32_t>(at));
  }
  CHECK(at <= options.length);
  if (at < options.length) out.segment_ends.push_back(static_cast<int32_t>(options.length));
  if (!options.document_masks) out.segment_ends.assign(1, static_cast<int32_t>(options.length));
  return out;
}

}  // namespace

RowTokens MakeRowSegments(const std::vector<DocumentStream>& streams, const PackedRow& row,
                          const std::vector<DocumentHead>& heads, const RowOptions& options) {
  return SegmentsOf(streams, row, heads, options);
}

RowTokens MakeRowTokens(const std::vector<DocumentStream>& streams, const PackedRow& row,
                        const std::vector<TokenDocument>& documents, const RowOptions& options) {
  RowTokens out = SegmentsOf(streams, row, documents, options);
  const size_t length = static_cast<size_t>(options.length);
  for (RowEntries* entries : {&out.tokens, &out.labels, &out.positions, &out.language}) {
    entries->resize(length);
  }
  for (size_t p = 0; p < row.pieces.size(); ++p) {
    const Piece& piece = row.pieces[p];
    const int64_t at = out.segments[p].begin;
    const DocumentView view = options.augmenter == nullptr
                                  ? DocumentView(documents[p])
                                  : options.augmenter->Augment(documents[p], piece.epoch);
    CHECK(piece.offset + piece.length < view.length());
    view.CopyTo(piece.offset, piece.length, &out.tokens[at]);
    view.CopyTo(piece.offset + 1, piece.length, &out.labels[at]);
    std::fill_n(out.language.begin() + at, piece.length, out.segments[p].language);
  }
  const int64_t used =
      out.segments.empty() ? 0 : out.segments.back().begin + out.segments.back().length;
  std::fill(out.tokens.begin() + used, out.tokens.end(), options.pad_id);
  std::fill(out.labels.begin() + used, out.labels.end(), kNoLabel);
  std::fill(out.language.begin() + used, out.language.end(), kNoLanguage);
  SetPositions(out);
  return out;
}

Batch MakeBatch(const std::vector<RowTokens>& rows, const RowOptions& options, size_t languages) {
  Batch batch;
  batch.rows = static_cast<int64_t>(rows.size());
  batch.length = options.length;
  for (int64_t r = 0; r < batch.rows; ++r) {
    if (!rows[r].tokens.empty()) batch.stored.push_back(r);
  }
  const TensorOptions i32{DType::kI32, Device::kCpu, MemoryCategory::kWorkspace};
  const Shape shape{static_cast<int64_t>(batch.stored.size()) * batch.length};
  batch.tokens = Tensor::Empty(shape, i32);
  batch.labels = Tensor::Empty(shape, i32);
  batch.positions = Tensor::Empty(shape, i32);
  batch.language = Tensor::Empty(shape, i32);
  for (size_t i = 0; i < batch.stored.size(); ++i) {
    const RowTokens& row = rows[batch.stored[i]];
    const int64_t begin = static_cast<int64_t>(i) * options.length;
    std::ranges::copy(row.tokens, batch.tokens.data<int32_t>() + begin);
    std::ranges::copy(row.labels, batch.labels.data<int32_t>() + begin);
    std::ranges::copy(row.positions, batch.positions.data<int32_t>() + begin);
    std::ranges::copy(row.language, batch.language.data<int32_t>() + begin);
  }
  batch.cu_seqlens = {0};
  batch.language_tokens.assign(languages, 0);
  for (size_t r = 0; r < rows.size(); ++r) {
    const int64_t begin = static_cast<int64_t>(r) * options.length;
    for (const int32_t end : rows[r].segment_ends) {
      batch.cu_seqlens.push_back(static_cast<int32_t>(begin + end));
    }
    for (BatchSegment segment : rows[r].segments) {
      segment.row = static_cast<int64_t>(r);
      batch.segments.push_back(segment);
      batch.language_tokens[segment.language] += segment.length;
      batch.num_labels += segment.length;
    }
  }
  return batch;
}

Hash128 ExtendDigest(Hash128 before, int64_t step, const std::vector<BatchSegment>& segments) {
  Hasher128 hasher;
  const auto add = [&](std::initializer_list<uint64_t> numbers) {
    hasher.Update(std::as_bytes(std::span(numbers.begin(), numbers.size())));
  };
  add({before.high, before.low});
  for (const BatchSegment& segment : segments) {
    add({static_cast<uint64_t>(step), static_cast<uint64_t>(segment.row), segment.document_id,
         static_cast<uint64_t>(segment.offset), static_cast<uint64_t>(segment.length)});
  }
  return hasher.Digest();
}

}  // namespace choir
