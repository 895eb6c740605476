// Faults that tests put into the program on purpose, to see that `choir verify` would notice them:
// mistakes that distributed training frameworks really made. No config and no argument reaches
// this; without a ScopedFault, Injected costs one relaxed load.
//
// A fault point is one condition in the code that would have the mistake:
//
//   if (i_am_one_of_many && Injected(Fault::kX)) do_it_wrong;
//
// Injected stands last, so that it is asked only where the mistake would have an effect: then the
// hits of a ScopedFault prove that the point was reached, and one rank alone never reaches it.
#pragma once

#include <atomic>
#include <cstdint>
#include <string_view>

namespace choir {

enum class Fault : int {
  kNone,
  // Gradients.
  kTensorSumMissing,      // a gradient of copies on tensor ranks is not summed over them
  kContextSumMissing,     // nor over context ranks
  kReplicaSumMissing,     // nor over replicas
  kExpertDataSumMissing,  // an expert's gradient lacks the other data ranks that hold it
  kHeadSumMissing,        // a norm of heads is not summed over the ranks that share the heads
  kGradientAveraged,      // divided by the data degree, although the loss is a mean already
  kTiedHeadTwice,         // the head's gradient of a tied table is added twice
  kTiedHeadMissing,       // the last stage leaves out the embedding's gradient of its copy
  kGatherGradientScaled,  // the gradient of an all-gather is a mean, not a sum
  kPartialNotSummed,      // a row-parallel product keeps its own part
  // ZeRO.
  kValuesNotGathered,         // one parameter's shards stay where they were updated
  kShardOfNeighbour,          // the boundaries of shards are off by one piece
  kNeighboursPieceSummed,     // reduce-scatter gives the neighbour's piece
  kGradientShardOverwritten,  // a microbatch's shard replaces those before it
  kStaleGather,               // a gathered weight outlives the update
  kGatheredForAnotherUnit,    // what was gathered ahead is another layer's weight
  // Matrices that one shard updates whole.
  kMatrixLacksSlice,     // a matrix is orthogonalised without one rank's part of it
  kMatrixHasNoOwner,     // the shard that owns a matrix takes it for another's
  kMomentumOfNeighbour,  // a matrix goes on with the momentum of the one beside it
  // The gradient norm.
  kNormCountsReplicas,  // copies count each time
  kNormMissesExperts,   // experts count as if all data ranks had the same
  kGroupNormOfRank,     // a group's own limit looks at the norm of this rank's shards
  kNormMissesStages,    // only this stage's parameters count
  // Loss, labels, data.
  kLocalLabelCount,        // each rank divides by its own labels, and the mean is taken
  kLossOnTensorRanks,      // every tensor rank counts the loss
  kRampOnFirstRankOnly,    // the other data ranks do not cut their rows yet
  kMicrobatchDropped,      // the last one of the last data rank
  kLabelLogitTwice,        // vocabulary ranks do not know where their rows begin
  kEmbeddingRowsFromZero,  // the same in the embedding
  kPositionsRestart,       // on each context rank
  kBoundariesOfPiece,      // attention ends at the piece of a context rank
  // Attention on a ring.
  kRingBlockSkipped,      // the keys that come last are not looked at
  kRingMaskByLocalIndex,  // who is later is asked of places on a rank, not in the sequence
  kRingPartialLse,        // backward takes the log-sum-exp of a rank's own keys
  kRingGradientLost,      // gradients of keys that travelled do not return
  // Experts.
  kBiasFromLocalCounts,      // balancing by bias sees this rank's tokens only
  kSlopesFromLocalCounts,    // the balance loss too
  kSourcesSwapped,           // rows that arrive from two ranks are taken for each other's
  kPartsNotSummed,           // an expert's output lacks the other ranks' parts of its width
  kChunkOrderSwapped,        // the pieces of an exchange come back in the wrong order
  kCapacityFromLocalCounts,  // choices on ranks before this one take no capacity
  kDroppedStillSummed,       // dropped choices are counted, but not left out
  kTwoLevelWeightMissing,    // router weights that travel to another node get no gradient
  // Rounded operands of products.
  kBlocksFromOwnElement,  // blocks of a summed dim are counted from a rank's part, not its pieces
  kSquaresFromOwnRow,     // the same of the other dim of 128 x 128 blocks
  kHeadPartNotRounded,    // ranks that share the vocabulary multiply with their rows as they are
  // Pipeline and start.
  kWrongMicrobatch,   // a stage takes another microbatch's tensor
  kInitByLocalIndex,  // initial values depend on where a tensor is cut
  // What a run must survive (not for verify).
  kGradientOverflows,  // an element of a gradient is infinite on one rank
  // What comes back after the forward pass (train.recompute; not for verify: one rank makes them).
  kOffloadOfNeighbour,   // a tensor comes back from the host memory of another
  kReplayNotRounded,     // activations made again keep all their bits
  kRoutingDecidedAgain,  // experts' weights made again are of a new choice, without the bias
  kCount
};

std::string_view Name(Fault fault);

namespace internal {
inline std::atomic<Fault> injected_fault{Fault::kNone};
// Counts the hit; true.
bool HitFault();
}  // namespace internal

// Whether to make this mistake here. Any thread.
inline bool Injected(Fault fault) {
  return internal::injected_fault.load(std::memory_order_relaxed) == fault && internal::HitFault();
}

// Injects one fault, in all threads, as long as it lives. One at a time (CHECKed).
class ScopedFault {
 public:
  explicit ScopedFault(Fault fault);
  ~ScopedFault();
  ScopedFault(const ScopedFault&) = delete;

  // How often it was injected since then.
  int64_t hits() const;
};

}  // namespace choir
