// A policy that drops some results and keeps the others.
#pragma once

#include <utility>

#include "ops/tape.h"

namespace choir {

// `drops(tag, layer)` is a bool.
template <class Drops>
RecomputePolicy RecomputeWhere(Drops drops) {
  return [drops = std::move(drops)](std::string_view tag, int layer) {
    return drops(tag, layer) ? TensorPolicy::kRecompute : TensorPolicy::kDefault;
  };
}

}  // namespace choir
