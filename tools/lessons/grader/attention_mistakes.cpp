#include "tools/lessons/grader/attention_mistakes.h"

#include <algorithm>
#include <cmath>

#include "engine/ops.h"

namespace crisp::lessons {
namespace {

struct Sizes {
  explicit Sizes(const Case& c)
      : batch(static_cast<size_t>(c.size("batch"))),
        queries(static_cast<size_t>(c.size("queries"))),
        keys(static_cast<size_t>(c.size("keys"))),
        dim(static_cast<size_t>(c.size("dim"))) {}
  size_t batch, queries, keys, dim;
};

std::vector<int32_t> offsets(int64_t batch, int64_t length) {
  std::vector<int32_t> begins;
  for (int64_t b = 0; b <= batch; ++b) begins.push_back(static_cast<int32_t>(b * length));
  return begins;
}

double dot(const Values& a, size_t row_a, const Values& b, size_t row_b, size_t dim) {
  double sum = 0;
  for (size_t c = 0; c < dim; ++c) sum += a[row_a * dim + c] * b[row_b * dim + c];
  return sum;
}

Values gradient_of(const std::string& name, const Case& c, const ScoreGradient& ds) {
  return attention_gradient(c, name, c["weights"], ds);
}

}  // namespace

Case make_attention_case(CaseMaker& make, int64_t kept, const Tensor& q, const Tensor& k, const Tensor& v,
                         const Tensor& dy) {
  const int64_t batch = q.dim(0), queries = q.dim(1), keys = k.dim(1), dim = q.dim(2);
  const Segments segments = on(Device::cpu, Segments(offsets(batch, queries), offsets(batch, keys)));
  AttentionRule rule = {.scale = 1 / std::sqrt(static_cast<double>(dim))};
  if (kept > 0) {
    rule.selection = Selection::top_k_row;
    rule.sparsity = 1 - static_cast<double>(kept) / static_cast<double>(keys);
  }
  const auto forward = [&](Tape& tape) {
    const auto packed = [&](const Tensor& x) { return reshape(tape, x, {x.dim(0) * x.dim(1), dim}); };
    return reshape(tape, attention(tape, packed(q), packed(k), packed(v), segments, rule), {batch, queries, dim});
  };
  Tape tape(make.context());
  const Tensor weights =
      attention_weights(make.context(), q.view({batch * queries, dim}), k.view({batch * keys, dim}), segments, rule);
  make.output("weights", weights.view({batch, queries, keys}), true);
  make.output("y", forward(tape));
  make.gradients({"q", "k", "v"}, "y", dy.to_vector(), forward);
  return make.finish();
}

Values scores(const Case& c) {
  const Sizes s(c);
  Values values(s.batch * s.queries * s.keys);
  for (size_t i = 0; i < s.batch * s.queries; ++i)
    for (size_t j = 0; j < s.keys; ++j)
      values[i * s.keys + j] =
          dot(c["q"], i, c["k"], i / s.queries * s.keys + j, s.dim) / std::sqrt(static_cast<double>(s.dim));
  return values;
}

Values all_weights(const Case& c) {
  const size_t keys = Sizes(c).keys;
  Values values = scores(c);
  for (size_t i = 0; i < values.size(); i += keys) {
    const std::span row(values.data() + i, keys);
    double sum = 0;
    for (double& x : row) sum += x = std::exp(x);
    for (double& x : row) x /= sum;
  }
  return values;
}

Values attention_gradient(const Case& c, const std::string& name, const Values& p, const ScoreGradient& ds) {
  const Sizes s(c);
  const double scale = 1 / std::sqrt(static_cast<double>(s.dim));
  Values result(name == "dq" ? c["q"].size() : c["k"].size()), dweights(s.keys), dscores(s.keys);
  for (size_t i = 0; i < s.batch * s.queries; ++i) {
    const size_t first_key = i / s.queries * s.keys;
    for (size_t j = 0; j < s.keys; ++j) dweights[j] = dot(c["dy"], i, c["v"], first_key + j, s.dim);
    const std::span row(p.data() + i * s.keys, s.keys);
    ds(row, dweights, dscores);
    for (size_t j = 0; j < s.keys; ++j)
      for (size_t d = 0; d < s.dim; ++d) {
        const size_t query = i * s.dim + d, key = (first_key + j) * s.dim + d;
        if (name == "dq") result[query] += scale * dscores[j] * c["k"][key];
        if (name == "dk") result[key] += scale * dscores[j] * c["q"][query];
        if (name == "dv") result[key] += row[j] * c["dy"][query];
      }
  }
  return result;
}

void softmax_gradient(std::span<const double> p, std::span<const double> g, std::span<double> ds) {
  double mean = 0;
  for (size_t j = 0; j < p.size(); ++j) mean += p[j] * g[j];
  for (size_t j = 0; j < p.size(); ++j) ds[j] = p[j] * (g[j] - mean);
}

std::vector<Mistake> softmax_mistakes() {
  struct Wrong {
    const char* id;
    const char* hint;
    ScoreGradient ds;
  };
  const auto each = [](auto f) {
    return [f](std::span<const double> p, std::span<const double> g, std::span<double> ds) {
      for (size_t j = 0; j < p.size(); ++j) ds[j] = f(p[j], g[j]);
    };
  };
  const Wrong all[] = {
      {"missing-softmax", "the softmax's derivative is missing: dscores is not dweights",
       each([](double, double g) { return g; })},
      {"missing-mean",
       "a term of the softmax's derivative is missing: a score changes the sum below all weights of its row",
       each([](double p, double g) { return p * g; })},
      {"diagonal-only",
       "this takes p (1 - p), a weight's derivative with respect to its own score; each score changes the other "
       "weights of its "
       "row, too",
       each([](double p, double g) { return p * (1 - p) * g; })},
      {"unweighted-mean", "the mean that is subtracted from dweights is that with the weights p, not the plain one",
       [](std::span<const double> p, std::span<const double> g, std::span<double> ds) {
         double mean = 0;
         for (const double x : g) mean += x / static_cast<double>(g.size());
         for (size_t j = 0; j < p.size(); ++j) ds[j] = p[j] * (g[j] - mean);
       }},
      {"missing-factor", "p is missing in front: p (..), with the weight of the score's own key",
       [](std::span<const double> p, std::span<const double> g, std::span<double> ds) {
         double mean = 0;
         for (size_t j = 0; j < p.size(); ++j) mean += p[j] * g[j];
         for (size_t j = 0; j < p.size(); ++j) ds[j] = g[j] - mean;
       }},
  };
  std::vector<Mistake> mistakes;
  for (const Wrong& wrong : all)
    for (const std::string name : {"dq", "dk"})
      mistakes.push_back(
          {wrong.id, name, wrong.hint, [name, ds = wrong.ds](const Case& c) { return gradient_of(name, c, ds); }});
  return mistakes;
}

}  // namespace crisp::lessons
