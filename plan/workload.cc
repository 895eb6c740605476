#include "plan/workload.h"

namespace choir {

double Flops(const PassWork& pass) {
  double sum = 0;
  for (const WorkItem& item : pass.work) sum += item.work.flops * item.count;
  return sum;
}

double MemoryBytes(const PassWork& pass) {
  double sum = 0;
  for (const WorkItem& item : pass.work) sum += item.work.bytes * item.count;
  return sum;
}

}  // namespace choir
