#include "parallel/comm/mpi_comm_transport.h"

#include <algorithm>
#include <cstdlib>

#include "base/log.h"
#include "base/strings.h"

namespace choir {
namespace {

// MPI counts with int; a power of two keeps pieces aligned.
constexpr int64_t kLongest = int64_t{1} << 30;

}  // namespace

MpiTransport::MpiTransport(int64_t max_message_bytes)
    : max_message_bytes_(std::min(max_message_bytes, kLongest)) {
  MPI_Comm_dup(MPI_COMM_WORLD, &data_);
  MPI_Comm_dup(MPI_COMM_WORLD, &control_);
  MPI_Comm_set_errhandler(data_, MPI_ERRORS_RETURN);
}

// Control messages come only before an abort, so that none is under way here.
MpiTransport::~MpiTransport() {
  MPI_Comm_free(&data_);
  MPI_Comm_free(&control_);
  MPI_Finalize();
}

Transport::Handle MpiTransport::NewSlot(int receives) {
  if (free_slots_.empty()) {
    slots_.push_back({MPI_REQUEST_NULL, receives});
    return static_cast<Handle>(slots_.size()) - 1;
  }
  const Handle handle = free_slots_.back();
  free_slots_.pop_back();
  slots_[static_cast<size_t>(handle)].receives = receives;
  return handle;
}

Transport::Handle MpiTransport::ISend(int to, int tag, const void* data, int64_t bytes) {
  const Handle handle = NewSlot(-1);
  Check(MPI_Isend(data, static_cast<int>(bytes), MPI_BYTE, to, tag, data_, Request(handle)),
        "send");
  return handle;
}

Transport::Handle MpiTransport::IRecv(int from, int tag, void* data, int64_t bytes) {
  const Handle handle = NewSlot(static_cast<int>(bytes));
  Check(MPI_Irecv(data, static_cast<int>(bytes), MPI_BYTE, from, tag, data_, Request(handle)),
        "receive");
  return handle;
}

bool MpiTransport::Test(Handle handle) {
  const int expected = slots_[static_cast<size_t>(handle)].receives;
  int ended = 0;
  MPI_Status status;
  const int error = MPI_Test(Request(handle), &ended, &status);
  if (error != MPI_SUCCESS) {
    Check(error, expected >= 0
                     ? "receive (the calls of two ranks may differ: see parallel.check_collectives)"
                     : "send");
  }
  if (ended == 0) return false;
  if (expected >= 0) {
    int got = 0;
    MPI_Get_count(&status, MPI_BYTE, &got);
    if (got != expected) {
      Abort(StrCat("expected ", expected, " bytes from world rank ", status.MPI_SOURCE,
                   ", which sent ", got,
                   ": their calls differ (parallel.check_collectives names them)"),
            kAbortStatus);
    }
  }
  free_slots_.push_back(handle);
  return true;
}

void MpiTransport::SendControl(int to, const std::string& text) {
  control_sends_.remove_if([](ControlSend& sent) {
    int ended = 0;
    MPI_Test(&sent.request, &ended, MPI_STATUS_IGNORE);
    return ended != 0;
  });
  ControlSend& sent = control_sends_.emplace_back(ControlSend{text});
  MPI_Isend(sent.text.data(), static_cast<int>(sent.text.size()), MPI_BYTE, to, 0, control_,
            &sent.request);
}

bool MpiTransport::TakeControl(ControlMessage* message) {
  int found = 0, bytes = 0;
  MPI_Status status;
  MPI_Iprobe(MPI_ANY_SOURCE, 0, control_, &found, &status);
  if (found == 0) return false;
  MPI_Get_count(&status, MPI_BYTE, &bytes);
  message->from = status.MPI_SOURCE;
  message->text.resize(static_cast<size_t>(bytes));
  MPI_Recv(message->text.data(), bytes, MPI_BYTE, status.MPI_SOURCE, 0, control_,
           MPI_STATUS_IGNORE);
  return true;
}

void MpiTransport::Check(int error, const char* what) {
  if (error == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(error, text, &length);
  Abort(StrCat("MPI cannot ", what, ": ", std::string(text, static_cast<size_t>(length))),
        kAbortStatus);
}

void MpiTransport::Abort(const std::string& reason, int code) {
  LogError(reason);
  MPI_Abort(MPI_COMM_WORLD, code);
  std::_Exit(code);  // not reached: MPI_Abort does not return, but does not say so
}

}  // namespace choir
