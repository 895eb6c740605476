#include "model/config.h"

#include "absl/strings/str_cat.h"

namespace choir {

void YarnConfig::Check(ConfigErrors& errors) const {
  if (beta_slow > beta_fast) {
    errors.Conflict({"beta_slow", "beta_fast"},
                    absl::StrCat("must not exceed beta_fast, got ", beta_slow, " > ", beta_fast));
  }
}

void MoeConfig::Check(ConfigErrors& errors) const {
  if (experts == 0) return;
  if (width < 1) errors.Conflict({"width", "experts"}, "must be given when there are experts");
  if (top_k > experts) {
    errors.Conflict({"top_k", "experts"},
                    absl::StrCat("must be at most experts, got ", top_k, " of ", experts));
  }
  if (experts % groups != 0) {
    errors.Conflict({"groups", "experts"},
                    absl::StrCat("must divide experts, got ", experts, " / ", groups));
    return;
  }
  if (group_limit > groups) {
    errors.Conflict({"group_limit", "groups"},
                    absl::StrCat("must be at most groups, got ", group_limit, " of ", groups));
  }
  if (top_k <= experts && top_k > group_limit * (experts / groups)) {
    errors.Conflict({"top_k", "group_limit"},
                    absl::StrCat("needs ", top_k, " experts, but ", group_limit, " groups have ",
                                 group_limit * (experts / groups)));
  }
}

void ModelConfig::Check(ConfigErrors& errors) const {
  if (!head_dim && hidden % heads != 0) {
    errors.Conflict({"hidden", "heads"},
                    absl::StrCat("must be a multiple of heads when head_dim is auto, got ", hidden,
                                 " / ", heads));
  } else if (HeadDim() % 2 != 0) {
    errors.Conflict({"hidden", "heads"}, absl::StrCat("gives heads of odd width ", HeadDim(),
                                                      "; rotary embedding turns pairs"));
  }
  if (heads % NumKvHeads() != 0) {
    errors.Conflict({"kv_heads", "heads"},
                    absl::StrCat("must divide heads, got ", heads, " / ", NumKvHeads()));
  }
  if (rotary.dims && *rotary.dims > HeadDim()) {
    errors.Conflict(
        {"rotary.dims", "head_dim"},
        absl::StrCat("must be at most the head's width, got ", *rotary.dims, " > ", HeadDim()));
  }
  if (moe.dense_layers > layers) {
    errors.Conflict({"moe.dense_layers", "layers"},
                    absl::StrCat("must be at most layers, got ", moe.dense_layers, " of ", layers));
  }
  if (ffn < 1 && !IsMoeLayer(0)) {
    errors.Conflict({"ffn", "moe.experts"}, "must be given: the first layer is dense");
  }
}

RouterOptions ModelConfig::Router() const {
  return {.experts = moe.experts,
          .top_k = moe.top_k,
          .score = moe.score,
          .groups = moe.groups,
          .group_limit = moe.group_limit,
          .normalize = moe.normalize,
          .route_scale = moe.route_scale};
}

RotaryOptions ModelConfig::Rotary() const {
  RotaryOptions options;
  options.base = rotary.base;
  options.dims = rotary.dims.value_or(HeadDim());
  options.style = rotary.style;
  if (rotary.yarn) {
    YarnOptions yarn;
    yarn.factor = rotary.yarn->factor;
    yarn.original_length = static_cast<double>(rotary.yarn->original_length);
    yarn.beta_fast = rotary.yarn->beta_fast;
    yarn.beta_slow = rotary.yarn->beta_slow;
    yarn.mscale = rotary.yarn->attention_factor;
    options.yarn = yarn;
  }
  return options;
}

}  // namespace choir
