#include "optim/step_work.h"

#include <algorithm>

#include "ops/work.h"

namespace choir {
namespace {

double ElementBytes(const UpdateWork& update) {
  return static_cast<double>(SizeOf(update.target->computing()));
}

double UnitBytes(const UpdateWork& update) {
  return ElementBytes(update) * static_cast<double>(update.unit->shape().NumElements());
}

// `passes`: reads and writes beside those of gradient, value and state.
void RecordPasses(const char* name, const UpdateWork& update, double passes) {
  const OptimTarget& t = *update.target;
  const double bytes = BytesOf(t.grad, t.value, t.value) + 2 * update.state_bytes + passes;
  RecordWork({.kind = WorkKind::kOptimizer, .name = name, .bytes = bytes});
}

// Equal products of the matrices of one family; `elements`: read and written by one.
struct Products {
  int64_t batch;
  double element_bytes;
  MatmulFormat operands;

  void Record(Work work, int64_t elements) const {
    work.flops *= static_cast<double>(batch);
    work.groups = batch;
    work.bytes = element_bytes * static_cast<double>(batch * elements);
    work.operands = operands;
    RecordWork(work);
  }
  // [n, k] times its transpose: the elements on and below the diagonal.
  void RecordSquare(int64_t n, int64_t k, int64_t elements) const {
    Work work = ProductWork("newton_schulz_square", n, n, k);
    work.flops *= static_cast<double>(n + 1) / static_cast<double>(2 * n);
    Record(work, elements);
  }
};

// A = X X^T, B = b A + c A A, X = a X + B X with X of [n, m], n <= m.
void RecordIteration(const Products& products, int64_t n, int64_t m) {
  products.RecordSquare(n, m, n * m + n * n);
  products.RecordSquare(n, n, 3 * n * n);
  products.Record(ProductWork("newton_schulz", n, m, n), n * n + 3 * n * m);
}

}  // namespace

void RecordElementwise(const UpdateWork& update) { RecordPasses("optimizer_step", update, 0); }

void RecordMuon(const UpdateWork& update, const MuonConfig& config) {
  if (!update.unit->mine()) return;
  const OptimTarget& t = *update.target;
  // The direction is written and read; matrices are taken out of the unit, divided by their norm,
  // scaled and put back.
  const double direction = ElementBytes(update) * static_cast<double>(t.grad.NumElements());
  RecordPasses("muon_step", update, 2 * direction + 8 * UnitBytes(update));
  const MatmulFormat operands =
      config.matmul == MuonMatmul::kBF16 ? MatmulFormat::kBF16 : MatmulFormat::kFull;
  for (const MatrixFamily& family : t.matrices.families) {
    const MatrixShape shape = ShapeOf(family, update.unit->shape(), config.per_head);
    if (shape.NumElements() == 0) continue;
    const Products products{shape.batch, ElementBytes(update), operands};
    for (int64_t i = 0; i < config.steps + config.final_steps; ++i) {
      RecordIteration(products, std::min(shape.rows, shape.columns),
                      std::max(shape.rows, shape.columns));
    }
  }
}

void RecordFactored(const UpdateWork& update) {
  if (!update.unit->mine()) return;
  // The scaled gradient is written and read; matrices are taken out of the unit, updated and put
  // back.
  const double scaled =
      ElementBytes(update) * static_cast<double>(update.target->grad.NumElements());
  RecordPasses("factored_step", update, 2 * scaled + 6 * UnitBytes(update));
}

}  // namespace choir
