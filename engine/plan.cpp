#include "engine/plan.h"

#include <algorithm>
#include <array>
#include <limits>

#include "engine/fail.h"

namespace crisp {
namespace {

using List = std::vector<int32_t, CachedAlloc<int32_t>>;

constexpr int64_t most = std::numeric_limits<int32_t>::max();

// Positions 0..n-1 in order of (id, position): a radix sort by bytes, stable and linear.
List sorted_positions(std::span<const int32_t> ids) {
  const int32_t largest = ids.empty() ? 0 : *std::max_element(ids.begin(), ids.end());
  List order(ids.size()), spare(ids.size());
  for (size_t i = 0; i < ids.size(); ++i) order[i] = static_cast<int32_t>(i);
  for (int shift = 0; shift < 32 && largest >> shift > 0; shift += 8) {
    const auto byte_of = [&](int32_t position) {
      return static_cast<size_t>((ids[static_cast<size_t>(position)] >> shift) & 255);
    };
    std::array<size_t, 257> start{};
    for (const int32_t p : order) ++start[byte_of(p) + 1];
    for (size_t k = 0; k < 256; ++k) start[k + 1] += start[k];
    for (const int32_t p : order) spare[start[byte_of(p)]++] = p;
    order.swap(spare);
  }
  return order;
}

// i32, on the host.
Tensor on_host(const char* what, const Tensor& t) {
  if (!t || t.dtype() != DType::i32)
    fail("{} must be an i32 tensor, not {} {}", what, t.label(), t ? name_of(t.dtype()) : "");
  return t.to(Device::cpu);
}

std::span<const int32_t> values_of(const Tensor& host) {
  return {host.data<int32_t>(), static_cast<size_t>(host.numel())};
}

void check_offsets(const char* what, std::span<const int32_t> offsets) {
  if (offsets.empty() || offsets[0] != 0) fail("{} must begin with 0, one more of them than sequences", what);
  for (size_t s = 1; s < offsets.size(); ++s)
    if (offsets[s] < offsets[s - 1]) fail("{} decrease at {}", what, s);
}

}  // namespace

void upload_integers(Device device, std::span<Integers* const> arrays) {
  int64_t total = 0;
  for (const Integers* a : arrays) {
    if (a->device) fail("a plan is on a device already: make another one for the {}", name_of(device));
    total += a->size();
  }
  const Tensor host = Tensor::empty({total}, DType::i32);
  int32_t* to = host.data<int32_t>();
  for (const Integers* a : arrays) to = std::copy(a->host.begin(), a->host.end(), to);
  const Tensor there = host.to(device);
  int64_t at = 0;
  for (Integers* a : arrays) {
    a->device = there.view_rows(at, a->size());
    at += a->size();
  }
}

Rows::Rows(std::span<const int32_t> ids, const char* what) { make(ids, what); }

Rows::Rows(const Tensor& ids, const char* what) {
  const Tensor host = on_host(what, ids);
  make(values_of(host), what);
  plan_->shape = ids.shape();
  upload(ids.device(), *this);
}

void Rows::make(std::span<const int32_t> ids, const char* what) {
  if (std::ssize(ids) > most) fail("{} are too many: {}, more than 2^31 - 1", what, ids.size());
  for (size_t i = 0; i < ids.size(); ++i)
    if (ids[i] < 0) fail("{}[{}] = {} is below 0", what, i, ids[i]);
  plan_ = std::allocate_shared<Plan>(CachedAlloc<Plan>());
  Plan& p = *plan_;
  p.shape = Shape{std::ssize(ids)};
  p.ids.host.assign(ids.begin(), ids.end());
  p.order.host = sorted_positions(ids);
  p.distinct.host.reserve(ids.size());
  p.starts.host.reserve(ids.size() + 1);
  for (int32_t i = 0; const int32_t position : p.order.host) {
    const int32_t id = ids[static_cast<size_t>(position)];
    if (p.distinct.host.empty() || p.distinct.host.back() != id) {
      p.distinct.host.push_back(id);
      p.starts.host.push_back(i);
    }
    ++i;
  }
  p.starts.host.push_back(static_cast<int32_t>(ids.size()));
}

void Rows::arrays(IntegersList& all) const {
  if (plan_) all.insert(all.end(), {&plan_->ids, &plan_->distinct, &plan_->starts, &plan_->order});
}

Segments::Segments(std::span<const int32_t> q_offsets, std::span<const int32_t> kv_offsets)
    : plan_(std::allocate_shared<Plan>(CachedAlloc<Plan>())) {
  check_offsets("q_offsets", q_offsets);
  check_offsets("kv_offsets", kv_offsets);
  if (q_offsets.size() != kv_offsets.size()) fail("q_offsets and kv_offsets are for different batch sizes");
  plan_->q.host.assign(q_offsets.begin(), q_offsets.end());
  plan_->kv.host.assign(kv_offsets.begin(), kv_offsets.end());
  plan_->pairs.host.reserve(q_offsets.size());
  int64_t pairs = 0;
  for (size_t s = 0; s < q_offsets.size(); ++s) {
    if (s > 0) {
      const int64_t n_q = q_offsets[s] - q_offsets[s - 1], n_k = kv_offsets[s] - kv_offsets[s - 1];
      if (n_q > 0 && n_k == 0) fail("sequence {} has queries but no keys", s - 1);
      pairs += n_q * n_k;
    }
    if (pairs > most)
      fail("more than {} (query, key) pairs in one batch of {} sequences; make it smaller", most, batch());
    plan_->pairs.host.push_back(static_cast<int32_t>(pairs));
  }
}

Segments::Segments(const Tensor& q_offsets, const Tensor& kv_offsets)
    : Segments(values_of(on_host("q_offsets", q_offsets)), values_of(on_host("kv_offsets", kv_offsets))) {
  if (kv_offsets.device() != q_offsets.device()) fail("q_offsets and kv_offsets are on different devices");
  upload(q_offsets.device(), *this);
}

void Segments::arrays(IntegersList& all) const {
  if (plan_) all.insert(all.end(), {&plan_->q, &plan_->kv, &plan_->pairs});
}

ListedKeys::ListedKeys(const Segments& segments, int64_t heads, std::span<const int32_t> starts,
                       std::span<const int32_t> keys)
    : plan_(std::allocate_shared<Plan>(CachedAlloc<Plan>())) {
  if (!segments || heads < 1 || starts.empty())
    fail("lists of keys need segments, heads and starts; there are {} heads and {} starts", heads, starts.size());
  const int64_t queries = segments.queries(), lists = std::ssize(starts) - 1;
  if (lists != queries && lists != heads * queries)
    fail("lists of keys: {} starts, but one more than queries are needed, {}, or than queries of heads, {}",
         starts.size(), queries + 1, heads * queries + 1);
  if (starts[0] != 0 || starts.back() != std::ssize(keys))
    fail("lists of keys must run from 0 to {}, the number of keys", keys.size());
  const auto &q = segments.q_offsets().host, &kv = segments.kv_offsets().host;
  for (int64_t first = 0; first < lists; first += queries) {
    for (size_t s = 0; s + 1 < q.size(); ++s) {
      const int32_t n_k = kv[s + 1] - kv[s];
      for (int64_t list = first + q[s]; list < first + q[s + 1]; ++list) {
        const int32_t begin = starts[static_cast<size_t>(list)], end = starts[static_cast<size_t>(list) + 1];
        if (end <= begin) fail("list {} is empty: a query needs a key", list);
        if (end > std::ssize(keys)) fail("list {} ends at {}, but there are {} keys", list, end, keys.size());
        for (int32_t t = begin; t < end; ++t) {
          const int32_t key = keys[static_cast<size_t>(t)];
          if (key < 0 || key >= n_k) fail("list {} has key {} in a sequence of {} keys", list, key, n_k);
          if (t > begin && key <= keys[static_cast<size_t>(t) - 1])
            fail("list {}: keys must increase, but {} follows {}", list, key, keys[static_cast<size_t>(t) - 1]);
        }
      }
    }
  }
  plan_->by_head = lists != queries;
  plan_->heads = heads;
  plan_->segments = segments;
  plan_->starts.host.assign(starts.begin(), starts.end());
  plan_->keys.host.assign(keys.begin(), keys.end());
}

void ListedKeys::arrays(IntegersList& all) const {
  if (plan_) all.insert(all.end(), {&plan_->starts, &plan_->keys});
}

}  // namespace crisp
