// The rate that utilisation is measured against.
#pragma once

namespace choir {

// Highest float32 GEMM rate seen in about `seconds` of trying, on all threads of ParallelFor, in
// FLOP/s.
double MeasureGemmPeak(double seconds = 0.4);

}  // namespace choir
