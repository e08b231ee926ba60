#include "data/batch.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "data/input/file.h"
#include "data/parse_alignment.h"
#include "data/text_file.h"
#include "engine/checked.h"
#include "engine/cpu/threads/team.h"
#include "engine/fail.h"
#include "engine/random.h"

namespace crisp {
namespace {

// A contiguous piece of the dataset, tokenised by one thread.
struct Chunk {
  std::vector<int32_t> ids;
  std::vector<int32_t> lengths;
  int32_t truncated = 0;
};

std::span<const int32_t> slice(const std::vector<int32_t>& values, const std::vector<int64_t>& offsets, int32_t i) {
  const auto at = static_cast<size_t>(i);
  return std::span(values).subspan(static_cast<size_t>(offsets[at]),
                                   static_cast<size_t>(offsets[at + 1] - offsets[at]));
}

// Appends the n x n distances between the tokens of an example.
void append_tree_distances(std::span<const int32_t> heads, std::span<const int32_t> nodes, std::vector<int32_t>& out) {
  const size_t n = nodes.size(), begin = out.size();
  out.resize(begin + n * n);
  int32_t* distances = out.data() + begin;
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < i; ++j) {
      distances[i * n + j] = distances[j * n + i] = tree_distance(heads, nodes[i], nodes[j]);
    }
  }
}

// Where `count` parses, which are not as many as the examples, part from these: the rest of a message.
std::string parting(const Dataset& dataset, const std::string& content, const std::string& path, size_t count) {
  ParsedSentence parse;
  ConlluReader reader(content, path);
  for (size_t i = 0; i < dataset.examples.size() && reader.next(parse); ++i) {
    const std::string difference = text_difference(dataset.examples[i].text, dataset.place(i), parse);
    if (!difference.empty()) return "\nThe first that differ are " + difference;
  }
  return "\nThey agree as far as both go: the rest is missing at the end of " +
         (count < dataset.examples.size() ? path : dataset.path);
}

}  // namespace

TokenizedDataset::TokenizedDataset(const Dataset& dataset, const WordPiece& tokenizer, int max_length,
                                   const std::string& parses, int threads)
    : num_labels_(dataset.num_labels) {
  const auto n = static_cast<size_t>(checked_int32(dataset.examples.size(), "examples"));
  const size_t chunk_count = std::clamp<size_t>(n / 256, 1, static_cast<size_t>(std::max(1, threads)));
  std::vector<Chunk> chunks(chunk_count);
  parallel_for(std::ssize(chunks), threads, [&](int64_t at) {
    const auto c = static_cast<size_t>(at);
    Chunk& chunk = chunks[c];
    for (size_t i = n * c / chunk_count; i < n * (c + 1) / chunk_count; ++i) {
      const size_t before = chunk.ids.size();
      chunk.truncated += tokenizer.encode_to(dataset.examples[i].text, max_length, chunk.ids);
      chunk.lengths.push_back(static_cast<int32_t>(chunk.ids.size() - before));
    }
  });
  size_t total = 0;
  for (const Chunk& chunk : chunks) total += chunk.ids.size();
  ids_.reserve(total);
  offsets_.reserve(n + 1);
  offsets_.push_back(0);
  for (const Chunk& chunk : chunks) {
    ids_.insert(ids_.end(), chunk.ids.begin(), chunk.ids.end());
    for (const int32_t length : chunk.lengths) {
      offsets_.push_back(offsets_.back() + length);
      max_tokens_ = std::max(max_tokens_, static_cast<int>(length));
    }
    truncated_ += chunk.truncated;
  }
  labels_.reserve(n);
  for (const Example& example : dataset.examples) labels_.push_back(example.label);
  if (!parses.empty()) add_parses(dataset, tokenizer, max_length, parses);
}

TokenizedDataset TokenizedDataset::subset(std::span<const int32_t> examples) const {
  TokenizedDataset part;
  part.num_labels_ = num_labels_;
  part.offsets_.push_back(0);
  for (const int32_t i : examples) {
    if (i < 0 || i >= size()) fail("subset: example {} of a dataset of {}", i, size());
    const std::span<const int32_t> tokens = ids(i);
    part.ids_.insert(part.ids_.end(), tokens.begin(), tokens.end());
    part.offsets_.push_back(static_cast<int64_t>(part.ids_.size()));
    part.labels_.push_back(label(i));
    part.max_tokens_ = std::max(part.max_tokens_, static_cast<int>(tokens.size()));
    if (!parsed()) continue;
    if (part.tree_offsets_.empty()) part.tree_offsets_.push_back(0);
    const std::span<const int32_t> nodes = tree_nodes(i), heads = tree_heads(i);
    part.tree_nodes_.insert(part.tree_nodes_.end(), nodes.begin(), nodes.end());
    part.tree_heads_.insert(part.tree_heads_.end(), heads.begin(), heads.end());
    part.tree_offsets_.push_back(static_cast<int64_t>(part.tree_heads_.size()));
  }
  return part;
}

