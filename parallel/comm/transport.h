// Messages between two ranks: all that the collectives need of a machine. The two implementations
// are local_transport (threads) and mpi_comm_transport (processes).
#pragma once

#include <cstdint>
#include <string>

namespace choir {

// Exit status of a job that hangs or whose ranks disagree: kExitWatchdog of train/exit_code.h.
inline constexpr int kAbortStatus = 5;

// Text outside of all collectives, for reports: a question about what a rank does, or an answer.
struct ControlMessage {
  int from = 0;
  std::string text;
};

// One rank's end, used by that rank's thread only.
class Transport {
 public:
  using Handle = int64_t;

  virtual ~Transport() = default;

  // Messages from one rank with one tag arrive in order; a receive takes exactly the bytes sent.
  // The memory belongs to the transport until Test says true. 0 <= tag < 2^31; zero bytes are a
  // message too; bytes <= max_message_bytes().
  virtual Handle ISend(int to, int tag, const void* data, int64_t bytes) = 0;
  virtual Handle IRecv(int from, int tag, void* data, int64_t bytes) = 0;
  // Makes progress; true once ended, and the handle is then gone.
  virtual bool Test(Handle handle) = 0;
  virtual int64_t max_message_bytes() const = 0;

  virtual void SendControl(int to, const std::string& text) = 0;
  virtual bool TakeControl(ControlMessage* message) = 0;

  // Does not return when another rank has ended the job.
  virtual void CheckJob() = 0;
  // Ends the job with the reason on every rank.
  [[noreturn]] virtual void Abort(const std::string& reason, int code) = 0;
};

}  // namespace choir
