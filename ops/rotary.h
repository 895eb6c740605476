// Rotary position embedding (Su et al. 2021) of queries and keys, with optional per-head RMS
// normalisation before it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "ops/tape.h"

namespace choir {

// Which two dims of a head make the pair (x, y) that frequency i turns.
enum class RotaryStyle {
  kAdjacentPairs,  // 2i and 2i + 1 (RoFormer, DeepSeek)
  kHalfSplit       // i and i + dims / 2 (GPT-NeoX, the Llama of Hugging Face)
};

// Longer contexts by slowing down the low frequencies (YaRN, Peng et al. 2023, section 3). The ramp
// between slowed and unchanged frequencies is linear in the index of the frequency, from
// floor(index of beta_fast) to ceil(index of beta_slow), as in the published implementations.
struct YarnOptions {
  double factor = 1;           // new context / original context, >= 1
  double original_length = 0;  // tokens of the context the model was trained with
  double beta_fast = 32;       // turns over original_length: above, unchanged
  double beta_slow = 1;        // below, slowed by `factor`
  // Multiplies the turned dims of q and k; by default 0.1 ln(factor) + 1. Models that put it into
  // the softmax scale instead (DeepSeek-V3) set 1.
  std::optional<double> mscale;
  bool operator==(const YarnOptions&) const = default;
};

struct RotaryOptions {
  double base = 10000;
  int dims = 0;  // the leading dims of a head that are turned: even, <= head dim; 0: none
  RotaryStyle style = RotaryStyle::kAdjacentPairs;
  std::optional<YarnOptions> yarn;
  bool operator==(const RotaryOptions&) const = default;
};

// Cosines and sines of every position in [0, 2^31), in double. The angle of a position is the sum
// of those of its four bytes, so four tables of 256 rows and the addition theorem hold them all.
// Copies share the tables, and so do those made one after another with equal options.
class RotaryTable {
 public:
  explicit RotaryTable(const RotaryOptions& options);

  const RotaryOptions& options() const { return options_; }
  // Radians per token, [dims / 2].
  std::span<const double> inverse_frequencies() const { return *frequencies_; }
  double mscale() const { return mscale_; }
  // mscale times cos and sin of position * inverse frequency i, both [dims / 2].
  void CosSin(int32_t position, std::span<double> cos, std::span<double> sin) const;

 private:
  RotaryOptions options_;
  double mscale_ = 1;
  std::shared_ptr<const std::vector<double>> frequencies_;
  // [4][256][2][dims / 2]: of digit << 8 * level: cosines, then sines.
  std::shared_ptr<const std::vector<double>> digits_;
};

// RMS normalisation of every query and key head; null: none.
struct QkNorm {
  Parameter* q = nullptr;  // [D], shared by all heads
  Parameter* k = nullptr;
  double eps = 1e-6;
};

// The gradients of the norms are sums over tokens and over groups, which ranks may split. They have
// one order in invariant mode, where the last three are read: the groups are cut into pieces, and
// the sums of a piece and a leaf of tokens are added as a tree with the pieces outermost.
struct QkvOptions {
  Tag tag = "qkv.rotary";
  SumPieces group_pieces;    // of the G groups that are here; null: one piece
  int64_t first_piece = 0;   // the number of group_pieces' first among those of all ranks
  int64_t token_leaves = 0;  // positions that a piece takes in the norms' trees
};

// `qkv` is [T, G, R + 2, D]: per key-value group its R query heads, then key, then value; G may be
// 0. `positions` is i32[T], not negative (CHECKed). The result, of the same shape, holds the
// queries and keys normalised (if asked) and turned, and the values as they are. Backward saves
// positions, and qkv only if there is a norm. Piece p and leaf i of the tape's rows() have position
// (first_piece + p) * token_leaves + index[i] in the norms' trees.
Var PrepareQkv(Tape& tape, const Var& qkv, const QkNorm& norm, const RotaryTable& table,
               const Tensor& positions, const QkvOptions& options = {});

}  // namespace choir
