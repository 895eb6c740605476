#include "ops/attention.h"

#include "ops/attention_backward.h"
#include "ops/attention_forward.h"
#include "ops/launch.h"
#include "ops/parallel_for.h"

namespace choir {
namespace {

using Boundaries = std::vector<int32_t>;
using Poll = std::function<void()>;

// Documents that are at most this long share a task with their neighbours.
constexpr int64_t kShortTokens = 64;

// Consecutive documents: one, or several short ones of about kShortTokens together.
struct Bundle {
  size_t begin, end;
  int64_t length;  // of all
};

std::vector<Bundle> MakeBundles(const Boundaries& boundaries) {
  std::vector<Bundle> bundles;
  for (size_t i = 0; i + 1 < boundaries.size(); ++i) {
    const int64_t length = boundaries[i + 1] - boundaries[i];
    if (length == 0) continue;
    if (!bundles.empty() && bundles.back().length + length <= kShortTokens) {
      bundles.back().end = i + 1;
      bundles.back().length += length;
    } else {
      bundles.push_back({i, i + 1, length});
    }
  }
  return bundles;
}

// Calls body(first token, length) for the documents of a bundle.
template <class Body>
void ForEachDocument(const Bundle& bundle, const Boundaries& boundaries, Body&& body) {
  for (size_t i = bundle.begin; i < bundle.end; ++i) {
    const int64_t length = boundaries[i + 1] - boundaries[i];
    if (length > 0) body(static_cast<int64_t>(boundaries[i]), length);
  }
}

template <class T>
void ForwardCpu(const Tensor& qkv, const Boundaries& boundaries, T scale,
                const AttentionResult& result, const Poll& poll) {
  const AttentionDims d(qkv);
  const int64_t tile_rows = TileRows(d.head_dim);
  struct Task {
    Bundle bundle;
    int64_t group;
    int64_t row_begin, row_end;  // within every document of the bundle
  };
  std::vector<Task> tasks;
  for (const Bundle& bundle : MakeBundles(boundaries)) {
    const int64_t rows = bundle.length * d.heads;
    // A task per tile, unless documents are short; the tiles that see most keys first.
    const int64_t step = bundle.length <= kShortTokens ? rows : tile_rows;
    for (int64_t g = 0; g < d.groups; ++g) {
      for (int64_t b = (rows - 1) / step; b >= 0; --b) {
        tasks.push_back({bundle, g, b * step, std::min(rows, (b + 1) * step)});
      }
    }
  }
  PollingFor(static_cast<int64_t>(tasks.size()), poll, [&](int64_t i) {
    const auto& [bundle, group, row_begin, row_end] = tasks[static_cast<size_t>(i)];
    ForEachDocument(bundle, boundaries, [&](int64_t token, int64_t length) {
      const HeadRows<const T> q = d.Queries(static_cast<const T*>(qkv.data<T>()), token, group);
      const T* k = q.data + d.heads * d.head_dim;
      T* row_lse = result.lse.data<T>() + (token * d.groups + group) * d.heads;
      const AttentionForward<T> forward{q,
                                        k,
                                        k + d.head_dim,
                                        d.qkv_token(),
                                        length,
                                        0,
                                        scale,
                                        d.Outputs(result.out.data<T>(), token, group),
                                        row_lse,
                                        d.groups * d.heads};
      const int64_t last = std::min(row_end, length * d.heads);
      for (int64_t row = row_begin; row < last; row += tile_rows) {
        AttendRows(forward, row, std::min(last, row + tile_rows));
      }
    });
  });
}

template <class T>
void BackwardCpu(const AttentionGradient& in, const Boundaries& boundaries, T scale,
                 const Tensor& dqkv, const Poll& poll) {
  const AttentionDims d(in.qkv);
  std::vector<Bundle> bundles = MakeBundles(boundaries);
  auto run = [&](int64_t token, int64_t length, int64_t group, int64_t i, int64_t j) {
    const int64_t k = d.heads * d.head_dim, v = k + d.head_dim;
    const auto q = d.Queries(static_cast<const T*>(in.qkv.data<T>()), token, group);
    const auto dq = d.Queries(dqkv.data<T>(), token, group);
    const AttentionBackward<T> backward{
        q,
        d.Outputs(static_cast<const T*>(in.out.data<T>()), token, group),
        d.Outputs(static_cast<const T*>(in.dout.data<T>()), token, group),
        q.data + k,
        q.data + v,
        d.qkv_token(),
        length,
        length,
        0,
        in.lse.data<T>() + (token * d.groups + group) * d.heads,
        d.groups * d.heads,
        scale,
        dq,
        dq.data + k,
        dq.data + v,
        /*add=*/false};
    BackwardChunks(backward, i, j);
  };
  struct Task {
    Bundle bundle;
    int64_t group, chunk;
  };
  // Diagonal after diagonal of the chunks: two tasks of one diagonal share neither queries nor
  // keys, and every sum has one order.
  for (int64_t diagonal = 0; !bundles.empty(); ++diagonal) {
    std::vector<Task> tasks;
    for (const Bundle& bundle : bundles) {
      const int64_t chunks = (bundle.length + kTileKeys - 1) / kTileKeys;
      for (int64_t g = 0; g < d.groups; ++g) {
        for (int64_t j = 0; j + diagonal < chunks; ++j) tasks.push_back({bundle, g, j});
      }
    }
    PollingFor(static_cast<int64_t>(tasks.size()), poll, [&](int64_t t) {
      const auto& [bundle, group, j] = tasks[static_cast<size_t>(t)];
      ForEachDocument(bundle, boundaries, [&, g = group, j = j](int64_t token, int64_t length) {
        run(token, length, g, j + diagonal, j);
      });
    });
    std::erase_if(bundles, [&](const Bundle& b) { return b.length <= (diagonal + 1) * kTileKeys; });
  }
}

void CheckQkv(const Tensor& qkv, const Boundaries& boundaries) {
  CHECK(qkv.shape().rank() == 4) << "[T, G, R + 2, D] is wanted, not " << qkv.shape();
  CHECK(qkv.dim(2) >= 3) << "a query, a key and a value";
  CHECK(qkv.dim(3) <= kRowElements);
  CHECK(!boundaries.empty());
  CHECK(boundaries.front() == 0);
  CHECK(boundaries.back() == qkv.dim(0)) << "the last document does not end with the last token";
  CHECK(std::is_sorted(boundaries.begin(), boundaries.end()));
}

// Of the forward pass; without bytes.
Work AttentionWork(const char* name, const AttentionDims& d, const Boundaries& boundaries) {
  int64_t longest = 0;
  for (size_t i = 0; i + 1 < boundaries.size(); ++i) {
    longest = std::max<int64_t>(longest, boundaries[i + 1] - boundaries[i]);
  }
  Work work = AttentionWork(name, d, VisiblePairs(boundaries));
  work.m = d.tokens * d.groups * d.heads;
  work.n = longest;
  return work;
}

}  // namespace

double VisiblePairs(const std::vector<int32_t>& boundaries) {
  double pairs = 0;
  for (size_t i = 0; i + 1 < boundaries.size(); ++i) {
    pairs += CausalPairs(boundaries[i + 1] - boundaries[i]);
  }
  return pairs;
}

AttentionResult AttendCausal(const Tensor& qkv, const std::vector<int32_t>& boundaries,
                             double scale, const Poll& poll) {
  CheckQkv(qkv, boundaries);
  const AttentionDims d(qkv);
  const TensorOptions options = qkv.options(MemoryCategory::kActivations);
  AttentionResult result{Tensor::Empty({d.tokens, d.out_token()}, options),
                         Tensor::Empty({d.tokens, d.groups * d.heads}, options)};
  Work work = AttentionWork("attention", d, boundaries);
  work.bytes = BytesOf(qkv, result.out, result.lse);
  Launch(qkv.device(), work, [&] {
    DispatchFloat(qkv.dtype(), [&]<class T>() {
      ForwardCpu(qkv, boundaries, static_cast<T>(scale), result, poll);
    });
  });
  return result;
}

Tensor AttendCausalBackward(const AttentionGradient& in, const std::vector<int32_t>& boundaries,
                            double scale, const Poll& poll) {
  Tensor dqkv = Tensor::Empty(in.qkv.shape(), in.dout.options());
  Work work = AttentionWork("attention_backward", AttentionDims(in.qkv), boundaries);
  work.flops *= 2;
  work.bytes = BytesOf(in.qkv, in.out, in.lse, in.dout, dqkv);
  Launch(dqkv.device(), work, [&] {
    DispatchFloat(dqkv.dtype(), [&]<class T>() {
      BackwardCpu(in, boundaries, static_cast<T>(scale), dqkv, poll);
    });
  });
  return dqkv;
}

Var CausalAttention(Tape& tape, const Var& qkv,
                    std::shared_ptr<const std::vector<int32_t>> boundaries, double scale,
                    const Tag& tag) {
  Saved xs = qkv.Save();
  std::vector<Var> results = tape.Compute({tag, "attention.lse"}, [xs, boundaries, scale] {
    AttentionResult r = AttendCausal(xs.Get(), *boundaries, scale);
    return std::vector<Tensor>{std::move(r.out), std::move(r.lse)};
  });
  Var out = std::move(results[0]);
  Saved outs = out.Save(), lses = results[1].Save();
  tape.Record({&out}, [xs, outs, lses, boundaries, scale, gx = qkv.grad()](Sink& sink) {
    if (gx == nullptr) return;
    const AttentionGradient in{xs.Get(), outs.Get(), lses.Get(), sink.OutputGrad(0)};
    sink.Add(gx, AttendCausalBackward(in, *boundaries, scale));
  });
  return out;
}

}  // namespace choir
