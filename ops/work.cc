#include "ops/work.h"

namespace choir {
namespace {

thread_local const WorkListener* listener_of_thread = nullptr;

}  // namespace

void RecordWork(const Work& work) {
  if (listener_of_thread != nullptr) (*listener_of_thread)(work);
}

ScopedWorkListener::ScopedWorkListener(const WorkListener& listener)
    : previous_(listener_of_thread) {
  listener_of_thread = &listener;
}

ScopedWorkListener::~ScopedWorkListener() { listener_of_thread = previous_; }

}  // namespace choir
