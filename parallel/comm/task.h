// A coroutine that is part of an operation: it runs until it has to wait for a message, and is
// resumed by World::Progress. Awaiting a Task runs it to its end.
//
// Parameters of these coroutines are references to objects that outlive them, or plain values.
#pragma once

#include <coroutine>
#include <utility>

namespace choir {

class [[nodiscard]] Task {
 public:
  struct promise_type;
  using Handle = std::coroutine_handle<promise_type>;

  // Goes on with whoever awaited the task.
  struct FinalAwaiter {
    bool await_ready() const noexcept { return false; }
    std::coroutine_handle<> await_suspend(Handle handle) const noexcept;
    void await_resume() const noexcept {}
  };

  struct promise_type {
    std::coroutine_handle<> continuation;
    Task get_return_object() { return Task(Handle::from_promise(*this)); }
    std::suspend_always initial_suspend() const noexcept { return {}; }
    FinalAwaiter final_suspend() const noexcept { return {}; }
    void return_void() const {}
    // Only the end of a local job passes here (local_transport.h).
    void unhandled_exception() const { throw; }
  };

  struct Awaiter {
    Handle handle;
    bool await_ready() const noexcept { return false; }
    std::coroutine_handle<> await_suspend(std::coroutine_handle<> parent) const noexcept {
      handle.promise().continuation = parent;
      return handle;
    }
    void await_resume() const noexcept {}
  };

  Task() = default;
  Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Task& operator=(Task&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~Task() {
    if (handle_) handle_.destroy();
  }

  void Start() const { handle_.resume(); }
  bool done() const { return handle_.done(); }
  Awaiter operator co_await() const noexcept { return {handle_}; }

 private:
  explicit Task(Handle handle) : handle_(handle) {}
  Handle handle_;
};

inline std::coroutine_handle<> Task::FinalAwaiter::await_suspend(Handle handle) const noexcept {
  const std::coroutine_handle<> next = handle.promise().continuation;
  return next ? next : std::noop_coroutine();
}

}  // namespace choir
