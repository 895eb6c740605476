#include "parallel/comm/local_world.h"

#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/check.h"
#include "base/log.h"
#include "base/strings.h"
#include "parallel/comm/local_transport.h"
#include "parallel/comm/p2p_world.h"
#include "tensor/memory.h"

namespace choir {
namespace {

struct Ledgers {
  MemoryLedger cpu, meta;
};

// Never freed: a tensor may outlive the thread that made it.
Ledgers& NewLedgers() {
  static std::mutex mutex;
  static auto* const all = new std::vector<std::unique_ptr<Ledgers>>;
  std::lock_guard lock(mutex);
  all->push_back(std::make_unique<Ledgers>());
  return *all->back();
}

void RunRank(P2pWorld& world, const std::function<void(World&)>& body) {
  SetLogContext(world.rank(), world.size());
  Ledgers& ledgers = NewLedgers();
  const ScopedLedger cpu(Device::kCpu, ledgers.cpu);
  const ScopedLedger meta(Device::kMeta, ledgers.meta);
  try {
    body(world);
    world.Finish();
  } catch (const LocalJobEnded&) {
    // The job holds the reason.
  }
}

}  // namespace

absl::Status RunLocal(int ranks, const WorldOptions& options,
                      const std::function<void(World&)>& body) {
  const int node_size = options.local_node_size == 0 ? ranks : options.local_node_size;
  CHECK(ranks > 0 && node_size > 0 && ranks % node_size == 0);
  const auto job = std::make_shared<LocalJob>(ranks);
  // The worlds outlive all threads: until then another rank may copy from memory that an operation
  // of this one holds.
  std::vector<std::unique_ptr<P2pWorld>> worlds;
  for (int rank = 0; rank < ranks; ++rank) {
    worlds.push_back(std::make_unique<P2pWorld>(
        WorldPlace{rank, ranks, node_size}, options,
        std::make_unique<LocalTransport>(job, rank, options.max_message_bytes)));
  }
  std::vector<std::thread> threads;
  for (const auto& world : worlds) {
    threads.emplace_back([&world, &body] { RunRank(*world, body); });
  }
  for (std::thread& thread : threads) thread.join();
  if (!job->ended()) return absl::OkStatus();
  return absl::AbortedError(job->reason());
}

}  // namespace choir
