// The main of a fuzz target in ordinary builds: replays the seeds, then a bounded number of
// mutations of them, the same in every run. libFuzzer, which learns from coverage, is scripts/fuzz.
//
//   NAME_fuzz FOLDER [MUTATIONS]   every file of the folder, then mutations; FOLDER.dict if there
//   NAME_fuzz FILE...              these inputs only: to look at a finding again
//
// An input that crashes or takes more than kMostSeconds is left in the file that is named.
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/random.h"
#include "tests/fuzz/fuzz_input.h"

extern "C" void __sanitizer_set_death_callback(void (*)()) __attribute__((weak));

namespace choir {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMutations = 3000;
constexpr size_t kMostBytes = size_t{1} << 20;
// One input; a thousand times what any takes, so that only a hang meets it.
constexpr unsigned kMostSeconds = 60;
// Address space: a length read from the input must not become memory. Sanitizers map terabytes.
constexpr rlim_t kMostMemory = rlim_t{4} << 30;

const std::string* current = nullptr;
char finding_path[256] = "";

// Writes the input that runs now; only calls that a signal handler may make.
void KeepCurrent() {
  if (current == nullptr) return;
  const int fd = open(finding_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0 || write(fd, current->data(), current->size()) < 0) return;
  const auto say = [](const char* text) {
    [[maybe_unused]] const ssize_t n = write(STDERR_FILENO, text, std::strlen(text));
  };
  say("fuzz: the input is kept in ");
  say(finding_path);
  say("\n");
}

void OnSignal(int signal) {
  KeepCurrent();
  std::signal(signal, SIG_DFL);
  raise(signal);
}

void Run(const std::string& input) {
  // A copy of its exact size, so that a read past its end is seen by AddressSanitizer.
  const std::vector<uint8_t> bytes(input.begin(), input.end());
  current = &input;
  alarm(kMostSeconds);
  LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
  alarm(0);
  current = nullptr;
}

std::string ReadWhole(const std::string& path) {
  absl::StatusOr<std::string> bytes = ReadFile(path);
  CHECK(bytes.ok()) << bytes.status().ToString();
  return *std::move(bytes);
}

// The words of a dictionary as libFuzzer reads it: lines [name=]"word" with \\, \" and \xNN.
std::vector<std::string> ReadWords(const std::string& path) {
  std::vector<std::string> words;
  if (!fs::exists(path)) return words;
  const std::string text = ReadWhole(path);
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const std::string line = text.substr(at, end - at);
    at = end + 1;
    const size_t first = line.find('"');
    const size_t last = line.rfind('"');
    if (line.starts_with('#') || first == line.npos || last == first) continue;
    std::string word;
    for (size_t i = first + 1; i < last; ++i) {
      if (line[i] != '\\' || i + 1 == last) {
        word += line[i];
      } else if (line[i + 1] == 'x' && i + 3 < last) {
        word += static_cast<char>(std::stoi(line.substr(i + 2, 2), nullptr, 16));
        i += 3;
      } else {
        word += line[++i];
      }
    }
    words.push_back(word);
  }
  return words;
}

// One numbered mutation after another; number n depends on n, the seeds and the words alone.
class Mutator {
 public:
  Mutator(std::vector<std::string> seeds, std::vector<std::string> words)
      : seeds_(std::move(seeds)), words_(std::move(words)), random_(1, "fuzz") {}

  std::string Make(uint64_t number) {
    counter_ = number << 16;
    std::string input = seeds_[Below(seeds_.size())];
    for (uint64_t n = 1 + Below(4); n > 0; --n) Mutate(input);
    if (input.size() > kMostBytes) input.resize(kMostBytes);
    return input;
  }

 private:
  uint64_t Below(uint64_t bound) { return random_.Below(counter_++, bound); }
  // A place in the input; one past its end if `end`.
  size_t Place(const std::string& input, bool end) { return Below(input.size() + (end ? 1 : 0)); }

