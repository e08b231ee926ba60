// Strings with numbers, found by walking byte by byte: the vocabulary of WordPiece, the patterns of added tokens.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace crisp {

/// A trie of bytes with its edges in one open-addressing hash table; node 0 is the root.
class ByteTrie {
 public:
  ByteTrie() : edges_(1024), values_{-1} {}

  /// A string that is there already gets the new value, which is not negative. Throws BadInput above 2^24 nodes.
  void add(std::string_view text, int32_t value);
  /// The node below `node`, 0 when there is none.
  uint32_t child(uint32_t node, unsigned char byte) const {
    const uint32_t key = node << 8 | byte;
    for (size_t slot = hash(key);; slot = (slot + 1) & (edges_.size() - 1)) {
      const Edge& edge = edges_[slot];
      if (edge.child == 0 || edge.key == key) return edge.child;
    }
  }
  /// The node at which `text` ends, 0 when nothing begins with it (or it is empty).
  uint32_t node_of(std::string_view text) const;
  /// The value of the string that ends at a node, or -1.
  int32_t value(uint32_t node) const { return values_[node]; }
  /// The value of a string, or -1.
  int32_t find(std::string_view text) const;
  bool empty() const { return edge_count_ == 0; }

 private:
  struct Edge {
    uint32_t key;    // node << 8 | byte
    uint32_t child;  // 0 = empty slot: the root is nobody's child
  };

  // Fibonacci hashing; the table's size is a power of two.
  size_t hash(uint32_t key) const { return (key * 0x9E3779B1u >> 7) & (edges_.size() - 1); }
  void place(Edge edge);

  std::vector<Edge> edges_;
  std::vector<int32_t> values_;  // of each node
  uint32_t edge_count_ = 0;
};

}  // namespace crisp
