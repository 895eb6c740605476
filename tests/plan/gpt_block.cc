#include "tests/plan/gpt_block.h"

#include <string_view>
#include <vector>

#include "base/check.h"
#include "tests/ops/recompute_where.h"

namespace choir {
namespace {

Tensor Make(const Shape& shape, DType dtype = DType::kF16) {
  return Tensor::Empty(shape, {dtype, Device::kMeta, MemoryCategory::kActivations});
}

Tensor MakeMask(const Shape& shape) {
  CHECK(shape.NumElements() % 4 == 0) << shape;
  return Make({shape.NumElements() / 4}, DType::kI32);
}

// An op of one input; what it saves for its gradient is `saves`.
enum class Saves { kNothing, kInput, kOutput };
Var Unary(Tape& tape, const Tag& tag, const Var& x, const Shape& result, Saves saves,
          DType dtype = DType::kF16) {
  Var y = tape.Compute(tag, [xs = x.Save(), result, dtype] {
    xs.Get();
    return Make(result, dtype);
  });
  Saved saved;
  if (saves == Saves::kInput) saved = x.Save();
  if (saves == Saves::kOutput) saved = y.Save();
  tape.Record({&y}, [saved, saves, gx = x.grad(), from = x.shape()](Sink& sink) {
    if (saves != Saves::kNothing) saved.Get();
    sink.Add(gx, Make(from));
  });
  return y;
}

// A product of two tensors, which saves both.
Var Binary(Tape& tape, const Tag& tag, const Var& a, const Var& b, const Shape& result) {
  const Saved as = a.Save(), bs = b.Save();
  Var y = tape.Compute(tag, [as, bs, result] {
    as.Get();
    bs.Get();
    return Make(result);
  });
  tape.Record({&y}, [as, bs, ga = a.grad(), gb = b.grad()](Sink& sink) {
    sink.Add(ga, Make(as.Get().shape()));
    sink.Add(gb, Make(bs.Get().shape()));
  });
  return y;
}

Var Residual(Tape& tape, const Tag& tag, const Var& a, const Var& b) {
  Var y = tape.Compute(tag, [as = a.Save(), bs = b.Save()] {
    bs.Get();
    return Make(as.Get().shape());
  });
  tape.Record({&y}, [ga = a.grad(), gb = b.grad()](Sink& sink) {
    sink.Add(ga, sink.OutputGrad(0));
    sink.Add(gb, sink.OutputGrad(0));
  });
  return y;
}

// Saves its mask.
Var Dropout(Tape& tape, const Tag& tag, const Tag& mask_tag, const Var& x) {
  std::vector<Var> results = tape.Compute({tag, mask_tag}, [xs = x.Save()] {
    const Shape shape = xs.Get().shape();
    return std::vector<Tensor>{Make(shape), MakeMask(shape)};
  });
  Var y = std::move(results[0]);
  tape.Record({&y}, [mask = results[1].Save(), gx = x.grad(), from = x.shape()](Sink& sink) {
    mask.Get();
    sink.Add(gx, Make(from));
  });
  return y;
}

int64_t Tokens(const GptShape& g) { return g.sequence * g.microbatch; }
int64_t TokensBetween(const GptShape& g) {
  return g.sequence_parallel ? Tokens(g) / g.tensor : Tokens(g);
}

// To all tokens, before a part that is split otherwise.
Var Gather(Tape& tape, const Var& x, const GptShape& g) {
  if (!g.sequence_parallel) return x;
  return Unary(tape, "gather", x, {Tokens(g), x.dim(1)}, Saves::kNothing);
}
// The sum of the ranks' parts, of all tokens or of this rank's.
Var SumParts(Tape& tape, const Var& x, const GptShape& g) {
  if (g.tensor == 1) return x;
  return Unary(tape, "sum_parts", x, {TokensBetween(g), x.dim(1)}, Saves::kNothing);
}

Var Norm(Tape& tape, const Var& x) { return Unary(tape, "norm", x, x.shape(), Saves::kInput); }
Var Project(Tape& tape, const Tag& tag, const Var& x, int64_t width) {
  return Unary(tape, tag, x, {x.dim(0), width}, Saves::kInput);
}

Var AttentionPart(Tape& tape, const Var& x, const GptShape& g) {
  const int64_t width = g.hidden / g.tensor;
  const Shape scores{g.microbatch * g.heads / g.tensor, g.sequence, g.sequence};
  Var q, k, v;
  {
    const Var all = Gather(tape, x, g);
    q = Project(tape, "query", all, width);
    k = Project(tape, "key", all, width);
    v = Project(tape, "value", all, width);
  }
  Var weights = Binary(tape, "scores", q, k, scores);
  weights = Unary(tape, "softmax", weights, scores, Saves::kOutput);
  weights = Dropout(tape, "attention.dropout", "attention.mask", weights);
  const Var seen = Binary(tape, "attention", weights, v, {Tokens(g), width});
  return SumParts(tape, Project(tape, "attention.output", seen, g.hidden), g);
}

Var MlpPart(Tape& tape, const Var& x, const GptShape& g) {
  const int64_t width = 4 * g.hidden / g.tensor;
  const Var up = Project(tape, "mlp.up", Gather(tape, x, g), width);
  const Var active = Unary(tape, "gelu", up, up.shape(), Saves::kInput);
  return SumParts(tape, Project(tape, "mlp.down", active, g.hidden), g);
}

}  // namespace

RecomputePolicy PolicyOf(GptRecompute recompute, bool sequence_parallel) {
  return RecomputeWhere([=](std::string_view tag, int layer) {
    if (sequence_parallel && tag == "gather") return true;
    if (layer < 0 || recompute == GptRecompute::kNone) return false;
    if (recompute == GptRecompute::kFull) return tag != "block";
    return tag == "scores" || tag == "softmax" || tag == "attention.dropout" ||
           tag == "attention.mask";
  });
}

Var GptEmbedding(Tape& tape, const GptShape& g) {
  Var x = tape.Compute("embedding", [=] { return Make({TokensBetween(g), g.hidden}); });
  tape.Record({&x}, [](Sink&) {});
  return Dropout(tape, "block", "embedding.mask", x);
}

Var GptBlock(Tape& tape, const Var& x, const GptShape& g) {
  Var middle;
  {
    const Var part = AttentionPart(tape, Norm(tape, x), g);
    middle = Residual(tape, "residual", x, Dropout(tape, "dropout", "mask", part));
  }
  const Var part = MlpPart(tape, Norm(tape, middle), g);
  return Residual(tape, "block", middle, Dropout(tape, "dropout", "mask", part));
}

Var GptLoss(Tape& tape, const Var& x, const GptShape& g) {
  const Var all = Gather(tape, Norm(tape, x), g);
  const Shape logits{Tokens(g), g.vocab / g.tensor};
  const Var scores = Project(tape, "logits", all, logits.dim(1));
  const Var wide = Unary(tape, "logits.f32", scores, logits, Saves::kNothing, DType::kF32);
  return Unary(tape, "loss", wide, {1}, Saves::kInput);
}

}  // namespace choir
