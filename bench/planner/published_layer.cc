#include "bench/planner/published_layer.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace choir::planner {
namespace {

constexpr double kBF16 = 2;  // bytes

// Shapes of one rank's share of one microbatch.
struct Share {
  explicit Share(const LayerPlace& place)
      : run(*place.run),
        m(run.model),
        l(run.layout),
        ranks_per_node(place.ranks_per_node),
        rows(static_cast<int64_t>(run.microbatch) * m.seq / l.context),
        cut_rows(l.sequence ? rows / l.tensor : rows),
        heads(std::max(1, m.heads / l.tensor)),
        kv_heads(std::max(1, m.kv_heads / l.tensor)) {}

  const PublishedRun& run;
  const PublishedModel& m;
  const PublishedLayout& l;
  int ranks_per_node;
  int64_t rows;      // tokens in the blocks
  int64_t cut_rows;  // between them
  int64_t heads, kv_heads;
};

bool IsFp8(MatmulFormat format) {
  return format == MatmulFormat::kFp8Block || format == MatmulFormat::kMxfp8;
}

double D(int64_t value) { return static_cast<double>(value); }

void AddMemory(PassWork& pass, const char* name, double bytes) {
  if (bytes > 0) pass.work.push_back({{.kind = WorkKind::kMemory, .name = name, .bytes = bytes}});
}

struct Product {
  int64_t rows = 0, in = 0, out = 0;
  MatmulFormat format = MatmulFormat::kBF16;
  int64_t groups = 1;   // above 1: of experts
  bool weights = true;  // their gradients too
};

Work ProductWork(const char* name, const Product& p) {
  Work work{.kind = p.groups > 1 ? WorkKind::kGrouped : WorkKind::kMatmul, .name = name};
  work.flops = 2 * D(p.rows) * D(p.in) * D(p.out);
  work.groups = p.groups;
  work.operands = p.format;
  return work;
}

// A linear layer: forward, and both gradients. FP8 operands are rounded once for each use along a
// dim; gradients of weights add to an F32 sum.
void AddLinear(LayerPart& part, const Product& p) {
  const bool low = IsFp8(p.format);
  const double element = low ? 1 : kBF16;
  const double weights = D(p.groups) * D(p.in) * D(p.out);
  Work work = ProductWork("gemm", p);
  work.m = p.rows, work.n = p.out, work.k = p.in;
  work.bytes = element * (D(p.rows) * D(p.in) + weights) + kBF16 * D(p.rows) * D(p.out);
  part.forward.work.push_back({work});
  if (low) AddMemory(part.forward, "cast", 4 * D(p.rows) * D(p.in));
  std::swap(work.n, work.k);
  work.bytes = element * (D(p.rows) * D(p.out) + weights) + kBF16 * D(p.rows) * D(p.in);
  part.backward.work.push_back({work});
  if (low) AddMemory(part.backward, "cast", 4 * D(p.rows) * D(p.out));
  if (!p.weights) return;
  work.m = p.out, work.n = p.in, work.k = p.rows / p.groups;
  // Every group has a product of its own: none shares rows with another.
  work.kind = WorkKind::kMatmul;
  work.bytes = element * D(p.rows) * D(p.in + p.out) + 8 * weights;
  part.backward.work.push_back({work});
}

void AddExchange(PassWork& pass, ExchangeItem item) {
  if (item.ranks > 1) pass.exchanges.push_back(std::move(item));
}

ExchangeItem TensorExchange(const Share& s, ExchangeKind kind) {
  ExchangeItem item{.kind = kind, .axis = "tensor", .ranks = s.l.tensor};
  item.ranks_per_node = RanksOnNode(s.l.tensor, 1, s.ranks_per_node);
  item.bytes = kBF16 * D(s.rows) * s.m.hidden;
  item.overlap = s.run.method.tensor_overlap ? Overlap::kPass : Overlap::kNone;
  return item;
}

// The way into a block: a copy, or a gather along the sequence, which the backward pass repeats for
// the gradients of weights.
void EnterBlock(const Share& s, LayerPart& part) {
  if (s.l.sequence) {
    AddExchange(part.forward, TensorExchange(s, ExchangeKind::kAllGather));
    AddExchange(part.backward, TensorExchange(s, ExchangeKind::kAllGather));
    AddExchange(part.backward, TensorExchange(s, ExchangeKind::kReduceScatter));
  } else {
    AddExchange(part.backward, TensorExchange(s, ExchangeKind::kAllReduce));
  }
}

void LeaveBlock(const Share& s, LayerPart& part) {
  if (s.l.sequence) {
    AddExchange(part.forward, TensorExchange(s, ExchangeKind::kReduceScatter));
    AddExchange(part.backward, TensorExchange(s, ExchangeKind::kAllGather));
  } else {
    AddExchange(part.forward, TensorExchange(s, ExchangeKind::kAllReduce));
  }
}

Product Linear(const Share& s, int64_t rows, int64_t in, int64_t out) {
  return {.rows = rows,
          .in = in,
          .out = out,
          .format = s.run.method.format,
          .weights = !s.run.method.frozen};
}

LayerPart NormPart(const Share& s) {
  LayerPart part{.name = "norm"};
  const double bytes = kBF16 * D(s.cut_rows) * s.m.hidden;
  for (int i = 0; i < 2; ++i) {
    AddMemory(part.forward, "norm", 2 * bytes);
    AddMemory(part.backward, "norm_backward", 4 * bytes);
  }
  return part;
}

LayerPart QkvPart(const Share& s) {
  LayerPart part{.name = "qkv"};
  EnterBlock(s, part);
  if (s.m.kv_lora > 0) {
    AddLinear(part, Linear(s, s.cut_rows, s.m.hidden, s.m.q_lora));
    AddLinear(part, Linear(s, s.cut_rows, s.m.hidden, s.m.kv_lora + s.m.qk_rope));
    return part;
  }
  const int64_t out = (s.heads + 2 * s.kv_heads) * s.m.head_dim;
  AddLinear(part, Linear(s, s.rows, s.m.hidden, out));
  AddMemory(part.forward, "rope", 2 * kBF16 * D(s.rows) * D(out));
  AddMemory(part.backward, "rope_backward", 2 * kBF16 * D(s.rows) * D(out));
  return part;
}

// The latent vectors of queries and keys to heads.
LayerPart UpProjectionPart(const Share& s) {
  LayerPart part{.name = "up_proj"};
  const int64_t q = s.heads * (s.m.qk_nope + s.m.qk_rope), kv = s.heads * (s.m.qk_nope + s.m.v_dim);
  AddLinear(part, Linear(s, s.rows, s.m.q_lora, q));
  AddLinear(part, Linear(s, s.rows, s.m.kv_lora, kv));
  AddMemory(part.forward, "rope", 2 * kBF16 * D(s.rows) * D(q + kv));
  AddMemory(part.backward, "rope_backward", 2 * kBF16 * D(s.rows) * D(q + kv));
  return part;
}

// Scores as products of their own, with scale, mask, softmax and dropout between them.
void AddUnfusedAttention(const Share& s, LayerPart& part) {
  const int64_t sequences = s.run.microbatch * s.heads;
  Work scores{.kind = WorkKind::kMatmul, .name = "scores"};
  scores.m = s.m.seq, scores.n = s.m.seq, scores.k = s.m.head_dim, scores.groups = sequences;
  scores.flops = 2 * D(sequences) * s.m.seq * D(s.m.seq) * s.m.head_dim;
  scores.operands = MatmulFormat::kBF16;
  const double square = D(sequences) * s.m.seq * s.m.seq;
  scores.bytes = kBF16 * (square + 2 * D(sequences) * s.m.seq * s.m.head_dim);
  part.forward.work.push_back({scores, 2});
  part.backward.work.push_back({scores, 4});
  AddMemory(part.forward, "softmax", 2 * kBF16 * square);
  AddMemory(part.backward, "softmax_backward", 3 * kBF16 * square);
  if (!s.m.dropout) return;
  AddMemory(part.forward, "dropout", (2 * kBF16 + 1) * square);
  AddMemory(part.backward, "dropout_backward", (2 * kBF16 + 1) * square);
}

LayerPart AttentionPart(const Share& s, bool window) {
  LayerPart part{.name = "core_attn"};
  if (!s.m.fused_attention || s.run.method.unfused_attention) {
    AddUnfusedAttention(s, part);
    return part;
  }
  const bool latent = s.m.kv_lora > 0;
  const int qk = latent ? s.m.qk_nope + s.m.qk_rope : s.m.head_dim;
  const int v = latent ? s.m.v_dim : s.m.head_dim;
  Work work{.kind = WorkKind::kAttention, .name = "attention", .operands = MatmulFormat::kBF16};
  if (s.run.method.fp8_attention) work.operands = s.run.method.format;
  // Keys that a query sees on average: half of them, where it is causal.
  const double keys = window ? s.m.window : s.m.seq / 2.0;
  work.flops = 2 * D(s.rows) * D(s.heads) * keys * (qk + v);
  work.bytes = kBF16 * D(s.rows) * D(s.heads * (qk + v) + s.kv_heads * (qk + v));
  work.m = s.rows, work.n = s.m.seq, work.k = qk;
  part.forward.work.push_back({work});
  work.name = "attention_backward";
  work.flops *= 2.5;
  work.bytes *= 2;
  part.backward.work.push_back({work});
  // Keys and values go around the context ranks, their gradients too.
  ExchangeItem ring{.kind = ExchangeKind::kAllGather, .axis = "context", .ranks = s.l.context};
  ring.ranks_per_node = RanksOnNode(s.l.context, s.l.tensor, s.ranks_per_node);
  ring.bytes = kBF16 * D(s.rows) * s.l.context * D(s.kv_heads) * (qk + v);
  ring.overlap = Overlap::kPass;
  AddExchange(part.forward, ring);
  AddExchange(part.backward, ring);
  ring.kind = ExchangeKind::kReduceScatter;
  AddExchange(part.backward, ring);
  return part;
}

LayerPart ProjectionPart(const Share& s) {
  LayerPart part{.name = "proj"};
  const int v = s.m.kv_lora > 0 ? s.m.v_dim : s.m.head_dim;
  AddLinear(part, Linear(s, s.rows, s.heads * v, s.m.hidden));
  LeaveBlock(s, part);
  return part;
}

LayerPart ResidualPart(const Share& s) {
  LayerPart part{.name = "residual"};
  const double bytes = kBF16 * D(s.cut_rows) * s.m.hidden * (s.m.dropout ? 3.5 : 3);
  for (int i = 0; i < 2; ++i) {
    AddMemory(part.forward, "residual", bytes);
    AddMemory(part.backward, "residual_backward", bytes);
  }
  return part;
}

void AddActivation(const PublishedModel& m, double rows, double width, LayerPart& part) {
  AddMemory(part.forward, "activation", kBF16 * rows * width * (m.gated ? 3 : 2));
  AddMemory(part.backward, "activation_backward", kBF16 * rows * width * (m.gated ? 5 : 3));
}

void AddDenseMlp(const Share& s, std::vector<LayerPart>& parts) {
  const int64_t width = s.m.ffn / s.l.tensor;
  LayerPart up{.name = "fc1"}, act{.name = "act"}, down{.name = "fc2"};
  EnterBlock(s, up);
  AddLinear(up, Linear(s, s.rows, s.m.hidden, width * (s.m.gated ? 2 : 1)));
  AddActivation(s.m, D(s.rows), D(width), act);
  AddLinear(down, Linear(s, s.rows, width, s.m.hidden));
  LeaveBlock(s, down);
  for (LayerPart* part : {&up, &act, &down}) parts.push_back(std::move(*part));
}

// Tokens that a rank routes: its part of the sequence, where tensor ranks hold other experts.
int64_t RoutedRows(const Share& s) { return s.rows / (s.l.tensor / s.l.expert_tensor); }

LayerPart DispatchPart(const Share& s) {
  LayerPart part{.name = "dispatch"};
  const PublishedMethod& method = s.run.method;
  ExchangeItem item{.kind = ExchangeKind::kAllToAll, .axis = "expert", .ranks = s.l.expert};
  item.ranks_per_node = RanksOnNode(s.l.expert, s.l.expert_tensor, s.ranks_per_node);
  // A token goes once to each place that it has an expert on, on average, or once for each choice.
  double copies = s.m.topk;
  if (method.dedupe) {
    const double nodes = std::ceil(D(item.ranks) / item.ranks_per_node);
    const double places = nodes > 1 ? nodes : item.ranks;
    copies = places * (1 - std::pow(1 - 1 / places, s.m.topk));
  }
  const double values = D(RoutedRows(s)) * s.m.hidden * copies;
  item.overlap = method.expert_overlap ? Overlap::kPass : Overlap::kNone;
  item.bytes = kBF16 * values;
  AddExchange(part.forward, item);  // there
  AddExchange(part.forward, item);  // and back
  AddExchange(part.backward, item);
  AddExchange(part.backward, item);
  return part;
}

LayerPart RouterPart(const Share& s) {
  LayerPart part{.name = "router"};
  const double rows = D(RoutedRows(s));
  Product gate{.rows = RoutedRows(s), .in = s.m.hidden, .out = s.m.experts};
  gate.weights = !s.run.method.frozen;
  AddLinear(part, gate);
  AddMemory(part.forward, "topk", 4 * 4 * rows * s.m.experts);
  AddMemory(part.backward, "topk_backward", 4 * 4 * rows * s.m.experts);
  const double chosen = kBF16 * rows * s.m.topk * s.m.hidden;
  for (PassWork* pass : {&part.forward, &part.backward}) {
    AddMemory(*pass, "permute", 2 * chosen);
    AddMemory(*pass, "unpermute", 2 * chosen);
  }
  return part;
}

void AddExperts(const Share& s, std::vector<LayerPart>& parts) {
  const int64_t rows = RoutedRows(s) * s.m.topk;  // as many come in as go out: balanced
  const int64_t groups = std::max(1, s.m.experts / s.l.expert);
  const int64_t width = s.m.moe_ffn / s.l.expert_tensor;
  LayerPart up{.name = "experts_up"}, act{.name = "moe_act"}, down{.name = "experts_down"};
  Product product = Linear(s, rows, s.m.hidden, width * (s.m.gated ? 2 : 1));
  product.groups = groups;
  AddLinear(up, product);
  AddActivation(s.m, D(rows), D(width), act);
  product = Linear(s, rows, width, s.m.hidden);
  product.groups = groups;
  AddLinear(down, product);
  for (LayerPart* part : {&up, &act, &down}) parts.push_back(std::move(*part));
  if (s.m.shared == 0) return;
  LayerPart shared{.name = "shared"};
  const int64_t shared_width = static_cast<int64_t>(s.m.shared) * s.m.moe_ffn / s.l.tensor;
  AddLinear(shared, Linear(s, s.rows, s.m.hidden, shared_width * (s.m.gated ? 2 : 1)));
  AddActivation(s.m, D(s.rows), D(shared_width), shared);
  AddLinear(shared, Linear(s, s.rows, shared_width, s.m.hidden));
  EnterBlock(s, shared);
  LeaveBlock(s, shared);
  parts.push_back(std::move(shared));
}

}  // namespace

