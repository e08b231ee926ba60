#include "model/batch.h"

#include "engine/checked.h"
#include "engine/fail.h"

namespace crisp {
namespace {

// 0, step, .., n step: every sequence has `step` queries.
std::vector<int32_t, CachedAlloc<int32_t>> every(int64_t step, int64_t n) {
  std::vector<int32_t, CachedAlloc<int32_t>> offsets(static_cast<size_t>(n) + 1);
  for (int64_t i = 0; i <= n; ++i)
    offsets[static_cast<size_t>(i)] = checked_int32(static_cast<size_t>(i * step), "queries of heads in one batch");
  return offsets;
}

}  // namespace

Batch::Batch(std::span<const int32_t> ids, std::span<const int32_t> positions, std::span<const int32_t> offsets,
             const Options& options)
    : words_(ids),
      positions_(positions, "positions"),
      sequences_(offsets),
      tree_distances_(options.tree_distances.begin(), options.tree_distances.end()) {
  if (ids.size() != positions.size() || sequences_.keys() != std::ssize(ids))
    fail("a batch of {} ids has {} positions and offsets up to {}", ids.size(), positions.size(), sequences_.keys());
  first_ = Rows(offsets.first(static_cast<size_t>(size())), "offsets");
  one_query_ = Segments(every(1, size()), offsets);
  queries_of_heads_ = Segments(every(options.heads, size()), offsets);
  if (!options.labels.empty()) labels_ = Rows(options.labels, "labels");
  upload(options.device, words_, positions_, sequences_, first_, one_query_, queries_of_heads_, labels_);
}

Segments Batch::first_queries(int64_t copies) const {
  for (const Segments& made : {one_query_, queries_of_heads_})
    if (made.queries() == copies * size()) return made;
  return on(sequences_.device(), Segments(every(copies, size()), sequences_.kv_offsets().host));
}

}  // namespace crisp
