#include "ops/work.h"

namespace choir {
namespace {

thread_local const WorkListener* listener_of_thread = nullptr;

}  // namespace

Work ProductWork(const char* name, int64_t m, int64_t n, int64_t k) {
  const double flops =
      2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
  return {.kind = WorkKind::kMatmul, .name = name, .flops = flops, .m = m, .n = n, .k = k};
}

void RecordWork(const Work& work) {
  if (listener_of_thread != nullptr) (*listener_of_thread)(work);
}

ScopedWorkListener::ScopedWorkListener(const WorkListener& listener)
    : previous_(listener_of_thread) {
  listener_of_thread = &listener;
}

ScopedWorkListener::~ScopedWorkListener() { listener_of_thread = previous_; }

}  // namespace choir
