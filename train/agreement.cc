#include "train/agreement.h"

#include <cstring>
#include <numeric>
#include <string>

#include "base/strings.h"

namespace choir {
namespace {

Communicator& Everyone(World& world) {
  std::vector<int> ranks(static_cast<size_t>(world.size()));
  std::iota(ranks.begin(), ranks.end(), 0);
  return world.Group(ranks, "everyone");
}

TensorOptions NumbersOf(const World& world) {
  return {DType::kF64, world.host(), MemoryCategory::kCommunication};
}

// Length, then characters, four to an element.
std::string BroadcastText(Communicator& group, std::string text, int root) {
  const TensorOptions ints{DType::kI32, Device::kCpu, MemoryCategory::kCommunication};
  const Tensor length = Tensor::Empty({1}, ints);
  *length.data<int32_t>() = static_cast<int32_t>(text.size());
  group.Broadcast(length, root).Wait();
  const auto size = static_cast<size_t>(*length.data<int32_t>());
  const Tensor characters = Tensor::Zeros({static_cast<int64_t>(size / 4 + 1)}, ints);
  if (group.rank() == root) std::memcpy(characters.raw(), text.data(), size);
  group.Broadcast(characters, root).Wait();
  text.assign(static_cast<const char*>(characters.raw()), size);
  return text;
}

}  // namespace

absl::Status Agree(World* world, const absl::Status& mine) {
  if (world == nullptr || world->size() == 1) return mine;
  Communicator& everyone = Everyone(*world);
  // By rank: its code, if it failed.
  const Tensor codes = Tensor::Zeros({world->size()}, NumbersOf(*world));
  if (world->dry()) {
    everyone.AllReduce(codes, ReduceOp::kSum).Wait();
    return mine;
  }
  codes.data<double>()[world->rank()] = static_cast<double>(mine.raw_code());
  everyone.AllReduce(codes, ReduceOp::kSum).Wait();
  int failed = 0, first = -1;
  for (int r = 0; r < world->size(); ++r) {
    if (codes.data<double>()[r] == 0) continue;
    ++failed;
    if (first < 0) first = r;
  }
  if (failed == 0) return absl::OkStatus();
  const std::string text = BroadcastText(everyone, std::string(mine.message()), first);
  const auto code = static_cast<absl::StatusCode>(codes.data<double>()[first]);
  if (failed == world->size()) return absl::Status(code, text);
  return absl::Status(code, StrCat("rank ", first, ": ", text));
}

bool AnyRank(World* world, bool mine) {
  if (world == nullptr || world->size() == 1) return mine;
  const Tensor flag = Tensor::Zeros({1}, NumbersOf(*world));
  *flag.data<double>() = mine ? 1 : 0;
  Everyone(*world).AllReduce(flag, ReduceOp::kMax).Wait();
  return *flag.data<double>() > 0;
}

}  // namespace choir
