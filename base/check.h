// CHECK aborts the process when an invariant of Choir itself is broken:
//
//   CHECK(rows == out.dim(0)) << "while gathering " << name;
//
// prints `file:line: CHECK failed: rows == out.dim(0) (3 vs 4): while gathering ...`, with this
// process' rank and step. Input of a user is never CHECKed: it is reported as absl::Status
// (base/status.h).
#pragma once

#include <concepts>
#include <sstream>
#include <string>
#include <utility>

namespace choir {

// Prints the message with this process' rank and step, and aborts.
[[noreturn]] void CheckFailed(const char* file, int line, const std::string& what);

namespace internal {

// The verdict of a CHECK; `values` holds both sides when it failed and was a comparison.
struct CheckOutcome {
  bool passed;
  std::string values;
  CheckOutcome(bool passed, std::string values = {}) : passed(passed), values(std::move(values)) {}
  explicit operator bool() const { return passed; }
};

template <class T>
concept Printable = requires(std::ostream& s, const T& v) {
  s << v;
};

template <class A, class B>
CheckOutcome Compare(bool passed, const A& a, const B& b) {
  if (passed) [[likely]]
    return true;
  std::ostringstream s;
  if constexpr (Printable<A> && Printable<B>) s << " (" << a << " vs " << b << ")";
  return {false, s.str()};
}

template <class T>
concept Integer = std::integral<T> && !std::same_as<T, bool> && !std::same_as<T, char> &&
                  !std::same_as<T, wchar_t> && !std::same_as<T, char8_t> &&
                  !std::same_as<T, char16_t> && !std::same_as<T, char32_t>;

// Integers are compared by value, whatever their signs and widths.
template <class A, class B>
bool Equal(const A& a, const B& b) {
  if constexpr (Integer<A> && Integer<B>) {
    return std::cmp_equal(a, b);
  } else {
    return a == b;
  }
}
template <class A, class B>
bool Less(const A& a, const B& b) {
  if constexpr (Integer<A> && Integer<B>) {
    return std::cmp_less(a, b);
  } else {
    return a < b;
  }
}
template <class A, class B>
bool LessEqual(const A& a, const B& b) {
  if constexpr (Integer<A> && Integer<B>) {
    return std::cmp_less_equal(a, b);
  } else {
    return a <= b;
  }
}

// The left side of the checked expression, waiting for a comparison.
template <class A>
struct CheckLeft {
  const A& a;
  CheckOutcome operator==(const auto& b) const { return Compare(Equal(a, b), a, b); }
  CheckOutcome operator!=(const auto& b) const { return Compare(!Equal(a, b), a, b); }
  CheckOutcome operator<(const auto& b) const { return Compare(Less(a, b), a, b); }
  CheckOutcome operator<=(const auto& b) const { return Compare(LessEqual(a, b), a, b); }
  CheckOutcome operator>(const auto& b) const { return Compare(Less(b, a), a, b); }
  CheckOutcome operator>=(const auto& b) const { return Compare(LessEqual(b, a), a, b); }
  operator CheckOutcome() const { return static_cast<bool>(a); }
  // For CHECK(a && b), which prints no values.
  explicit operator bool() const { return static_cast<bool>(a); }
};

// `CheckSplit() <=> a + 1 == b` parses as `(CheckSplit() <=> (a + 1)) == b`, which keeps both
// values: <=> binds tighter than the comparisons and looser than arithmetic.
struct CheckSplit {
  template <class A>
  CheckLeft<A> operator<=>(const A& a) const {
    return {a};
  }
};

// Collects the message streamed behind a failed CHECK, and aborts when destroyed.
class CheckMessage {
 public:
  CheckMessage(const char* file, int line, std::string what)
      : file_(file), line_(line), what_(std::move(what)) {}
  [[noreturn]] ~CheckMessage() {
    const std::string more = stream_.str();
    CheckFailed(file_, line_, more.empty() ? what_ : what_ + ": " + more);
  }
  std::ostream& stream() { return stream_; }

 private:
  const char* file_;
  int line_;
  std::string what_;
  std::ostringstream stream_;
};

}  // namespace internal
}  // namespace choir

#define CHECK(...)                                                                           \
  if (::choir::internal::CheckOutcome check_outcome =                                        \
          (::choir::internal::CheckSplit() <=> __VA_ARGS__);                                 \
      check_outcome.passed) [[likely]] {                                                     \
  } else                                                                                     \
    ::choir::internal::CheckMessage(__FILE__, __LINE__, #__VA_ARGS__ + check_outcome.values) \
        .stream()
