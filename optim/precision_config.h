// The `precision:` section: a recipe by name, and what to change of it. optim/precision.h makes it
// into a table of what each parameter gets; docs/precision.md says what each recipe costs.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/config.h"
#include "ops/matmul_format.h"
#include "optim/moment_format.h"

namespace choir {

enum class PrecisionRecipe { kFp32, kBf16, kBf16Lean, kFp16, kFp8Block, kMxfp8 };
template <>
struct EnumNames<PrecisionRecipe> {
  static constexpr EnumName<PrecisionRecipe> kAll[] = {
      {PrecisionRecipe::kFp32, "fp32"},          {PrecisionRecipe::kBf16, "bf16"},
      {PrecisionRecipe::kBf16Lean, "bf16-lean"}, {PrecisionRecipe::kFp16, "fp16"},
      {PrecisionRecipe::kFp8Block, "fp8-block"}, {PrecisionRecipe::kMxfp8, "mxfp8"}};
};

template <>
struct EnumNames<MatmulFormat> {
  static constexpr EnumName<MatmulFormat> kAll[] = {{MatmulFormat::kFull, "fp32"},
                                                    {MatmulFormat::kBF16, "bf16"},
                                                    {MatmulFormat::kF16, "fp16"},
                                                    {MatmulFormat::kFp8Block, "fp8-block"},
                                                    {MatmulFormat::kMxfp8, "mxfp8"}};
};

template <>
struct EnumNames<MomentFormat> {
  static constexpr EnumName<MomentFormat> kAll[] = {
      {MomentFormat::kF32, "fp32"}, {MomentFormat::kBF16, "bf16"}, {MomentFormat::kInt8, "int8"}};
};

// What one element is rounded to.
enum class ValueFormat { kFp32, kBf16, kFp16 };
template <>
struct EnumNames<ValueFormat> {
  static constexpr EnumName<ValueFormat> kAll[] = {
      {ValueFormat::kFp32, "fp32"}, {ValueFormat::kBf16, "bf16"}, {ValueFormat::kFp16, "fp16"}};
};

// Parameters whose name matches get something else. Unset: as without it.
struct PrecisionException {
  std::string pattern;
  std::optional<MatmulFormat> matmul;
  std::optional<ValueFormat> parameters;
  std::optional<bool> master;
  std::optional<MomentFormat> moments;

  void Visit(auto&& v) {
    v("pattern", pattern, "parameter names; '*' stands for any text", Required(), NonEmpty());
    v("matmul", matmul, "as precision.matmul");
    v("parameters", parameters, "as precision.parameters");
    v("master", master, "as precision.master");
    v("moments", moments, "as precision.moments");
  }
  void Check(ConfigErrors& errors) const;
};

// Dynamic loss scaling (Micikevicius et al. 2018): the loss is multiplied by the scale, gradients
// are divided by it. A step whose gradient is not finite changes nothing but the scale.
struct LossScaleConfig {
  std::optional<double> initial;
  double growth = 2;
  double backoff = 0.5;
  int64_t growth_interval = 2000;
  double minimum = 1;

  void Visit(auto&& v) {
    v("initial", initial,
      "factor on the loss at the first step; auto: 65536 where products are in fp16, else none",
      Above(0));
    v("growth", growth, "factor on the scale after growth_interval good steps", AtLeast(1));
    v("backoff", backoff, "factor on the scale after a step that overflowed", Above(0), Below(1));
    v("growth_interval", growth_interval, "steps without overflow before the scale grows",
      AtLeast(1));
    v("minimum", minimum, "a gradient that is not finite at this scale ends the run", Above(0));
  }
};

struct PrecisionConfig {
  PrecisionRecipe recipe = PrecisionRecipe::kFp32;
  std::optional<MatmulFormat> matmul;
  std::optional<MatmulFormat> head;
  std::optional<ValueFormat> activations;
  std::optional<ValueFormat> parameters;
  std::optional<bool> master;
  std::optional<MomentFormat> moments;
  std::optional<ValueFormat> wire;
  bool stochastic_rounding = true;
  bool square_gradient_blocks = false;
  bool force = false;
  std::vector<PrecisionException> exceptions;
  LossScaleConfig loss_scale;

  void Visit(auto&& v) {
    v("recipe", recipe, "what the other keys mean where they are auto; docs/precision.md");
    v("matmul", matmul,
      "operands of the products of attention, feed-forward and experts; the router's are fp32");
    v("head", head, "operands of the head's products: fp32, bf16 or fp16");
    v("activations", activations,
      "results of norms, projections, activations and attention; the residual stream, sums over "
      "ranks, router and loss are fp32");
    v("parameters", parameters, "how weight matrices are kept, fp32 or bf16; norms are fp32");
    v("master", master, "whether the optimizer keeps an fp32 copy of bf16 weights");
    v("moments", moments, "how the optimizer keeps its moments; those of norms are fp32");
    v("wire", wire,
      "in which format ranks exchange gradients: fp32, or bf16 (rounded stochastically, summed in "
      "fp32; numerics fast only)");
    v("stochastic_rounding", stochastic_rounding,
      "of bf16 weights without master; without it small updates are lost");
    v("square_gradient_blocks", square_gradient_blocks,
      "fp8-block: gradients of activations in blocks of 128 x 128, which is known to diverge; "
      "needs force");
    v("force", force, "allow what is known to fail, to study it");
    v("exceptions", exceptions, "other settings by parameter name; the first match counts");
    v("loss_scale", loss_scale, "keeps gradients within the range of fp16");
  }
  void Check(ConfigErrors& errors) const;
};

}  // namespace choir
