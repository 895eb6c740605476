#include "base/log.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/dist_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>

#include "base/status.h"

namespace choir {
namespace {

struct Place {
  int rank = 0, world = 1;
};
// Of threads without one of their own: that of the main thread, in one word.
std::atomic<Place> process_place;
thread_local std::optional<Place> thread_place;
std::atomic<int64_t> log_step = 0;

// Never destroyed: a message from a static destructor must still be printed.
struct Logger {
  std::mutex mutex;  // guards file
  std::shared_ptr<spdlog::sinks::sink> file;
  std::shared_ptr<spdlog::sinks::dist_sink_mt> sinks;
  spdlog::logger logger;

  Logger()
      : sinks(std::make_shared<spdlog::sinks::dist_sink_mt>(
            std::vector<spdlog::sink_ptr>{std::make_shared<spdlog::sinks::stderr_sink_mt>()})),
        logger("choir", sinks) {
    logger.set_pattern("%Y-%m-%d %H:%M:%S.%e %l %v");
    logger.flush_on(spdlog::level::trace);
  }
};

Logger& GetLogger() {
  static Logger* const logger = new Logger;
  return *logger;
}

std::string WithContext(const std::string& message) {
  const LogContext context = GetLogContext();
  return absl::StrCat("[rank ", context.rank, " step ", context.step, "] ", message);
}

void Log(spdlog::level::level_enum level, const std::string& message) {
  GetLogger().logger.log(level, spdlog::string_view_t(WithContext(message)));
}

}  // namespace

void SetLogContext(int rank, int world) {
  thread_place = Place{rank, world};
  if (gettid() == getpid()) process_place = *thread_place;
}

void SetLogStep(int64_t step) { log_step = step; }

LogContext GetLogContext() {
  const Place place = thread_place.value_or(process_place.load());
  return {place.rank, place.world, log_step};
}

void LogInfo(const std::string& message) { Log(spdlog::level::info, message); }
void LogWarning(const std::string& message) { Log(spdlog::level::warn, message); }
void LogError(const std::string& message) { Log(spdlog::level::err, message); }

void LogErrorToFile(const std::string& message) {
  Logger& logger = GetLogger();
  std::lock_guard lock(logger.mutex);
  if (logger.file == nullptr) return;
  const std::string line = WithContext(message);
  logger.file->log(spdlog::details::log_msg("choir", spdlog::level::err, line));
  logger.file->flush();
}

absl::Status OpenLogFile(const std::string& path) {
  Logger& logger = GetLogger();
  std::shared_ptr<spdlog::sinks::sink> file;
  try {
    file = std::make_shared<spdlog::sinks::basic_file_sink_mt>(path);
  } catch (const spdlog::spdlog_ex& e) {
    return absl::UnavailableError(absl::StrCat(path, ": cannot open the log file: ", e.what()));
  }
  file->set_pattern("%Y-%m-%d %H:%M:%S.%e %l %v");
  std::lock_guard lock(logger.mutex);
  if (logger.file != nullptr) logger.sinks->remove_sink(logger.file);
  logger.sinks->add_sink(file);
  logger.file = file;
  return absl::OkStatus();
}

}  // namespace choir
