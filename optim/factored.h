// Adafactor's factored second moment (Shazeer and Stern 2018), without first moment: a matrix of
// r x c elements keeps r + c numbers. With g the gradient and b = 1 - t^-decay_exponent at step t:
//   R_i = b R_i + (1 - b) mean_j(g_ij^2 + epsilon),   C_j = b C_j + (1 - b) mean_i(g_ij^2 +
//   epsilon) u_ij = g_ij / sqrt(R_i C_j / mean(R)),   U = u / max(1, rms(u) / clip) W = (1 - lr
//   decay) W - lr U.
// Vectors keep a whole second moment, with the same b, epsilon and clipping. The learning rate is
// the config's: no relative step size.
#pragma once

#include "optim/config.h"
#include "optim/matrix_step.h"

namespace choir {

// How the numbers of a parameter lie, in whole: as many for each expert ([E, S], sharded like the
// experts), or [S], all on one shard. For each family of matrices (ops/matrix_family.h), each of
// its matrices: R, then C. Of a vector: one for each element.
Placement FactoredPlacement(const Placement& of, const Matrices& matrices);
// The shape of those of one unit.
Shape FactoredShape(const Shape& unit, const Matrices& matrices);

// One step of targets of dtype T; who calls, and what is promised, as of MuonStep (muon.h).
template <class T>
void FactoredStep(std::span<const MatrixTarget> targets, const FactoredConfig& config);

}  // namespace choir
