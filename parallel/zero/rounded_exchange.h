// A sum over ranks in which elements travel in bf16: each is rounded once, stochastically, by the
// rank that has it, and added in F32 where it arrives (DeepSeek-V4, section 3.5: all-to-all and a
// local sum, because rings would round at every hop). The elements that stay are rounded as well:
// so the sum does not depend on which rank adds it up.
//
// The mean of a rounded element is the element; n ranks' roundings are independent, so the error of
// a sum of n elements of magnitude at most a is at most 2 n u a, and its root mean square at most
// sqrt(n) u a, with u the unit roundoff of bf16.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "parallel/comm/communicator.h"
#include "tensor/tensor.h"

namespace choir {

class RoundedExchange {
 public:
  // Rounds elements [begin, begin + n) of x to `codes` [n].
  using Encode = std::function<void(int64_t begin, int64_t n, BFloat16* codes)>;

  // Memory for the largest of several exchanges, kept as long as this: `sent` elements of x and
  // `received` ones of all members. Without it Start allocates, whenever that is.
  void Reserve(int64_t sent, int64_t received, Device device);
  // x [sum of counts], F32, on the CPU; segment i is member i's, counts[i] elements. Starts what
  // the event ends; x may be read meanwhile, and is `group`'s no more.
  Event Start(Communicator& group, const Tensor& x, std::span<const int64_t> counts,
              const Encode& encode);
  // Once the event has ended: this rank's segment of x becomes the sum, added in the order of the
  // members. The other segments are not changed.
  void Finish();
  bool pending() const { return mine_.defined(); }

 private:
  Tensor mine_;                       // of x
  Tensor sent_room_, received_room_;  // of Reserve
  Tensor sent_;                       // bf16: all of x
  Tensor received_;                   // bf16: this rank's segment, of each member
  int members_ = 0;
};

}  // namespace choir
