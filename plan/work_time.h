// How long one kernel takes on a device: the larger of what its products need and what its bytes
// need (a roofline), both with the device's shares for this shape and size.
//
//   products  padded FLOPs / (peak x efficiency x shape factor x k / (k + k_half))
//   attention FLOPs / (peak x efficiency x n / (n + n_half) x k / (k + width_half))
//   bytes     (bytes + half_bytes) / (bandwidth x efficiency)
//
// Padded: rows and columns up to whole tiles. The shape factor charges a last round of tiles that
// does not fill the device with `tail_loss` of its empty part. Neither holds the time of the host
// nor the gap between kernels (plan/step_time.h).
#pragma once

#include "ops/work.h"
#include "plan/hardware.h"

namespace choir {

// Seconds on the device; 0 if it neither computes nor moves anything.
double WorkSeconds(const Work& work, const Hardware& hardware);

// Share of the peak FLOP/s that the shape of a product leaves, before its format's efficiency:
// FLOPs over padded FLOPs, times the two factors above.
double ProductShapeShare(const Work& work, const ProductShape& shape);

}  // namespace choir
