// Which stream the next document comes from.
//
// The shares are held by worst-case fair queueing (WF2Q; Bennett and Zhang, INFOCOM 1996) in
// integer arithmetic: of the streams that are not ahead of their share, the one whose next document
// would be through first if all streams were read at once, each at its rate. After every document
//
//   -(longest document of any stream) <= tokens_s - share_s * tokens <= longest document of s.
//
// (Drawing from the stream with the largest deficit alone has no such lower bound: a rare stream
// may fall behind by several documents when many streams are due at once.)
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace choir {

class Mixture {
 public:
  Mixture() = default;
  // By stream; 0: not read. A mixture of nothing is empty().
  explicit Mixture(std::vector<int64_t> weights);

  bool empty() const { return total_ == 0; }
  // The stream to draw from, given the tokens drawn so far and the length of each stream's next
  // document (asked for streams that may be drawn only, > 0). Pure. Not of an empty mixture.
  int32_t Choose(const std::vector<int64_t>& drawn,
                 const std::function<int64_t(int32_t)>& next_length) const;

  // What each stream is ahead of its share (rounded up), where it is read; 0 elsewhere. Other
  // shares that start from these counts keep what was promised for the whole run.
  std::vector<int64_t> Lead(const std::vector<int64_t>& drawn) const;

  const std::vector<int64_t>& weights() const { return weights_; }
  int64_t total_weight() const { return total_; }

 private:
  std::vector<int64_t> weights_;
  int64_t total_ = 0;
};

}  // namespace choir
