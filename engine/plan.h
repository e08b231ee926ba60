// Plans: what the host knows of a batch, which rows of tables it looks up and where its sequences begin. Checked once,
// where the batch is made; the operations, forward and backward, trust it, and no layer asks the device.
//
//   Rows words(ids);
//   Segments sequences(offsets);
//   upload(Device::cuda, words, sequences);  // one copy for all of them
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <vector>

#include "engine/host_memory.h"
#include "engine/shape.h"
#include "engine/tensor.h"

namespace crisp {

using IntegersList = std::vector<Integers*, CachedAlloc<Integers*>>;

/// The rows of a table that are looked up, and the order in which its gradient adds up what comes back for them: that
/// of the lookups. Copies share the plan.
class Rows {
 public:
  Rows() = default;
  /// Throws Error, with position and value, for an id below 0, and for 2^31 ids or more. That none is beyond a table's
  /// end is checked where they meet a table: the largest is known.
  explicit Rows(std::span<const int32_t> ids, const char* what = "ids");
  /// From i32 ids of any shape, on whose device the plan is then. They are copied to the host.
  Rows(const Tensor& ids, const char* what = "ids");

  explicit operator bool() const { return plan_ != nullptr; }
  /// Of the ids.
  const Shape& shape() const { return plan_->shape; }
  int64_t size() const { return plan_->ids.size(); }
  Device device() const { return plan_->ids.device.device(); }

  const Integers& ids() const { return plan_->ids; }
  /// Each row that is looked up once, increasing.
  const Integers& distinct() const { return plan_->distinct; }
  /// distinct()[i] is what the lookups order()[starts()[i]] .. order()[starts()[i + 1] - 1] are for; they increase.
  const Integers& starts() const { return plan_->starts; }
  const Integers& order() const { return plan_->order; }

  /// Adds the arrays of the plan, if there is one, for upload().
  void arrays(IntegersList& all) const;
  /// For who keeps the rows longer than the plan.
  std::shared_ptr<const Integers> shared_distinct() const { return {plan_, &plan_->distinct}; }

 private:
  struct Plan {
    Shape shape;
    Integers ids, distinct, starts, order;
  };
  void make(std::span<const int32_t> ids, const char* what);

  std::shared_ptr<Plan> plan_;
};

/// Sequences of queries and their keys, each one after the other without padding: those of sequence s are rows
/// q_offsets[s] .. q_offsets[s + 1] - 1 of the queries and kv_offsets[s] .. kv_offsets[s + 1] - 1 of the keys. Copies
/// share the plan.
class Segments {
 public:
  Segments() = default;
  /// Throws Error where offsets do not begin at 0, decrease or differ in number, where a sequence has queries and no
  /// key, and for 2^31 pairs or more.
  Segments(std::span<const int32_t> q_offsets, std::span<const int32_t> kv_offsets);
  /// Of self-attention.
  explicit Segments(std::span<const int32_t> offsets) : Segments(offsets, offsets) {}
  /// From i32 [batch + 1], on whose device the plan is then. They are copied to the host.
  Segments(const Tensor& q_offsets, const Tensor& kv_offsets);

  explicit operator bool() const { return plan_ != nullptr; }
  int64_t batch() const { return plan_->q.size() - 1; }
  int64_t queries() const { return plan_->q.host.back(); }
  int64_t keys() const { return plan_->kv.host.back(); }
  /// Of a query and a key of its sequence.
  int64_t pairs() const { return plan_->pairs.host.back(); }
  Device device() const { return plan_->q.device.device(); }
  /// Whether they have the same offsets.
  friend bool operator==(const Segments& a, const Segments& b) {
    return a.plan_ == b.plan_ ||
           (a.plan_ && b.plan_ && a.plan_->q.host == b.plan_->q.host && a.plan_->kv.host == b.plan_->kv.host);
  }
  /// Whether queries and keys are the same rows.
  bool same() const { return plan_->q.host == plan_->kv.host; }

  const Integers& q_offsets() const { return plan_->q; }
  const Integers& kv_offsets() const { return plan_->kv; }
  /// [batch + 1]: the pairs of the sequences before.
  const Integers& pair_offsets() const { return plan_->pairs; }

  void arrays(IntegersList& all) const;

 private:
  struct Plan {
    Integers q, kv, pairs;
  };
  std::shared_ptr<Plan> plan_;
};

/// Lists of the keys that each query keeps, for Selection::listed. Row r of the queries and head h keep
/// keys[starts[i] .. starts[i + 1]] with i = r where one list serves all heads and i = h * queries + r else: positions
/// within the sequence, increasing, at least one. Copies share the plan.
class ListedKeys {
 public:
  ListedKeys() = default;
  /// Throws Error, naming the list, for one that is not so, or where the number of lists is neither.
  ListedKeys(const Segments& segments, int64_t heads, std::span<const int32_t> starts, std::span<const int32_t> keys);

  explicit operator bool() const { return plan_ != nullptr; }
  bool by_head() const { return plan_->by_head; }
  int64_t heads() const { return plan_->heads; }
  /// What they were checked against.
  const Segments& segments() const { return plan_->segments; }
  const Integers& starts() const { return plan_->starts; }
  const Integers& keys() const { return plan_->keys; }

  void arrays(IntegersList& all) const;

 private:
  struct Plan {
    bool by_head = false;
    int64_t heads = 0;
    Segments segments;
    Integers starts, keys;
  };
  std::shared_ptr<Plan> plan_;
};

/// Brings integers to a device, all of them in one copy, once: throws Error for some that are on a device already,
/// since who shares them would read them there.
void upload_integers(Device device, std::span<Integers* const> arrays);

/// The same for whole plans.
template <class... Plans>
void upload(Device device, const Plans&... plans) {
  IntegersList all;
  (plans.arrays(all), ...);
  upload_integers(device, all);
}

/// The plan, on the device.
template <class Plan>
Plan on(Device device, Plan plan) {
  upload(device, plan);
  return plan;
}

}  // namespace crisp