int RanksOnNode(int ranks, int stride, int ranks_per_node) {
  return std::clamp(ranks_per_node / stride, 1, ranks);
}

std::vector<LayerPart> LayerParts(const LayerPlace& place, bool dense, bool window) {
  const Share s(place);
  std::vector<LayerPart> parts = {NormPart(s), QkvPart(s)};
  if (s.m.kv_lora > 0) parts.push_back(UpProjectionPart(s));
  parts.push_back(AttentionPart(s, window));
  parts.push_back(ProjectionPart(s));
  parts.push_back(ResidualPart(s));
  if (dense) {
    AddDenseMlp(s, parts);
  } else {
    parts.push_back(RouterPart(s));
    parts.push_back(DispatchPart(s));
    AddExperts(s, parts);
  }
  return parts;
}

LayerPart HeadPart(const LayerPlace& place) {
  const Share s(place);
  LayerPart part{.name = "head"};
  EnterBlock(s, part);
  Product head{.rows = s.rows, .in = s.m.hidden, .out = s.m.vocab / s.l.tensor};
  head.weights = !s.run.method.frozen;
  AddLinear(part, head);
  const double logits = D(s.rows) * D(head.out);
  AddMemory(part.forward, "loss", 10 * logits);
  AddMemory(part.backward, "loss_backward", 8 * logits);
  return part;
}

LayerPart EmbeddingPart(const LayerPlace& place) {
  const Share s(place);
  LayerPart part{.name = "embedding"};
  AddMemory(part.forward, "embedding", 2 * kBF16 * D(s.rows) * s.m.hidden);
  AddMemory(part.backward, "embedding_backward", 3 * kBF16 * D(s.rows) * s.m.hidden);
  LeaveBlock(s, part);
  return part;
}

LayerPart PredictionPart(const LayerPlace& place) {
  const Share s(place);
  LayerPart part{.name = "prediction"};
  AddLinear(part, Linear(s, s.rows, 2 * s.m.hidden, s.m.hidden / s.l.tensor));
  return part;
}

}  // namespace choir::planner
