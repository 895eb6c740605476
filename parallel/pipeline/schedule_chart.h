// A schedule as text: time runs right, one row for each rank.
#pragma once

#include <string>

#include "parallel/pipeline/schedule_check.h"

namespace choir {

// Cells are one unit of time wide, so the run's times must be whole numbers (CHECKed). F: forward,
// B: backward, I: input gradients, W: weight gradients, then the microbatch, then, where ranks have
// several stages, a letter for the chunk; '-' goes on, '.' waits. Rows longer than `columns` go on
// in another block.
//
//   time   0  1  2
//   rank 0 F0 F1 .  .  B0--- B1---
//
// `run` is RunSchedule of `lists`.
std::string ScheduleChart(const ScheduleSpec& spec, const ActionLists& lists,
                          const ScheduleRun& run, int columns);

}  // namespace choir
