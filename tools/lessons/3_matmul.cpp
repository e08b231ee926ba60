// Lesson 3: a matrix product and its two gradients.
//
// Read beside it: engine/ops/matmul.cpp and engine/ops/linear.cpp. README.md leads through.
// All numbers are small integers, so every result is exact.
#include <fmt/format.h>

#include <string>
#include <vector>

#include "engine/ops.h"

using namespace crisp;

namespace {

struct Matrix {
  int64_t rows, columns;
  std::vector<double> elements;
  double& at(int64_t i, int64_t j) { return elements[static_cast<size_t>(i * columns + j)]; }
  double at(int64_t i, int64_t j) const { return elements[static_cast<size_t>(i * columns + j)]; }
  bool operator==(const Matrix&) const = default;
};

Matrix zeros(int64_t rows, int64_t columns) {
  return {rows, columns, std::vector<double>(static_cast<size_t>(rows * columns))};
}

Tensor tensor(const Matrix& m) { return Tensor::from(m.elements, {m.rows, m.columns}, DType::f64); }
Matrix matrix(const Tensor& t) { return {t.dim(0), t.dim(1), t.to_vector()}; }

void show(const char* name, const Matrix& m) {
  for (int64_t i = 0; i < m.rows; ++i) {
    fmt::print("{:12} [", i == 0 ? name : "");
    for (int64_t j = 0; j < m.columns; ++j) fmt::print("{:4}", m.at(i, j));
    fmt::print(" ]\n");
  }
}

int claims_wrong = 0;

void claim(bool holds, const char* what) {
  fmt::print("{} {}\n", holds ? "ok   " : "WRONG", what);
  claims_wrong += holds ? 0 : 1;
}

}  // namespace

int main() {
  const Matrix a{2, 3, {1, 2, -1, 3, 0, 2}}, b{3, 2, {2, 1, -1, 4, 5, -3}};
  const Matrix dc{2, 2, {1, -2, 3, 1}};  // the loss is sum(dc * c), so dc is its gradient at c

  // The definition, and its derivative: c_ij += a_ik b_kj is a product of two numbers, so a_ik gets dc_ij b_kj and b_kj
  // gets dc_ij a_ik. Run the same loop and add to both.
  Matrix c = zeros(2, 2), da = zeros(2, 3), db = zeros(3, 2);
  for (int64_t i = 0; i < 2; ++i)
    for (int64_t j = 0; j < 2; ++j)
      for (int64_t k = 0; k < 3; ++k) {
        c.at(i, j) += a.at(i, k) * b.at(k, j);
        da.at(i, k) += dc.at(i, j) * b.at(k, j);
        db.at(k, j) += dc.at(i, j) * a.at(i, k);
      }
  show("c = a b", c);
  show("dc", dc);
  show("da = dc b'", da);
  show("db = a' dc", db);
  fmt::print("\n");

  // Read as sums, the two lines of the loop are products again. An inference tape computes and records nothing.
  Tape plain(Tape::Mode::inference);
  claim(matrix(matmul(plain, tensor(dc), tensor(b), false, true)) == da, "the loop's da is dc b'");
  claim(matrix(matmul(plain, tensor(a), tensor(dc), true, false)) == db, "the loop's db is a' dc");

  Tape tape;
  const Tensor left = tensor(a).set_requires_grad(), right = tensor(b).set_requires_grad();
  tape.backward(sum(tape, mul(tape, matmul(tape, left, right), tensor(dc))));
  claim(matrix(left.grad()) == da && matrix(right.grad()) == db, "the tape's gradients are these\n");

  // A linear layer is y = x w' + bias for a batch of rows x. Its parameters are shared by all rows, so their gradients
  // are sums over the rows: an outer product dy_r x_r for each.
  const Tensor w = tensor({2, 3, {1, 0, 2, -1, 1, 1}}).set_requires_grad();
  const Tensor bias = Tensor::from(std::vector<double>{1, -1}, {2}, DType::f64).set_requires_grad();
  tape.clear();
  tape.backward(sum(tape, mul(tape, linear(tape, tensor(a), w, bias), tensor(dc))));
  Matrix dw = zeros(2, 3), dbias = zeros(1, 2);
  for (int64_t r = 0; r < 2; ++r)
    for (int64_t o = 0; o < 2; ++o) {
      for (int64_t i = 0; i < 3; ++i) dw.at(o, i) += dc.at(r, o) * a.at(r, i);
      dbias.at(0, o) += dc.at(r, o);
    }
  show("dw = dy' x", matrix(w.grad()));
  show("dbias", {1, 2, bias.grad().to_vector()});
  claim(matrix(w.grad()) == dw, "dw is the sum of an outer product for each row of the batch");
  claim(bias.grad().to_vector() == dbias.elements, "dbias is the sum of the rows of dy");
  return claims_wrong;
}
