#include "tests/parallel/comm/collective_cases.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <random>

#include "base/strings.h"
#include "parallel/mesh/mesh.h"
#include "tests/parallel/comm/twin.h"

namespace choir::comm_test {
namespace {

size_t Index(int64_t i) { return static_cast<size_t>(i); }

template <class T>
bool SameBits(const T& a, const T& b) {
  return std::memcmp(&a, &b, sizeof(T)) == 0;
}

// Compares without the cost of a gtest line for each element.
template <class T, class Twin>
void ExpectElements(const Tensor& x, const Twin& twin, const std::string& what) {
  for (int64_t i = 0; i < x.NumElements(); ++i) {
    const T expected = twin(i);
    if (SameBits(x.data<T>()[i], expected)) continue;
    ADD_FAILURE() << what << ": element " << i << " of " << x.NumElements() << " differs";
    return;
  }
}

std::string What(const World& world, const Communicator& group, const char* operation) {
  return StrCat(operation, " on rank ", world.rank(), " of ", world.size(), ", group ",
                group.name());
}

template <class T>
void CheckAllReduce(World& world, Communicator& group, int64_t count, int salt) {
  for (ReduceOp op : {ReduceOp::kSum, ReduceOp::kMax}) {
    const Tensor x = MakeInput<T>(world.rank(), count, salt);
    group.AllReduce(x, op).Wait();
    for (int s = 0; s < group.size(); ++s) {
      const int64_t begin = PieceBegin(count, group.size(), s);
      const int64_t end = PieceBegin(count, group.size(), s + 1);
      ExpectElements<T>(
          x.Rows(begin, end - begin),
          [&](int64_t i) { return ReduceTwin<T>(world, group, op, s, begin + i, salt); },
          What(world, group, "all_reduce"));
    }
  }
}

int64_t Total(const std::vector<int64_t>& counts) {
  return std::accumulate(counts.begin(), counts.end(), int64_t{0});
}
int64_t Begin(const std::vector<int64_t>& counts, int member) {
  return std::accumulate(counts.begin(), counts.begin() + member, int64_t{0});
}

template <class T>
void CheckReduceScatter(World& world, Communicator& group, const std::vector<int64_t>& counts,
                        int salt) {
  const int64_t begin = Begin(counts, group.rank()), own = counts[Index(group.rank())];
  for (bool in_place : {false, true}) {
    const Tensor in = MakeInput<T>(world.rank(), Total(counts), salt);
    const Tensor out = in_place ? in.Rows(begin, own) : Tensor::Empty({own}, in.options());
    group.ReduceScatter(out, in, counts).Wait();
    ExpectElements<T>(
        out,
        [&](int64_t i) {
          return ReduceTwin<T>(world, group, ReduceOp::kSum, group.rank(), begin + i, salt);
        },
        What(world, group, "reduce_scatter"));
  }
}

template <class T>
void CheckAllGather(World& world, Communicator& group, const std::vector<int64_t>& counts,
                    int salt) {
  const int64_t own = counts[Index(group.rank())];
  for (bool in_place : {false, true}) {
    const Tensor out = MakeInput<T>(99, Total(counts), salt);
    const Tensor in = MakeInput<T>(world.rank(), own, salt);
    const Tensor place = out.Rows(Begin(counts, group.rank()), own);
    if (in_place) place.CopyFrom(in);
    group.AllGather(out, in_place ? place : in, counts).Wait();
    for (int m = 0; m < group.size(); ++m) {
      ExpectElements<T>(
          out.Rows(Begin(counts, m), counts[Index(m)]),
          [&](int64_t i) { return ValueOf<T>(group.ranks()[Index(m)], i, salt); },
          What(world, group, "all_gather"));
    }
  }
}

int64_t PairCount(int from, int to, int64_t scale) {
  return (from * 3 + to * 5) % 4 == 0 ? 0 : scale * (from + 2 * to + 1);
}

template <class T>
void CheckAllToAll(World& world, Communicator& group, int64_t scale, int salt) {
  std::vector<int64_t> send, receive;
  for (int m = 0; m < group.size(); ++m) {
    send.push_back(PairCount(group.rank(), m, scale));
    receive.push_back(PairCount(m, group.rank(), scale));
  }
  const Tensor in = MakeInput<T>(world.rank(), Total(send), salt);
  const Tensor out = MakeInput<T>(99, Total(receive), salt);
  group.AllToAll(out, receive, in, send).Wait();
  for (int m = 0; m < group.size(); ++m) {
    int64_t begin = 0;  // of the segment for this rank in the other's input
    for (int j = 0; j < group.rank(); ++j) begin += PairCount(m, j, scale);
    ExpectElements<T>(
        out.Rows(Begin(receive, m), receive[Index(m)]),
        [&](int64_t i) { return ValueOf<T>(group.ranks()[Index(m)], begin + i, salt); },
        What(world, group, "all_to_all"));
  }
}

template <class T>
void CheckBroadcast(World& world, Communicator& group, int64_t count, int salt) {
  for (int root = 0; root<group.size(); root += count> 1000 ? 3 : 1) {
    const Tensor x = MakeInput<T>(world.rank(), count, salt);
    group.Broadcast(x, root).Wait();
    ExpectElements<T>(
        x, [&](int64_t i) { return ValueOf<T>(group.ranks()[Index(root)], i, salt); },
        What(world, group, "broadcast"));
  }
}

// Around the ring, three messages of which two share a tag, asked for in another order.
template <class T>
void CheckSendRecv(World& world, Communicator& group, int64_t count, int salt) {
  if (group.size() == 1) return;
  const int next = (group.rank() + 1) % group.size();
  const int previous = (group.rank() + group.size() - 1) % group.size();
  const int tags[] = {7, 65535, 7};
  std::vector<Event> sent;
  for (int k = 0; k < 3; ++k) {
    sent.push_back(group.Send(MakeInput<T>(world.rank(), count + k, salt + k), next, tags[k]));
  }
  for (int k : {1, 0, 2}) {
    const Tensor x = MakeInput<T>(99, count + k, salt);
    group.Recv(x, previous, tags[k]).Wait();
    ExpectElements<T>(
        x, [&](int64_t i) { return ValueOf<T>(group.ranks()[Index(previous)], i, salt + k); },
        What(world, group, "send and recv"));
  }
  for (const Event& event : sent) event.Wait();
}

// About `total` elements over the members, each another number and some none.
std::vector<int64_t> UnequalCounts(const Communicator& group, int64_t total, int none) {
  std::vector<int64_t> counts;
  for (int m = 0; m < group.size(); ++m) {
    counts.push_back(m % 3 == none ? 0 : total / group.size() + 7 * m);
  }
  return counts;
}

template <class T>
void CheckMoves(World& world, Communicator& group, int64_t count, int salt) {
  CheckAllGather<T>(world, group, UnequalCounts(group, count, 1), salt);
  CheckAllToAll<T>(world, group, count / (group.size() * group.size()) + 1, salt + 1);
  CheckBroadcast<T>(world, group, count, salt + 2);
  CheckSendRecv<T>(world, group, count, salt + 3);
}

template <class T>
void CheckSums(World& world, Communicator& group, int64_t count, int salt) {
  CheckAllReduce<T>(world, group, count, salt);
  CheckReduceScatter<T>(world, group, UnequalCounts(group, count, 2), salt + 1);
}

// All ranks; all backwards; those whose number has the parity of this one's.
std::vector<Communicator*> Groups(World& world) {
  std::vector<int> all, backwards, parity;
  for (int r = 0; r < world.size(); ++r) {
    all.push_back(r);
    backwards.insert(backwards.begin(), r);
    if (r % 2 == world.rank() % 2) parity.push_back(r);
  }
  return {&world.Group(all, "all"), &world.Group(backwards, "backwards"),
          &world.Group(parity, "parity")};
}

}  // namespace

void CheckCollectives(World& world) {
  int salt = 0;
  for (Communicator* group : Groups(world)) {
    for (int64_t count : {0, 1, 3, 17, 1000}) {
      CheckSums<float>(world, *group, count, ++salt);
      CheckSums<double>(world, *group, count, ++salt);
      CheckSums<int32_t>(world, *group, count, ++salt);
      CheckMoves<float>(world, *group, count, ++salt);
      CheckMoves<BFloat16>(world, *group, count, ++salt);
      CheckMoves<int32_t>(world, *group, count, ++salt);
      group->Barrier().Wait();
    }
  }
}

void CheckLongMessages(World& world) {
  int salt = 1000;
  Communicator& group = *Groups(world)[1];
  // 128 KiB separate short from long; a ring's pieces are 256 KiB.
  for (int64_t count : {int64_t{32767}, int64_t{32769}, 65536 * int64_t{group.size()} + 3}) {
    CheckSums<float>(world, group, count, ++salt);
    CheckMoves<Float16>(world, group, count / 2, ++salt);
  }
  CheckSums<double>(world, group, 50003, ++salt);
}

void CheckManyOutstanding(World& world) {
  const std::vector<Communicator*> groups = Groups(world);
  struct Pending {
    Event event;
    Tensor x;
    Communicator* group;
    int64_t count;
    int salt;
  };
  std::vector<Pending> pending;
  for (int k = 0; k < 40; ++k) {
    Communicator* const group = groups[Index(k) % groups.size()];
    const int64_t count = k % 5 == 0 ? 70001 : 100 * k + 1;
    const Tensor x = MakeInput<float>(world.rank(), count, 2000 + k);
    pending.push_back({group->AllReduce(x, ReduceOp::kSum), x, group, count, 2000 + k});
  }
  std::shuffle(pending.begin(), pending.end(), std::mt19937(static_cast<unsigned>(world.rank())));
  for (const Pending& p : pending) {
    p.event.Wait();
    EXPECT_TRUE(p.event.Done());
    for (int s = 0; s < p.group->size(); ++s) {
      const int64_t begin = PieceBegin(p.count, p.group->size(), s);
      const int64_t end = PieceBegin(p.count, p.group->size(), s + 1);
      ExpectElements<float>(
          p.x.Rows(begin, end - begin),
          [&](int64_t i) {
            return ReduceTwin<float>(world, *p.group, ReduceOp::kSum, s, begin + i, p.salt);
          },
          What(world, *p.group, "outstanding all_reduce"));
    }
  }
}

void CheckGrid(World& world) {
  const Mesh mesh({.shard = 2, .context = 2, .tensor = 2});
  std::vector<Communicator*> groups;
  for (AxisSet axes : {AxisSet(Axis::kTensor), AxisSet(Axis::kContext), AxisSet(Axis::kShard),
                       AxisSet{Axis::kShard, Axis::kContext}}) {
    groups.push_back(&world.Group(mesh.Peers(world.rank(), axes), axes.ToString()));
  }
  for (int round = 0; round < 5; ++round) {
    std::vector<Tensor> xs;
    std::vector<Event> events;
    for (size_t g = 0; g < groups.size(); ++g) {
      xs.push_back(MakeInput<float>(world.rank(), 5000, 3000 + round));
      events.push_back(groups[g]->AllReduce(xs.back(), ReduceOp::kMax));
    }
    for (size_t g = groups.size(); g-- > 0;) {
      events[g].Wait();
      ExpectElements<float>(
          xs[g],
          [&](int64_t i) {
            return ReduceTwin<float>(world, *groups[g], ReduceOp::kMax, 0, i, 3000 + round);
          },
          What(world, *groups[g], "grid"));
    }
  }
}

namespace {

int64_t Sent(World& world, const std::string& group, const std::string& operation) {
  for (const CommCount& count : world.Counts()) {
    if (count.group == group && count.operation == operation) return count.bytes_sent;
  }
  return -1;
}

}  // namespace

void CheckCounts(World& world) {
  std::vector<int> all(Index(world.size()));
  std::iota(all.begin(), all.end(), 0);
  const int64_t n = world.size();
  for (int64_t segment : {int64_t{8}, int64_t{100000}}) {  // short, and long
    const std::string name = StrCat("counted ", segment);
    Communicator& group = world.Group(all, name);
    const int64_t bytes = n * segment * 4;
    const std::vector<int64_t> counts(Index(n), segment);
    const Tensor whole = MakeInput<float>(world.rank(), n * segment, 1);
    const Tensor part = Tensor::Empty({segment}, {});
    group.AllReduce(whole, ReduceOp::kSum).Wait();
    group.ReduceScatter(part, whole, counts).Wait();
    group.AllGather(whole, part, counts).Wait();
    group.AllToAll(whole, counts, whole.Clone(), counts).Wait();
    group.Broadcast(whole, 0).Wait();
    group.Barrier().Wait();
    EXPECT_EQ(Sent(world, name, "all_reduce"), 2 * (n - 1) * bytes / n);
    EXPECT_EQ(Sent(world, name, "reduce_scatter"), (n - 1) * bytes / n);
    EXPECT_EQ(Sent(world, name, "all_gather"), (n - 1) * bytes / n);
    EXPECT_EQ(Sent(world, name, "all_to_all"), (n - 1) * bytes / n);
    EXPECT_EQ(Sent(world, name, "barrier"), 0);
    // Of a broadcast every rank but the root receives the whole once.
    const Tensor sent = Tensor::Zeros({1}, {DType::kF64});
    sent.data<double>()[0] = static_cast<double>(Sent(world, name, "broadcast"));
    group.AllReduce(sent, ReduceOp::kSum).Wait();
    EXPECT_EQ(sent.data<double>()[0], static_cast<double>((n - 1) * bytes));
  }
}

}  // namespace choir::comm_test