void TokenizedDataset::add_parses(const Dataset& dataset, const WordPiece& tokenizer, int max_length,
                                  const std::string& path) {
  const std::string content = read_input(path, input_limit::dataset);
  ParsedSentence parse;
  // A wrong number of sentences explains why texts differ, so it comes first.
  int32_t count = 0;
  for (ConlluReader reader(content, path); reader.next(parse);) ++count;
  if (count != size()) {
    fail<BadInput>("{}: {} parsed sentence{}, but {} has {} example{}; one per example is needed, in the same order{}",
                   path, count, count == 1 ? "" : "s", dataset.path, size(), size() == 1 ? "" : "s",
                   parting(dataset, content, path, static_cast<size_t>(count)));
  }
  ConlluReader reader(content, path);
  tree_nodes_.reserve(ids_.size());
  tree_offsets_.assign(1, 0);
  for (size_t i = 0; i < dataset.examples.size(); ++i) {
    reader.next(parse);
    const std::string& text = dataset.examples[i].text;
    const auto spans = align_words(text, dataset.place(i), parse);
    const TokenTree tree = token_tree(tokenizer.encode_with_offsets(text, max_length), spans, parse);
    tree_nodes_.insert(tree_nodes_.end(), tree.nodes.begin(), tree.nodes.end());
    tree_heads_.insert(tree_heads_.end(), tree.heads.begin(), tree.heads.end());
    tree_offsets_.push_back(static_cast<int64_t>(tree_heads_.size()));
  }
}

std::span<const int32_t> TokenizedDataset::ids(int32_t i) const { return slice(ids_, offsets_, i); }

std::span<const int32_t> TokenizedDataset::tree_heads(int32_t i) const { return slice(tree_heads_, tree_offsets_, i); }

std::span<const int32_t> TokenizedDataset::tree_nodes(int32_t i) const { return slice(tree_nodes_, offsets_, i); }

void fill_batch(const TokenizedDataset& dataset, std::span<const int32_t> indices, PackedBatch& batch) {
  batch.ids.clear();
  batch.positions.clear();
  batch.offsets.assign(1, 0);
  batch.labels.clear();
  batch.tree_distances.clear();
  batch.example_index.assign(indices.begin(), indices.end());
  for (const int32_t i : indices) {
    if (i < 0 || i >= dataset.size()) fail("fill_batch: example {} of a dataset of {}", i, dataset.size());
    const auto ids = dataset.ids(i);
    batch.ids.insert(batch.ids.end(), ids.begin(), ids.end());
    for (size_t position = 0; position < ids.size(); ++position) {
      batch.positions.push_back(static_cast<int32_t>(position));
    }
    batch.offsets.push_back(checked_int32(batch.ids.size(), "tokens in one batch"));
    batch.labels.push_back(dataset.label(i));
    if (dataset.parsed()) append_tree_distances(dataset.tree_heads(i), dataset.tree_nodes(i), batch.tree_distances);
  }
}

void reserve_batch(const TokenizedDataset& dataset, int batch_size, PackedBatch& batch) {
  // The longest examples may meet in one batch.
  const auto examples = static_cast<size_t>(std::min(batch_size, dataset.size()));
  std::vector<size_t> lengths;
  for (int32_t i = 0; i < dataset.size(); ++i) lengths.push_back(dataset.ids(i).size());
  std::nth_element(lengths.begin(), lengths.begin() + static_cast<std::ptrdiff_t>(examples), lengths.end(),
                   std::greater<>());
  lengths.resize(examples);
  const size_t tokens = std::accumulate(lengths.begin(), lengths.end(), size_t{0});
  batch.ids.reserve(static_cast<size_t>(checked_int32(tokens, "tokens in one batch")));
  batch.positions.reserve(tokens);
  batch.offsets.reserve(examples + 1);
  batch.labels.reserve(examples);
  batch.example_index.reserve(examples);
  if (dataset.parsed())
    batch.tree_distances.reserve(std::inner_product(lengths.begin(), lengths.end(), lengths.begin(), size_t{0}));
}

std::vector<int32_t> epoch_order(uint64_t seed, uint32_t epoch, int32_t n) {
  return permutation({.seed = seed, .stream = Stream::order, .step = epoch, .site = 0}, n);
}

CarvedExamples carve(uint64_t seed, int32_t n, double fraction) {
  if (n < 2) fail<UsageError>("{} examples cannot be divided", n);
  // A site of its own: no epoch's order.
  const std::vector<int32_t> order = permutation({.seed = seed, .stream = Stream::order, .step = 0, .site = 1}, n);
  const auto count = std::clamp(static_cast<int32_t>(std::lround(fraction * n)), 1, n - 1);
  CarvedExamples parts{{order.begin() + count, order.end()}, {order.begin(), order.begin() + count}};
  std::sort(parts.rest.begin(), parts.rest.end());
  std::sort(parts.carved.begin(), parts.carved.end());
  return parts;
}

std::vector<int32_t> sequential_order(int32_t n) {
  std::vector<int32_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  return order;
}

int64_t batch_count(int64_t examples, int batch_size) {
  if (batch_size < 1) fail<UsageError>("batch size {} is not positive", batch_size);
  return (examples + batch_size - 1) / batch_size;
}

std::span<const int32_t> batch_slice(std::span<const int32_t> order, int batch_size, int64_t b) {
  if (b < 0 || b >= batch_count(static_cast<int64_t>(order.size()), batch_size)) {
    fail("batch {} of {}", b, batch_count(static_cast<int64_t>(order.size()), batch_size));
  }
  const size_t begin = static_cast<size_t>(b) * static_cast<size_t>(batch_size);
  return order.subspan(begin, std::min(static_cast<size_t>(batch_size), order.size() - begin));
}

}  // namespace crisp
