// Messages between processes, over MPI. Includes mpi.h: only parallel/comm/mpi_comm* include this.
#pragma once

#include <mpi.h>

#include <list>
#include <string>
#include <vector>

#include "parallel/comm/transport.h"

namespace choir {

class MpiTransport : public Transport {
 public:
  // Between MPI_Init and MPI_Finalize; the destructor calls the latter.
  explicit MpiTransport(int64_t max_message_bytes);
  ~MpiTransport() override;

  Handle ISend(int to, int tag, const void* data, int64_t bytes) override;
  Handle IRecv(int from, int tag, void* data, int64_t bytes) override;
  bool Test(Handle handle) override;
  int64_t max_message_bytes() const override { return max_message_bytes_; }
  void SendControl(int to, const std::string& text) override;
  bool TakeControl(ControlMessage* message) override;
  // MPI itself ends the other ranks.
  void CheckJob() override {}
  // Prints the reason on this rank and ends all with status `code`.
  [[noreturn]] void Abort(const std::string& reason, int code) override;

 private:
  struct Slot {
    MPI_Request request = MPI_REQUEST_NULL;
    int receives = -1;  // bytes; -1: a send
  };
  struct ControlSend {
    std::string text;
    MPI_Request request = MPI_REQUEST_NULL;
  };

  Handle NewSlot(int receives);
  MPI_Request* Request(Handle handle) { return &slots_[static_cast<size_t>(handle)].request; }
  void Check(int error, const char* what);

  int64_t max_message_bytes_;
  // Of our own, so that no message of other code in the process is mistaken for ours.
  MPI_Comm data_ = MPI_COMM_NULL, control_ = MPI_COMM_NULL;
  std::vector<Slot> slots_;
  std::vector<Handle> free_slots_;
  std::list<ControlSend> control_sends_;
};

}  // namespace choir
