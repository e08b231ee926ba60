// Tokenised datasets, packed batches, and the order of an epoch.
#include "data/batch.h"

#include <algorithm>
#include <set>

#include "engine/error.h"
#include "tests/support/catch.h"

using namespace crisp;

namespace {

WordPiece letters() {
  return WordPiece::from_tokens({"[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b", "c", "##a", "##b", "##c"});
}

Dataset three() { return {.path = "three", .examples = {{"a b", 1}, {"c", 0}, {"a b c a b c", 1}}, .num_labels = 2}; }

}  // namespace

TEST_CASE("batch: examples lie back to back with their positions and labels") {
  const TokenizedDataset data(three(), letters(), 6);
  CHECK(data.size() == 3);
  CHECK(data.num_labels() == 2);
  CHECK(data.labelled());
  CHECK(data.truncated() == 1);
  CHECK(data.max_tokens() == 6);
  CHECK(data.total_tokens() == 4 + 3 + 6);

  PackedBatch batch;
  fill_batch(data, std::vector<int32_t>{2, 1}, batch);
  CHECK(batch.ids == std::vector<int32_t>{2, 4, 5, 6, 4, 3, 2, 6, 3});
  CHECK(batch.positions == std::vector<int32_t>{0, 1, 2, 3, 4, 5, 0, 1, 2});
  CHECK(batch.offsets == std::vector<int32_t>{0, 6, 9});
  CHECK(batch.labels == std::vector<int32_t>{1, 0});
  CHECK(batch.example_index == std::vector<int32_t>{2, 1});
  CHECK(batch.total() == 9);
  CHECK(batch.batch_size() == 2);
}

TEST_CASE("batch: a subset holds the given examples in their order") {
  const TokenizedDataset data(three(), letters(), 6);
  const TokenizedDataset part = data.subset(std::vector<int32_t>{2, 0});
  CHECK(part.size() == 2);
  CHECK(part.num_labels() == 2);
  CHECK(part.max_tokens() == 6);
  CHECK(part.total_tokens() == 6 + 4);
  CHECK(part.truncated() == 0);
  for (int32_t i = 0; i < 2; ++i) {
    const int32_t from = i == 0 ? 2 : 0;
    const auto ids = part.ids(i), expected = data.ids(from);
    CHECK(std::equal(ids.begin(), ids.end(), expected.begin(), expected.end()));
    CHECK(part.label(i) == data.label(from));
  }
  CHECK(data.subset({}).size() == 0);
  CHECK_THROWS_AS(data.subset(std::vector<int32_t>{3}), Error);
}

TEST_CASE("batch: a part of the examples is carved out by the seed alone") {
  const CarvedExamples parts = carve(7, 100, 0.25);
  CHECK(parts.carved.size() == 25);
  CHECK(parts.rest.size() == 75);
  CHECK(std::is_sorted(parts.carved.begin(), parts.carved.end()));
  CHECK(std::is_sorted(parts.rest.begin(), parts.rest.end()));
  std::vector<int32_t> all = parts.rest;
  all.insert(all.end(), parts.carved.begin(), parts.carved.end());
  std::sort(all.begin(), all.end());
  CHECK(all == sequential_order(100));
  CHECK(carve(7, 100, 0.25).carved == parts.carved);
  CHECK(carve(8, 100, 0.25).carved != parts.carved);
  CHECK(carve(7, 100, 1e-9).carved.size() == 1);
  CHECK(carve(7, 2, 0.999).rest.size() == 1);
  CHECK_THROWS_AS(carve(7, 1, 0.5), UsageError);
}

TEST_CASE("batch: filling again reuses the memory, and reserved memory is never exceeded") {
  const TokenizedDataset data(three(), letters(), 100);
  PackedBatch batch;
  reserve_batch(data, 3, batch);
  const auto* ids = batch.ids.data();
  const auto* positions = batch.positions.data();
  const auto* offsets = batch.offsets.data();
  const auto* labels = batch.labels.data();
  const auto* index = batch.example_index.data();
  for (const auto& indices : {std::vector<int32_t>{1}, {2, 1, 0}, {}, {0, 1, 2}}) {
    fill_batch(data, indices, batch);
    CHECK(batch.ids.data() == ids);
    CHECK(batch.positions.data() == positions);
    CHECK(batch.offsets.data() == offsets);
    CHECK(batch.labels.data() == labels);
    CHECK(batch.example_index.data() == index);
    CHECK(batch.batch_size() == static_cast<int>(indices.size()));
    CHECK(batch.offsets.size() == indices.size() + 1);
  }
  CHECK_THROWS_AS(fill_batch(data, std::vector<int32_t>{3}, batch), Error);
  CHECK_THROWS_AS(fill_batch(data, std::vector<int32_t>{-1}, batch), Error);
}

