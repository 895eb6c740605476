#include "optim/precision.h"

#include <algorithm>
#include <cstdio>

#include "base/strings.h"
#include "optim/adamw.h"

namespace choir {
namespace {

// What a recipe means.
struct Recipe {
  MatmulFormat matmul, head;
  ValueFormat activations, parameters;
  bool master;
  MomentFormat moments;
};

// fp16 keeps F32 weights and rounds them where they are used: the same numbers as a 16-bit copy
// beside a master, in less memory.
Recipe Meaning(PrecisionRecipe recipe) {
  using M = MatmulFormat;
  using V = ValueFormat;
  switch (recipe) {
    case PrecisionRecipe::kFp32:
      return {M::kFull, M::kFull, V::kFp32, V::kFp32, false, MomentFormat::kF32};
    case PrecisionRecipe::kBf16:
      return {M::kBF16, M::kBF16, V::kBf16, V::kBf16, true, MomentFormat::kF32};
    case PrecisionRecipe::kBf16Lean:
      return {M::kBF16, M::kBF16, V::kBf16, V::kBf16, false, MomentFormat::kBF16};
    case PrecisionRecipe::kFp16:
      return {M::kF16, M::kF16, V::kFp16, V::kFp32, false, MomentFormat::kF32};
    case PrecisionRecipe::kFp8Block:
      return {M::kFp8Block, M::kBF16, V::kBf16, V::kBf16, true, MomentFormat::kBF16};
    case PrecisionRecipe::kMxfp8:
      return {M::kMxfp8, M::kBF16, V::kBf16, V::kBf16, true, MomentFormat::kBF16};
  }
  CHECK(false) << "recipe " << static_cast<int>(recipe);
  __builtin_unreachable();
}

DType TypeOf(ValueFormat format) {
  return format == ValueFormat::kFp32   ? DType::kF32
         : format == ValueFormat::kBf16 ? DType::kBF16
                                        : DType::kF16;
}

const PrecisionException* Exception(const PrecisionConfig& config, std::string_view name) {
  for (const PrecisionException& e : config.exceptions) {
    if (MatchesPattern(name, e.pattern)) return &e;
  }
  return nullptr;
}

bool Contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

}  // namespace

DType ActivationFormat(const PrecisionConfig& config) {
  return TypeOf(config.activations.value_or(Meaning(config.recipe).activations));
}

DType WireFormat(const PrecisionConfig& config) {
  return TypeOf(config.wire.value_or(ValueFormat::kFp32));
}

bool ScalesLoss(const PrecisionConfig& config) {
  if (config.loss_scale.initial) return true;
  return config.matmul.value_or(Meaning(config.recipe).matmul) == MatmulFormat::kF16;
}

double InitialLossScale(const PrecisionConfig& config) {
  return ScalesLoss(config) ? config.loss_scale.initial.value_or(65536) : 1;
}

std::string_view TensorClass(std::string_view name) {
  if (name.ends_with("norm")) return "norm";
  if (name.ends_with("moe.router")) return "router";
  if (Contains(name, ".moe.experts.")) return "experts";
  if (Contains(name, ".moe.shared.")) return "shared experts";
  if (Contains(name, ".attention.")) return "attention";
  if (Contains(name, ".ffn.")) return "ffn";
  return name == "embedding" ? "embedding" : "head";
}

ParameterPrecision ResolvePrecision(const PrecisionConfig& config, std::string_view name,
                                    const Shape& shape, bool tied) {
  ParameterPrecision p;
  if (shape.rank() < 2) return p;
  const Recipe recipe = Meaning(config.recipe);
  const std::string_view kind = TensorClass(name);
  const bool products = kind != "router" && kind != "embedding" && kind != "head";
  const bool head = kind == "head" || (kind == "embedding" && tied);
  const PrecisionException* e = Exception(config, name);
  if (products) p.matmul.format = config.matmul.value_or(recipe.matmul);
  if (head) p.matmul.format = config.head.value_or(recipe.head);
  if (e != nullptr && (products || head || kind == "router")) {
    p.matmul.format = e->matmul.value_or(p.matmul.format);
  }
  if (p.matmul.format == MatmulFormat::kFp8Block) {
    p.matmul.square_gradient_blocks = config.square_gradient_blocks;
  }
  if (kind != "router") {
    p.storage = TypeOf(config.parameters.value_or(recipe.parameters));
    p.moments = config.moments.value_or(recipe.moments);
  }
  // Lean is about weights without a master; another recipe's parameters have one.
  bool master = config.master.value_or(recipe.master || config.recipe == PrecisionRecipe::kFp32 ||
                                       config.recipe == PrecisionRecipe::kFp16);
  if (e != nullptr) {
    if (e->parameters) p.storage = TypeOf(*e->parameters);
    p.moments = e->moments.value_or(p.moments);
    master = e->master.value_or(master);
  }
  p.master = master && p.storage == DType::kBF16;
  return p;
}

void PrecisionException::Check(ConfigErrors& errors) const {
  if (parameters == ValueFormat::kFp16) errors.Add("parameters", "must be fp32 or bf16, got fp16");
  if (master == true && parameters == ValueFormat::kFp32) {
    errors.Conflict({"master", "parameters"}, "is for bf16 parameters: fp32 ones are their own");
  }
}

void PrecisionConfig::Check(ConfigErrors& errors) const {
  const Recipe meaning = Meaning(recipe);
  const ValueFormat kept = parameters.value_or(meaning.parameters);
  const MatmulFormat products = matmul.value_or(meaning.matmul);
  if (kept == ValueFormat::kFp16) {
    errors.Conflict({"parameters", "recipe"}, "must be fp32 or bf16, got fp16");
  }
  if (wire == ValueFormat::kFp16) errors.Add("wire", "must be fp32 or bf16, got fp16");
  if (head == MatmulFormat::kFp8Block || head == MatmulFormat::kMxfp8) {
    errors.Add("head", StrCat("must be fp32, bf16 or fp16: the head is kept high, got ",
                              EnumToString(*head)));
  }
  if (master == true && kept == ValueFormat::kFp32) {
    errors.Conflict({"master", "parameters", "recipe"},
                    "is for bf16 parameters: fp32 ones are their own");
  }
  if (!stochastic_rounding && !force && kept == ValueFormat::kBf16 &&
      !master.value_or(meaning.master)) {
    errors.Conflict({"stochastic_rounding", "parameters", "master", "recipe"},
                    "cannot be false for bf16 weights without master: updates below half a unit "
                    "in the last place are lost and training stalls; force: true allows it");
  }
  if (square_gradient_blocks && products != MatmulFormat::kFp8Block) {
    errors.Conflict({"square_gradient_blocks", "matmul", "recipe"}, "is for fp8-block products");
  } else if (square_gradient_blocks && !force) {
    errors.Add("square_gradient_blocks",
               "diverges: gradients of activations need a scale for each token (DeepSeek-V3, "
               "appendix B.2); force: true allows it");
  }
  for (const PrecisionException& e : exceptions) {
    if ((e.matmul == MatmulFormat::kFp8Block || e.matmul == MatmulFormat::kMxfp8) &&
        (MatchesPattern("head", e.pattern) || MatchesPattern("embedding", e.pattern))) {
      errors.Add("exceptions", StrCat("the pattern ", e.pattern,
                                      " takes in the head, whose products are fp32, bf16 or fp16"));
    }
  }
}

namespace {

struct Row {
  std::string_view kind;
  ParameterPrecision precision;
  int64_t elements = 0;
};

std::string Line(const Row& row, DType wire) {
  const ParameterPrecision& p = row.precision;
  const bool used = row.kind != "norm" && row.kind != "embedding";
  const bool rounded = used || p.matmul.format != MatmulFormat::kFull;  // a tied table
  char text[200];
  std::snprintf(text, sizeof(text), "  %-15s %14lld  %-9s  %-7s %-6s  %-8s  %-5s  %s",
                std::string(row.kind).c_str(), static_cast<long long>(row.elements),
                rounded ? EnumToString(p.matmul.format) : "-",
                p.storage == DType::kBF16 ? "bf16" : "fp32", p.master ? "fp32" : "-", "fp32",
                wire == DType::kBF16 ? "bf16" : "fp32", EnumToString(p.moments));
  return text;
}

}  // namespace

std::string PrecisionTable(const PrecisionConfig& config, const std::vector<NamedShape>& model,
                           bool tied) {
  std::vector<Row> rows;
  for (const NamedShape& p : model) {
    const Row row{TensorClass(p.name), ResolvePrecision(config, p.name, p.shape, tied),
                  p.shape.NumElements()};
    auto known = std::find_if(rows.begin(), rows.end(), [&](const Row& r) {
      return r.kind == row.kind && r.precision == row.precision;
    });
    if (known == rows.end()) known = rows.insert(known, {row.kind, row.precision, 0});
    known->elements += row.elements;
  }
  std::string text = StrCat(
      "precision ", EnumToString(config.recipe), ": activations ",
      ActivationFormat(config) == DType::kF32    ? "fp32"
      : ActivationFormat(config) == DType::kBF16 ? "bf16"
                                                 : "fp16",
      "; residual stream, router, norms, loss and sums fp32",
      ScalesLoss(config) ? StrCat("; loss scale ", InitialLossScale(config)) : "",
      "\n  tensors             elements  products   stored  master  gradient  wire   moments");
  for (const Row& row : rows) text += "\n" + Line(row, WireFormat(config));
  return text;
}

}  // namespace choir
