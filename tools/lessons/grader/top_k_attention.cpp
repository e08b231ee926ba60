#include <algorithm>
#include <cmath>
#include <numeric>

#include "tools/lessons/grader/attention_mistakes.h"

namespace crisp::lessons {
namespace {

CaseMaker maker(uint32_t number, int64_t batch, int64_t queries, int64_t keys, int64_t dim, int64_t kept) {
  return {600 + number,
          {{"batch", static_cast<double>(batch)},
           {"queries", static_cast<double>(queries)},
           {"keys", static_cast<double>(keys)},
           {"dim", static_cast<double>(dim)},
           {"kept", static_cast<double>(kept)}}};
}

Case make_case(uint32_t number, int64_t batch, int64_t queries, int64_t keys, int64_t dim, int64_t kept) {
  CaseMaker make = maker(number, batch, queries, keys, dim, kept);
  const Tensor q = make.input("q", {batch, queries, dim}, 2);
  const Tensor k = make.input("k", {batch, keys, dim}, 2);
  const Tensor v = make.input("v", {batch, keys, dim});
  const Tensor dy = make.input("dy", {batch, queries, dim}, 2);
  return make_attention_case(make, kept, q, k, v, dy);
}

// Queries and keys of small whole numbers, four a row: scores have no rounding, and many are equal.
Case make_case_with_ties(uint32_t number, int64_t batch, int64_t queries, int64_t keys, int64_t kept) {
  CaseMaker make = maker(number, batch, queries, keys, 4, kept);
  const auto whole = [&](const Shape& shape) {
    Values values = make.random(shape, 1.5);
    for (double& value : values) value = std::round(value);
    return values;
  };
  const Tensor q = make.input("q", {batch, queries, 4}, whole({batch, queries, 4}));
  const Tensor k = make.input("k", {batch, keys, 4}, whole({batch, keys, 4}));
  const Tensor v = make.input("v", {batch, keys, 4});
  const Tensor dy = make.input("dy", {batch, queries, 4}, 2);
  return make_attention_case(make, kept, q, k, v, dy);
}

// Of a row's scores, which keys a wrong answer keeps.
using Choice = std::function<std::vector<bool>(std::span<const double> scores, size_t kept)>;

template <class Before>
Choice first_by(Before before, size_t more = 0) {
  return [before, more](std::span<const double> row, size_t kept) {
    std::vector<size_t> order(row.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return before(row, a, b); });
    std::vector<bool> is_kept(row.size());
    for (size_t r = 0; r < std::min(kept + more, row.size()); ++r) is_kept[order[r]] = true;
    return is_kept;
  };
}

bool larger(std::span<const double> row, size_t a, size_t b) { return row[a] != row[b] ? row[a] > row[b] : a < b; }

// What becomes of the chosen: the softmax over them alone, that over all without the others, or that with scores of 0
// in the others' place.
enum class Rest { excluded, removed_after, zero_score };

Values weights_of(const Case& c, const Choice& choose, Rest rest) {
  const auto keys = static_cast<size_t>(c.size("keys"));
  Values weights = scores(c);
  for (size_t i = 0; i < weights.size(); i += keys) {
    const std::span row(weights.data() + i, keys);
    const std::vector<bool> is_kept = choose(row, static_cast<size_t>(c.size("kept")));
    double sum = 0;
    for (size_t j = 0; j < keys; ++j) {
      const double e = is_kept[j] || rest == Rest::removed_after ? std::exp(row[j]) : rest == Rest::zero_score ? 1 : 0;
      sum += e;
      row[j] = is_kept[j] || rest == Rest::zero_score ? e : 0;
    }
    for (double& x : row) x /= sum;
  }
  return weights;
}

Values times_values(const Case& c, const Values& weights) {
  const auto queries = static_cast<size_t>(c.size("queries")), keys = static_cast<size_t>(c.size("keys")),
             dim = static_cast<size_t>(c.size("dim"));
  Values y(c["q"].size());
  for (size_t i = 0; i < y.size() / dim; ++i)
    for (size_t j = 0; j < keys; ++j)
      for (size_t d = 0; d < dim; ++d)
        y[i * dim + d] += weights[i * keys + j] * c["v"][(i / queries * keys + j) * dim + d];
  return y;
}

void add_forward(std::vector<Mistake>& all, const char* id, const char* hint,
                 const std::function<Values(const Case&)>& weights) {
  all.push_back({id, "weights", hint, weights});
  all.push_back({id, "y", hint, [weights](const Case& c) { return times_values(c, weights(c)); }});
}

}  // namespace