TEST_CASE("batch: tokenising gives the same at any number of threads") {
  Dataset dataset{.path = "many", .examples = {}, .num_labels = 3};
  for (int i = 0; i < 3001; ++i) {
    std::string text;
    for (int j = 0; j < i % 11; ++j) text += "abc"[(i * 7 + j) % 3], text += j % 2 ? " " : "";
    dataset.examples.push_back({text, i % 3});
  }
  const auto tokenizer = letters();
  std::vector<std::vector<int32_t>> results;
  for (const int threads : {1, 2, 4, 7}) {
    const TokenizedDataset data(dataset, tokenizer, 7, "", threads);
    PackedBatch all;
    fill_batch(data, sequential_order(data.size()), all);
    all.ids.insert(all.ids.end(), all.offsets.begin(), all.offsets.end());
    all.ids.insert(all.ids.end(), all.labels.begin(), all.labels.end());
    all.ids.push_back(data.truncated());
    results.push_back(all.ids);
  }
  for (const auto& result : results) CHECK(result == results[0]);
  CHECK_THROWS_AS(TokenizedDataset(dataset, tokenizer, 1), UsageError);
}

TEST_CASE("batch: a dataset without labels keeps -1") {
  const TokenizedDataset data({.path = "test", .examples = {{"a", -1}, {"b", -1}}, .num_labels = 0}, letters(), 8);
  CHECK_FALSE(data.labelled());
  PackedBatch batch;
  fill_batch(data, std::vector<int32_t>{0, 1}, batch);
  CHECK(batch.labels == std::vector<int32_t>{-1, -1});
}

TEST_CASE(
    "batch: the room for the largest batch is that of the longest examples, not of as many as long as the longest") {
  Dataset dataset{.path = "skewed", .examples = {{"", 0}}, .num_labels = 1};
  for (int i = 0; i < 1000; ++i) dataset.examples[0].text += "a ";
  for (int i = 0; i < 999; ++i) dataset.examples.push_back({"b", 0});
  const TokenizedDataset data(dataset, letters(), 5000);
  REQUIRE(data.max_tokens() == 1002);
  for (const int batch_size : {1, 2, 1000, 1'000'000}) {
    INFO(batch_size);
    PackedBatch batch;
    reserve_batch(data, batch_size, batch);
    const size_t tokens = 1002 + 3 * (static_cast<size_t>(std::min(batch_size, 1000)) - 1);
    CHECK(batch.ids.capacity() == tokens);
    CHECK(batch.positions.capacity() == tokens);
    std::vector<int32_t> largest = sequential_order(std::min(batch_size, 1000));
    const int32_t* const before = batch.ids.data();
    fill_batch(data, largest, batch);
    CHECK(batch.ids.data() == before);
  }
}

TEST_CASE("order: each epoch is its own permutation, the same for the same seed") {
  const auto first = epoch_order(42, 0, 1000);
  CHECK(std::set<int32_t>(first.begin(), first.end()).size() == 1000);
  CHECK(*std::min_element(first.begin(), first.end()) == 0);
  CHECK(*std::max_element(first.begin(), first.end()) == 999);
  CHECK(first == epoch_order(42, 0, 1000));
  CHECK(first != epoch_order(42, 1, 1000));
  CHECK(first != epoch_order(43, 0, 1000));
  CHECK(first != sequential_order(1000));
  CHECK(epoch_order(42, 0, 0).empty());
  CHECK(epoch_order(42, 0, 1) == std::vector<int32_t>{0});
}

TEST_CASE("order: batches cover the order once, the last one may be smaller") {
  const auto order = epoch_order(1, 2, 10);
  CHECK(batch_count(10, 4) == 3);
  CHECK(batch_count(8, 4) == 2);
  CHECK(batch_count(0, 4) == 0);
  std::vector<int32_t> seen;
  for (int64_t b = 0; b < batch_count(10, 4); ++b) {
    const auto slice = batch_slice(order, 4, b);
    CHECK(slice.size() == (b < 2 ? 4u : 2u));
    seen.insert(seen.end(), slice.begin(), slice.end());
  }
  CHECK(seen == order);
  CHECK_THROWS_AS(batch_slice(order, 4, 3), Error);
  CHECK_THROWS_AS(batch_count(10, 0), UsageError);
}
