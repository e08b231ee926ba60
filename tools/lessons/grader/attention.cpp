#include "tools/lessons/grader/attention_mistakes.h"

namespace crisp::lessons {
namespace {

Case make_case(uint32_t number, int64_t batch, int64_t queries, int64_t keys, int64_t dim) {
  CaseMaker make(500 + number, {{"batch", static_cast<double>(batch)},
                                {"queries", static_cast<double>(queries)},
                                {"keys", static_cast<double>(keys)},
                                {"dim", static_cast<double>(dim)}});
  const Tensor q = make.input("q", {batch, queries, dim}, 2);
  const Tensor k = make.input("k", {batch, keys, dim}, 2);
  const Tensor v = make.input("v", {batch, keys, dim});
  const Tensor dy = make.input("dy", {batch, queries, dim}, 2);
  return make_attention_case(make, 0, q, k, v, dy);
}

// dv with something else in the weights' place.
Values dv_of_scores(const Case& c) { return attention_gradient(c, "dv", scores(c), softmax_gradient); }

// dv with v in dy's place or the plain sum of dy: what each key gets whatever its weight.
Values dv_without_weights(const Case& c) {
  return attention_gradient(c, "dv", Values(c["weights"].size(), 1.0), softmax_gradient);
}

}  // namespace

Exercise attention_exercise() {
  Exercise e;
  e.name = "attention";
  e.title = "attention, one head";
  e.tensors = {"weights", "y", "dq", "dk", "dv"};
  e.given = {"weights", "y"};
  e.read = {"tools/lessons/README.md, lesson 6: attention", "arXiv 1706.03762, section 3.2.1: the function",
            "engine/formulas.h, from \"weights that add up to 1 along a row\" on: the derivative of a softmax"};
  e.compare = {"engine/ops/attention.cpp: the same for many heads and sequences of any lengths",
               "engine/cpu/attention/backward.cpp: the same, fast"};
  e.hints = {
      "Go backwards, a line of the forward pass at a time, and write down shapes: dweights [queries, keys] comes from "
      "dy "
      "[queries, dim] and v [keys, dim]; dv [keys, dim] from the weights [queries, keys] and dy [queries, dim].",
      "A row of dscores: each dweights[l] reaches score j by d(p_l)/d(s_j) = p_l ([l = j] - p_j). Sum over l: what "
      "remains is p_j "
      "times (dweights[j], less one number that is the same for the whole row).",
      "dq[i] is the sum over keys of dscores[i, j] k[j], dk[j] the sum over queries of dscores[i, j] q[i], both times "
      "the "
      "scale, which multiplied the scores. Each key of a sequence gets something from each of its queries.",
  };
  e.cases = {make_case(1, 2, 3, 5, 4), make_case(2, 1, 4, 2, 3), make_case(3, 3, 2, 6, 5)};
  e.mistakes = softmax_mistakes();
  e.mistakes.push_back(
      {"scores-for-weights", "dv", "this takes the scores; y is a sum of values times their weights", dv_of_scores});
  e.mistakes.push_back({"missing-weights", "dv",
                        "each query's dy goes to each key by that key's weight, which is missing", dv_without_weights});
  return e;
}

}  // namespace crisp::lessons