Exercise top_k_attention_exercise() {
  Exercise e;
  e.name = "top_k_attention";
  e.title = "attention that keeps the largest scores";
  e.tensors = {"weights", "y", "dq", "dk", "dv"};
  e.read = {"tools/lessons/README.md, lesson 7: sparse attention",
            "engine/attention_rule.h, top_k_row, and what is said of the gradient above it"};
  e.compare = {"engine/cpu/attention/: the selection and the rows of kept keys",
               "model/README.md, sparse attention: the other ways to choose"};
  e.hints = {
      "Forward: order the keys of a query by their scores (std::stable_sort keeps equal ones in their order), take the "
      "first "
      "`kept`, and let exponentials and their sum run over these alone.",
      "Backward: the weights of dropped keys are 0 and stay 0 however little a score changes. So a dropped score has "
      "the gradient "
      "0, and dv and dk of a key get nothing from the queries that dropped it.",
      "Put the weights, with their zeros, into the formulas of exercise 5: what do they give for a dropped key? Then "
      "leave those "
      "keys out of the loops.",
  };
  e.cases = {make_case(1, 2, 3, 6, 5, 2), make_case_with_ties(2, 1, 5, 7, 3), make_case(3, 3, 4, 5, 3, 4),
             make_case(4, 1, 2, 3, 4, 1)};
  auto& all = e.mistakes;
  all = softmax_mistakes();
  add_forward(all, "not-renormalised",
              "the weights that are kept are those of the softmax over all keys: each row must add up to 1 again",
              [](const Case& c) { return weights_of(c, first_by(larger), Rest::removed_after); });
  add_forward(
      all, "zero-score",
      "the dropped keys take part with a score of 0, and e^0 is 1: out of the softmax means a score of -infinity",
      [](const Case& c) { return weights_of(c, first_by(larger), Rest::zero_score); });
  add_forward(all, "kept-smallest", "the smallest scores are kept instead of the largest", [](const Case& c) {
    const auto smaller = [](std::span<const double> row, size_t a, size_t b) {
      return row[a] != row[b] ? row[a] < row[b] : a < b;
    };
    return weights_of(c, first_by(smaller), Rest::excluded);
  });
  add_forward(all, "wrong-ties", "among equal scores a later key was kept; the earlier one wins", [](const Case& c) {
    const auto later = [](std::span<const double> row, size_t a, size_t b) {
      return row[a] != row[b] ? row[a] > row[b] : a > b;
    };
    return weights_of(c, first_by(later), Rest::excluded);
  });
  add_forward(all, "kept-ties", "more than `kept` keys are kept: all that are equal to the last one",
              [](const Case& c) {
                const Choice at_least = [](std::span<const double> row, size_t kept) {
                  std::vector<double> sorted(row.begin(), row.end());
                  std::sort(sorted.begin(), sorted.end(), std::greater<>());
                  std::vector<bool> is_kept;
                  for (const double x : row) is_kept.push_back(x >= sorted[kept - 1]);
                  return is_kept;
                };
                return weights_of(c, at_least, Rest::excluded);
              });
  add_forward(all, "one-too-many", "one key too many is kept",
              [](const Case& c) { return weights_of(c, first_by(larger, 1), Rest::excluded); });
  add_forward(all, "by-size", "the choice goes by the size of the score without its sign", [](const Case& c) {
    const auto larger_size = [](std::span<const double> row, size_t a, size_t b) {
      return std::abs(row[a]) != std::abs(row[b]) ? std::abs(row[a]) > std::abs(row[b]) : a < b;
    };
    return weights_of(c, first_by(larger_size), Rest::excluded);
  });
  add_forward(all, "all-kept", "no key is dropped: this is the attention of exercise 5", all_weights);
  for (const std::string name : {"dq", "dk", "dv"})
    all.push_back(
        {"gradient-to-dropped", name,
         "dropped keys get a gradient: this is the gradient of attention over all keys, and the forward pass has left "
         "some out",
         [name](const Case& c) { return attention_gradient(c, name, all_weights(c), softmax_gradient); }});
  return e;
}

}  // namespace crisp::lessons
