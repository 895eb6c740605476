// SIGINT and SIGTERM ask a run to finish its step, save and end; a second one ends it at once.
#pragma once

namespace choir {

void CatchStopSignals();
// The signal that was caught, or 0.
int StopSignal();

}  // namespace choir
