// What an update computes and moves (ops/work.h), from shapes alone: so that meta, where no update
// is computed, reports the same.
#pragma once

#include "optim/config.h"
#include "optim/matrix_unit.h"
#include "optim/target.h"

namespace choir {

// One target of a step; `state_bytes`: of its moments or factors, and of its master.
struct UpdateWork {
  const OptimTarget* target = nullptr;
  double state_bytes = 0;
  const MatrixUnit* unit = nullptr;  // of rules that look at whole matrices
};

// One pass over gradient, value and state.
void RecordElementwise(const UpdateWork& update);
// Passes over the shard and over the unit's matrices, and their products; nothing where the
// matrices are another shard's. Of products with a symmetric result one half is counted, as it is
// computed (ops/syrk.h).
void RecordMuon(const UpdateWork& update, const MuonConfig& config);
// Passes only.
void RecordFactored(const UpdateWork& update);

}  // namespace choir