  void Mutate(std::string& input) {
    if (input.empty()) {
      input.push_back(static_cast<char>(Below(256)));
      return;
    }
    switch (Below(8)) {
      case 0:  // one bit
        input[Place(input, false)] ^= static_cast<char>(1 << Below(8));
        break;
      case 1:  // one byte, more often one that is a limit somewhere
        input[Place(input, false)] = static_cast<char>(
            Below(2) == 0 ? Below(256) : std::array{0, 1, 127, 128, 255, 10, 32, 34}[Below(8)]);
        break;
      case 2:  // the end is missing
        input.resize(Place(input, true));
        break;
      case 3: {  // a piece is missing
        const size_t at = Place(input, false);
        input.erase(at, 1 + Below(std::min<size_t>(input.size() - at, 64)));
        break;
      }
      case 4: {  // a piece twice
        const size_t at = Place(input, false);
        const std::string piece = input.substr(at, 1 + Below(64));
        input.insert(Place(input, true), piece);
        break;
      }
      case 5: {  // the head of this one, the tail of another
        const std::string& other = seeds_[Below(seeds_.size())];
        input = input.substr(0, Place(input, true)) + other.substr(Place(other, true));
        break;
      }
      case 6: {  // a word
        if (!words_.empty()) input.insert(Place(input, true), words_[Below(words_.size())]);
        break;
      }
      case 7: {  // a number of 1, 2, 4 or 8 bytes
        const uint64_t number = Below(2) == 0 ? Below(1024) : random_.Bits(counter_++);
        const size_t at = Place(input, false);
        const size_t width = std::min(size_t{1} << Below(4), input.size() - at);
        std::memcpy(input.data() + at, &number, width);
        break;
      }
    }
  }

  std::vector<std::string> seeds_;
  std::vector<std::string> words_;
  CounterRandom random_;
  uint64_t counter_ = 0;
};

void Protect(const std::string& program) {
  const std::string path = fs::path(program).filename().string() + ".finding";
  CHECK(path.size() < sizeof(finding_path));
  std::strcpy(finding_path, path.c_str());
  if (__sanitizer_set_death_callback != nullptr) {
    __sanitizer_set_death_callback(KeepCurrent);
  } else {
    const rlimit limit = {kMostMemory, kMostMemory};
    setrlimit(RLIMIT_AS, &limit);
  }
  for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGALRM}) {
    if (signal == SIGALRM || signal == SIGABRT || __sanitizer_set_death_callback == nullptr) {
      std::signal(signal, OnSignal);
    }
  }
}

int Main(const std::vector<std::string>& arguments) {
  if (arguments.size() < 2) {
    std::cerr << "usage: " << arguments[0] << " FOLDER [MUTATIONS] | FILE...\n";
    return 2;
  }
  Protect(arguments[0]);
  if (!fs::is_directory(arguments[1])) {
    for (size_t i = 1; i < arguments.size(); ++i) Run(ReadWhole(arguments[i]));
    std::cout << arguments.size() - 1 << " inputs\n";
    return 0;
  }
  uint64_t mutations = kMutations;
  if (arguments.size() > 2) {
    const std::string& number = arguments[2];
    const auto result = std::from_chars(number.data(), number.data() + number.size(), mutations);
    CHECK(result.ec == std::errc()) << number << " is no number of mutations";
  }
  std::vector<std::string> paths;
  for (const auto& entry : fs::directory_iterator(arguments[1])) paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  std::vector<std::string> seeds = {""};
  for (const std::string& path : paths) seeds.push_back(ReadWhole(path));
  CHECK(seeds.size() > 1) << arguments[1] << ": no seeds, so that no mutation would mean anything";
  for (const std::string& seed : seeds) Run(seed);
  const size_t num_seeds = seeds.size();
  Mutator mutator(std::move(seeds), ReadWords(arguments[1] + ".dict"));
  for (uint64_t n = 0; n < mutations; ++n) Run(mutator.Make(n));
  std::cout << num_seeds << " seeds, " << mutations << " mutations: no finding\n";
  return 0;
}

}  // namespace
}  // namespace choir

int main(int argc, char** argv) { return choir::Main({argv, argv + argc}); }
