#include <cmath>

#include "engine/ops.h"
#include "tools/lessons/grader/course.h"

namespace crisp::lessons {
namespace {

constexpr double epsilon = 1e-5;

Case make_case(uint32_t number, int64_t rows, int64_t dim) {
  CaseMaker make(400 + number, {{"rows", static_cast<double>(rows)}, {"dim", static_cast<double>(dim)}});
  make.number("epsilon", epsilon);
  Values values = make.random({rows, dim}, 2);
  for (double& value : values) value += 0.75;  // so that the mean is not 0
  const Tensor x = make.input("x", {rows, dim}, values);
  const Tensor weight = make.input("weight", {dim}, 1.5);
  const Tensor bias = make.input("bias", {dim});
  const Tensor dy = make.input("dy", {rows, dim}, 2);
  const auto forward = [&](Tape& tape) { return layer_norm(tape, x, weight, bias, epsilon); };
  Tape tape(make.context());
  make.output("y", forward(tape));
  const Tensor mean_of_row = mean(tape, x, 1);
  const Tensor centred = sub(tape, x, reshape(tape, mean_of_row, {rows, 1}));
  const Tensor variance = mean(tape, mul(tape, centred, centred), 1);
  const Tensor deviation = sqrt(tape, add(tape, variance, Tensor::scalar(epsilon, DType::f64)));
  make.output("mean", mean_of_row, true);
  make.output("inverse", div(tape, Tensor::scalar(1, DType::f64), deviation), true);
  make.gradients({"x", "weight", "bias"}, "y", dy.to_vector(), forward);
  return make.finish();
}

// What a wrong answer does with a row.
struct Row {
  const Case& c;
  size_t i, dim;
  double x(size_t j) const { return c["x"][i * dim + j]; }
  double dy(size_t j) const { return c["dy"][i * dim + j]; }
  double h(size_t j) const { return dy(j) * c["weight"][j]; }
  double r() const { return c["inverse"][i]; }
  double n(size_t j) const { return (x(j) - c["mean"][i]) * r(); }
  template <class F>
  double sum(F f) const {
    double total = 0;
    for (size_t j = 0; j < dim; ++j) total += f(j);
    return total;
  }
  template <class F>
  double mean(F f) const {
    return sum(f) / static_cast<double>(dim);
  }
};

// f(row, j) of each element [i, j].
template <class F>
std::function<Values(const Case&)> each(F f) {
  return [f](const Case& c) {
    const auto rows = static_cast<size_t>(c.size("rows")), dim = static_cast<size_t>(c.size("dim"));
    Values values(rows * dim);
    for (size_t i = 0; i < rows; ++i)
      for (size_t j = 0; j < dim; ++j) values[i * dim + j] = f(Row{c, i, dim}, j);
    return values;
  };
}

// The sum over rows of f(row, j), or one row's.
template <class F>
std::function<Values(const Case&)> over_rows(F f, bool last_only = false) {
  return [f, last_only](const Case& c) {
    const auto rows = static_cast<size_t>(c.size("rows")), dim = static_cast<size_t>(c.size("dim"));
    Values values(dim);
    for (size_t i = last_only ? rows - 1 : 0; i < rows; ++i)
      for (size_t j = 0; j < dim; ++j) values[j] += f(Row{c, i, dim}, j);
    return values;
  };
}

// The two means of dx over the rows of a column instead of over the columns of a row.
Values dx_with_means_of_columns(const Case& c) {
  const auto rows = static_cast<size_t>(c.size("rows")), dim = static_cast<size_t>(c.size("dim"));
  Values mean_h(dim), mean_hn(dim);
  for (size_t i = 0; i < rows; ++i)
    for (size_t j = 0; j < dim; ++j) {
      const Row row{c, i, dim};
      mean_h[j] += row.h(j) / static_cast<double>(rows);
      mean_hn[j] += row.h(j) * row.n(j) / static_cast<double>(rows);
    }
  return each([&](const Row& row, size_t j) { return row.r() * (row.h(j) - mean_h[j] - row.n(j) * mean_hn[j]); })(c);
}

}  // namespace

Exercise layer_norm_exercise() {
  Exercise e;
  e.name = "layer_norm";
  e.title = "LayerNorm, row by row";
  e.tensors = {"y", "mean", "inverse", "dx", "dweight", "dbias"};
  e.given = {"y", "mean", "inverse"};
  e.read = {"tools/lessons/README.md, lesson 5: LayerNorm", "arXiv 1607.06450, section 3: the function",
            "engine/ops.h, layer_norm(): the shapes"};
  e.compare = {"engine/formulas.h, struct LayerNorm: the derivation in three lines",
               "engine/ops/layer_norm.cpp: what is saved"};
  e.hints = {
      "Take y = n w + b first: it gives dweight, dbias and h, the gradient of n. Then n = (x - m) r: x[j] is in it "
      "once itself, "
      "and once each in m and in r.",
      "With dm/dx[j] = 1/dim and dr/dx[j] = -r^2 n[j] / dim, each of the two indirect ways is a sum over the row, "
      "divided by "
      "dim: a mean. One of them is the mean of h.",
      "dx[j] = r times (h[j], less the mean of h, less n[j] times the mean of h n). The means are over the row, so "
      "they "
      "must be complete before the first dx[j] is written.",
  };
  e.cases = {make_case(1, 3, 5), make_case(2, 1, 4), make_case(3, 6, 8)};
  const auto h = [](const Row& row) { return [&row](size_t j) { return row.h(j); }; };
  const auto hn = [](const Row& row) { return [&row](size_t j) { return row.h(j) * row.n(j); }; };
  const auto dy = [](const Row& row, size_t j) { return row.dy(j); };
  const auto dy_n = [](const Row& row, size_t j) { return row.dy(j) * row.n(j); };
  const std::string one_row =
      "only the last row is in it: weight and bias serve all rows, so their gradients are sums "
      "over all rows";
  e.mistakes = {
      {"constant-statistics", "dx",
       "mean and variance are treated as constants: both depend on every x of the row, which gives two terms more",
       each([](const Row& row, size_t j) { return row.r() * row.h(j); })},
      {"missing-mean", "dx", "a term is missing: the way through the mean m",
       each([hn](const Row& row, size_t j) { return row.r() * (row.h(j) - row.n(j) * row.mean(hn(row))); })},
      {"missing-variance", "dx", "a term is missing: the way through the variance, that is through r",
       each([h](const Row& row, size_t j) { return row.r() * (row.h(j) - row.mean(h(row))); })},
      {"missing-weight", "dx", "the weight is missing: the gradient of n is not dy", each([](const Row& row, size_t j) {
         return row.r() * (row.dy(j) - row.mean([&](size_t l) { return row.dy(l); }) -
                           row.n(j) * row.mean([&](size_t l) { return row.dy(l) * row.n(l); }));
       })},
      {"missing-inverse", "dx", "the factor r is missing: n = (x - m) r",
       each([h, hn](const Row& row, size_t j) { return row.h(j) - row.mean(h(row)) - row.n(j) * row.mean(hn(row)); })},
      {"missing-1/dim", "dx", "the two terms over the row are sums here; they are means: where is the 1/dim?",
       each([h, hn](const Row& row, size_t j) {
         return row.r() * (row.h(j) - row.sum(h(row)) - row.n(j) * row.sum(hn(row)));
       })},
      {"wrong-axis", "dx",
       "the means run along the wrong axis: over the rows of a column, not over the row's own elements",
       dx_with_means_of_columns},
      {"not-normalised", "dweight", "weight multiplies the normalised n, not x",
       over_rows([](const Row& row, size_t j) { return row.dy(j) * row.x(j); })},
      {"not-normalised", "dweight", "weight multiplies n = (x - m) r; here r is missing",
       over_rows([](const Row& row, size_t j) { return row.dy(j) * row.n(j) / row.r(); })},
      {"weight-too-many", "dweight", "y is linear in weight: its gradient does not contain weight",
       over_rows([](const Row& row, size_t j) { return row.h(j) * row.n(j); })},
      {"value-for-derivative", "dweight", "this multiplies dy by y; weight multiplies n alone",
       over_rows(
           [](const Row& row, size_t j) { return row.dy(j) * (row.n(j) * row.c["weight"][j] + row.c["bias"][j]); })},
      {"weight-too-many", "dbias", "bias is added as it is: its gradient does not contain weight",
       over_rows([](const Row& row, size_t j) { return row.h(j); })},
      {"one-row", "dweight", one_row, over_rows(dy_n, true)},
      {"one-row", "dbias", one_row, over_rows(dy, true)},
  };
  return e;
}

}  // namespace crisp::lessons
