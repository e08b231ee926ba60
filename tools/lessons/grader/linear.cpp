#include "engine/ops.h"
#include "tools/lessons/grader/course.h"

namespace crisp::lessons {
namespace {

Case make_case(uint32_t number, int64_t rows, int64_t in, int64_t out) {
  CaseMaker make(
      200 + number,
      {{"rows", static_cast<double>(rows)}, {"in", static_cast<double>(in)}, {"out", static_cast<double>(out)}});
  const Tensor x = make.input("x", {rows, in});
  const Tensor weight = make.input("weight", {out, in});
  const Tensor bias = make.input("bias", {out});
  const Tensor dy = make.input("dy", {rows, out}, 2);
  const auto forward = [&](Tape& tape) { return linear(tape, x, weight, bias); };
  Tape tape(make.context());
  make.output("y", forward(tape));
  make.gradients({"x", "weight", "bias"}, "y", dy.to_vector(), forward);
  return make.finish();
}

struct Sizes {
  explicit Sizes(const Case& c)
      : rows(static_cast<size_t>(c.size("rows"))),
        in(static_cast<size_t>(c.size("in"))),
        out(static_cast<size_t>(c.size("out"))) {}
  size_t rows, in, out;
};

// x W' + b, where the weight is read at at(o, k).
template <class At>
Values product(const Case& c, double with_bias, At at) {
  const Sizes s(c);
  Values y(s.rows * s.out);
  for (size_t i = 0; i < s.rows; ++i)
    for (size_t o = 0; o < s.out; ++o) {
      y[i * s.out + o] = with_bias * c["bias"][o];
      for (size_t k = 0; k < s.in; ++k) y[i * s.out + o] += c["x"][i * s.in + k] * c["weight"][at(s, o, k)];
    }
  return y;
}

Values dx_of_other_layout(const Case& c) {
  const Sizes s(c);
  Values dx(s.rows * s.in);
  for (size_t i = 0; i < s.rows; ++i)
    for (size_t k = 0; k < s.in; ++k)
      for (size_t o = 0; o < s.out; ++o) dx[i * s.in + k] += c["dy"][i * s.out + o] * c["weight"][k * s.out + o];
  return dx;
}

// Of one example alone.
Values dweight_of_row(const Case& c, size_t row) {
  const Sizes s(c);
  Values dweight(s.out * s.in);
  for (size_t o = 0; o < s.out; ++o)
    for (size_t k = 0; k < s.in; ++k) dweight[o * s.in + k] = c["dy"][row * s.out + o] * c["x"][row * s.in + k];
  return dweight;
}

Values dbias_of_row(const Case& c, size_t row) {
  const Sizes s(c);
  Values dbias(s.out);
  for (size_t o = 0; o < s.out; ++o) dbias[o] = c["dy"][row * s.out + o];
  return dbias;
}

}  // namespace

Exercise linear_exercise() {
  Exercise e;
  e.name = "linear";
  e.title = "a linear layer, y = x W' + b";
  e.tensors = {"y", "dx", "dweight", "dbias"};
  e.read = {"tools/lessons/README.md, lesson 3: products of matrices", "engine/ops.h, linear(): the shapes"};
  e.compare = {"engine/ops/linear.cpp: the same three gradients, as two products of matrices and a sum of columns"};
  e.hints = {
      "Shapes decide nearly everything. dx has one element for each (row, in), and dy one for each (row, out): the "
      "index "
      "that has to go by a sum is out. Which sums make dweight [out, in] and dbias [out]?",
      "x[i, k] occurs in y[i, o] for every o, with the factor weight[o, k]. weight[o, k] occurs in y[i, o] for every "
      "i, "
      "with the factor x[i, k]. bias[o] occurs in y[i, o] for every i, with the factor 1.",
      "Three nested loops over i, o and k reach all of them; with g = dy[i * out + o], each gradient gets g times the "
      "factor of the second hint, added to what is there.",
  };
  e.cases = {make_case(1, 4, 3, 5), make_case(2, 1, 2, 3), make_case(3, 7, 6, 2)};
  const auto first_row = [](auto f) { return [f](const Case& c) { return f(c, 0); }; };
  const auto last_row = [](auto f) { return [f](const Case& c) { return f(c, Sizes(c).rows - 1); }; };
  const std::string other_layout = "this reads the weight as [in, out]; it is [out, in]: a row belongs to one output";
  const std::string one_row =
      "only one row of the batch is in it: the weight and bias serve all rows, so their "
      "gradients are sums over all rows";
  e.mistakes = {
      {"missing-bias", "y", "the bias is missing",
       [](const Case& c) { return product(c, 0, [](const Sizes& s, size_t o, size_t k) { return o * s.in + k; }); }},
      {"wrong-layout", "y", other_layout,
       [](const Case& c) { return product(c, 1, [](const Sizes& s, size_t o, size_t k) { return k * s.out + o; }); }},
      {"wrong-layout", "y", other_layout + "; and the bias is missing",
       [](const Case& c) { return product(c, 0, [](const Sizes& s, size_t o, size_t k) { return k * s.out + o; }); }},
      {"wrong-layout", "dx", other_layout, dx_of_other_layout},
      {"one-row", "dweight", one_row, last_row(dweight_of_row)},
      {"one-row", "dweight", one_row, first_row(dweight_of_row)},
      {"one-row", "dbias", one_row, last_row(dbias_of_row)},
      {"one-row", "dbias", one_row, first_row(dbias_of_row)},
  };
  return e;
}

}  // namespace crisp::lessons
