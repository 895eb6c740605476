// Finds the longest token at a place.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace choir {

// Tokens by their index, as a double-array trie (Aoe 1989). No token is empty, no two are equal.
class TokenTrie {
 public:
  explicit TokenTrie(const std::vector<std::string>& tokens);
  // The longest token that [p, end) begins with; -1 if there is none.
  int32_t LongestPrefix(const uint8_t* p, const uint8_t* end) const {
    const Node* const nodes = nodes_.data();
    int32_t node = 0, best = -1;
    for (; p != end; ++p) {
      const int32_t next = nodes[node].base + *p;
      if (nodes[next].parent != node) break;
      node = next;
      if (nodes[node].code >= 0) best = nodes[node].code;
    }
    return best;
  }

 private:
  struct Node {
    int32_t base = 0;     // of the children: the one by byte b is at base + b
    int32_t parent = -1;  // -1: free
    int32_t code = -1;
  };
  std::vector<Node> nodes_;
};

}  // namespace choir
