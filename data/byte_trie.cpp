#include "data/byte_trie.h"

#include "engine/fail.h"

namespace crisp {

void ByteTrie::place(Edge edge) {
  size_t slot = hash(edge.key);
  while (edges_[slot].child != 0) slot = (slot + 1) & (edges_.size() - 1);
  edges_[slot] = edge;
}

void ByteTrie::add(std::string_view text, int32_t value) {
  uint32_t node = 0;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    uint32_t next = child(node, byte);
    if (next == 0) {
      if (values_.size() >= (1u << 24)) fail<BadInput>("the vocabulary is too large: more than 2^24 prefixes");
      if (2 * (edge_count_ + 1) > edges_.size()) {
        std::vector<Edge> old(edges_.size() * 2);
        old.swap(edges_);
        for (const Edge& edge : old)
          if (edge.child != 0) place(edge);
      }
      next = static_cast<uint32_t>(values_.size());
      values_.push_back(-1);
      place({node << 8 | byte, next});
      ++edge_count_;
    }
    node = next;
  }
  values_[node] = value;
}

uint32_t ByteTrie::node_of(std::string_view text) const {
  uint32_t node = 0;
  for (const char c : text) {
    node = child(node, static_cast<unsigned char>(c));
    if (node == 0) break;
  }
  return node;
}

int32_t ByteTrie::find(std::string_view text) const {
  const uint32_t node = node_of(text);
  return node == 0 && !text.empty() ? -1 : value(node);
}

}  // namespace crisp
