// Muon (Jordan et al. 2024): momentum, made orthogonal matrix by matrix. As DeepSeek-V4 (section
// 2.4) has it:
//   M = mu M + G,   U = NewtonSchulz(mu M + G) 0.18 sqrt(max(rows, columns)),
//   W = (1 - lr decay) W - lr U.
// The scale makes the root mean square of U that of a typical AdamW step, whatever the shape, so
// that both take one learning rate.
#pragma once

#include "optim/config.h"
#include "optim/matrix_step.h"
#include "optim/newton_schulz.h"

namespace choir {

NewtonSchulz MethodOf(const MuonConfig& config);

// One step of targets of dtype T (float: values in F32 or BF16). Every rank along the axes that
// split matrices calls it with the same parameters in one order; blocks on their exchange. Returns
// when all is done. A matrix has the same bits wherever it is updated: its momentum is brought
// together and goes through the same products as on one rank.
template <class T>
void MuonStep(std::span<const MatrixTarget> targets, const MuonConfig& config);

}  // namespace choir
