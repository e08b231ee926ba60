// The exercises of the course: what a student reads, the numbers that his functions are called with, the truth, and the
// mistakes that are typical of each.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/context.h"
#include "engine/shape.h"
#include "engine/tape.h"
#include "engine/tensor.h"

namespace crisp::lessons {

using Values = std::vector<double>;  // row-major

/// What a function does with an array: reads it (labels: whole numbers), writes it, or adds to it.
enum class Role : uint8_t { input, labels, output, gradient };
inline bool is_written(Role role) { return role == Role::output || role == Role::gradient; }

struct Array {
  std::string name;
  Role role;
  Shape shape;
  Values before;  // what it holds when the function is called; outputs: nothing
  Values part;    // outputs and gradients: the value, or what is to be added
  Values truth;   // what it must hold afterwards
};

struct Quantity {
  std::string name;
  double value;
};

/// One call of the two functions. The backward function gets the right results of the forward function, so that each is
/// judged by itself.
struct Case {
  std::vector<Quantity> sizes;    // whole numbers, as parameters of the functions, in this order
  std::vector<Quantity> numbers;  // others: dloss or epsilon; at most one
  std::vector<Array> arrays;
  std::string objective;  // the output that the loss is made of: loss = sum(upstream * output)
  Values upstream;

  /// Throws Error for a name that there is none of.
  const Array& read(std::string_view name) const;
  const Array& written(std::string_view name) const;
  const Values& operator[](std::string_view input) const { return read(input).before; }
  int64_t size(std::string_view name) const;
  double number(std::string_view name) const;
  /// "rows 4, in 3, out 5"
  std::string str() const;
};

/// Something that students get wrong: what a tensor then holds (a gradient: what is added to it), and what to say.
struct Mistake {
  std::string id;      // a word for programs: "missing-mean"
  std::string tensor;  // which
  std::string hint;    // points at the mistake, not at the solution
  std::function<Values(const Case&)> part;
};

struct Exercise {
  std::string name;  // of the file, too
  std::string title;
  std::vector<std::string> tensors;  // in the order of the report
  std::vector<std::string> given;    // those of them that the stub has right already
  std::vector<std::string> read;     // before
  std::vector<std::string> compare;  // once it is solved
  std::vector<std::string> hints;    // from a push to nearly all of it
  std::vector<Case> cases;           // sizes differ in each dimension, so that a wrong axis shows
  std::vector<Mistake> mistakes;

  bool is_given(std::string_view tensor) const;
};

/// All, from the easiest on. The numbers are functions of constants, and the truth is Crisp's own operations' in f64:
/// for one instruction set always the same bits.
const std::vector<Exercise>& course();
/// nullptr for none. '-' may stand for '_'.
const Exercise* find_exercise(std::string_view name);

Exercise gelu_exercise();
Exercise linear_exercise();
Exercise softmax_cross_entropy_exercise();
Exercise layer_norm_exercise();
Exercise attention_exercise();
Exercise top_k_attention_exercise();

// --- How a case is made.

/// Collects arrays, and computes the truth on a tape.
class CaseMaker {
 public:
  /// `number` tells the random numbers of the case from those of others.
  CaseMaker(uint32_t number, std::vector<Quantity> sizes);

  /// Evenly distributed in (-spread, spread); the same bits on every machine.
  Tensor input(const std::string& name, const Shape& shape, double spread = 1);
  Tensor input(const std::string& name, const Shape& shape, Values values);
  /// Evenly distributed in 0 .. count - 1.
  std::vector<int32_t> labels(const std::string& name, int64_t n, int64_t count);
  void number(const std::string& name, double value) { case_.numbers.push_back({name, value}); }
  Values random(const Shape& shape, double spread);

  /// A result of the forward function. `saved`: the backward function gets it, too.
  void output(const std::string& name, const Tensor& value, bool saved = false);
  /// Computes the gradients d<name> of these inputs: f records the forward pass and returns the output `objective`,
  /// whose gradient is `upstream`.
  void gradients(const std::vector<std::string>& names, const std::string& objective, const Values& upstream,
                 const std::function<Tensor(Tape&)>& f);
  const Context& context() const;
  Case finish() { return std::move(case_); }

 private:
  Case case_;
  std::vector<Tensor> leaves_;  // named
  uint32_t number_, site_ = 0;
};

}  // namespace crisp::lessons
